"""MLflow's routes of models over real sockets: codes and statuses as its own server's, and no 5xx for anybody."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from millrace_core.base.errors import RetryError
from millrace_services.registry.database import Database
from millrace_services.registry.mlflow import errors
from millrace_services.registry.models.rest import ModelRoutes
from tests.running_service import StartService
from tests.services.registry import nonsense

PREFIX = "/api/2.0/mlflow/"
MODELS, VERSIONS = "registered-models", "model-versions"
DEEP = "[" * 1000 + "]" * 1000


class Client:
    """Requests as MLflow's clients send them: a DELETE has a JSON body, a GET its fields in the query."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def ask(
        self, method: str, path: str, prefix: str = "/api/2.0/mlflow/", **fields: Any
    ) -> tuple[int, dict[str, Any]]:
        given: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
        answer = self.http.request(method, prefix + path, **given)
        found: dict[str, Any] = answer.json()
        return answer.status_code, found

    def refused(self, method: str, path: str, **fields: Any) -> tuple[int, str]:
        status, body = self.ask(method, path, **fields)
        assert body.keys() == {"error_code", "message"}
        assert body["message"]
        return status, body["error_code"]


@pytest.fixture(scope="module")
def client(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    path = tmp_path_factory.mktemp("registry") / "r.db"
    server = start_service("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{path}")
    with httpx.Client(base_url=server.url) as http:
        made = Client(http)
        fill(made)
        yield made


def fill(client: Client) -> None:
    """A model of two versions, the first of which is champion."""
    client.ask("POST", f"{MODELS}/create", name="churn", tags=[{"key": "team", "value": "growth"}])
    for number in (1, 2):
        client.ask("POST", f"{VERSIONS}/create", name="churn", source=f"s3://bucket/{number}")
    client.ask("POST", f"{MODELS}/alias", name="churn", alias="champion", version="1")


def test_an_answer_has_mlflows_form(client: Client) -> None:
    status, body = client.ask("GET", f"{MODELS}/get", name="churn")
    model = body["registered_model"]
    assert status == 200
    assert all(isinstance(model[field], int) for field in ("creation_timestamp", "last_updated_timestamp"))
    assert model["aliases"] == [{"alias": "champion", "version": "1"}]
    assert model["tags"] == [{"key": "team", "value": "growth"}]
    [latest] = model["latest_versions"]
    assert (latest["version"], latest["current_stage"], latest["status"], latest["run_id"]) == (
        "2",
        "None",
        "READY",
        "",
    )
    assert client.ask("GET", f"{MODELS}/search", filter="name = 'nobody'") == (200, {})
    assert client.ask("POST", f"{MODELS}/get-latest-versions", name="churn", stages=["Archived"]) == (200, {})


def test_the_interfaces_own_prefix_answers_the_same(client: Client) -> None:
    one, other = (
        client.ask("GET", f"{MODELS}/get", f"/{api}/2.0/mlflow/", name="churn") for api in ("api", "ajax-api")
    )
    assert one == other


def test_a_delete_reads_its_body_and_unknown_fields_are_ignored(client: Client) -> None:
    client.ask("POST", f"{MODELS}/set-tag", name="churn", key="short", value="lived")
    assert client.ask("DELETE", f"{MODELS}/delete-tag", name="churn", key="short", unknown=[1]) == (200, {})
    assert client.ask("DELETE", f"{MODELS}/delete-tag", name="churn", key="short") == (200, {})
    assert client.ask("DELETE", f"{MODELS}/alias", name="churn", alias="never-there") == (200, {})
    tags = client.ask("GET", f"{MODELS}/get", name="churn")[1]["registered_model"]["tags"]
    assert [tag["key"] for tag in tags] == ["team"]


def test_a_query_may_repeat_a_key_and_a_number_may_be_a_text(client: Client) -> None:
    found = client.http.get(
        "/api/2.0/mlflow/model-versions/search?order_by=name%20ASC&order_by=version_number%20ASC&max_results=1"
    ).json()
    assert [each["version"] for each in found["model_versions"]] == ["1"]
    following = client.ask(
        "GET", f"{VERSIONS}/search", order_by=["name", "version_number"], page_token=found["next_page_token"]
    )
    assert [each["version"] for each in following[1]["model_versions"]] == ["2"]


INVALID, ABSENT = (400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(
    ("expected", "method", "path", "fields"),
    [
        ((400, "RESOURCE_ALREADY_EXISTS"), "POST", f"{MODELS}/create", {"name": "churn"}),
        (INVALID, "POST", f"{MODELS}/create", {}),
        (INVALID, "POST", f"{MODELS}/create", {"name": ""}),
        (INVALID, "POST", f"{MODELS}/create", {"name": 5}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "a/b"}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "a:b"}),
        (INVALID, "POST", f"{MODELS}/create", {"name": ".."}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "nul\x00"}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "x" * 257}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "x", "tags": [{"key": "k" * 251, "value": ""}]}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "x", "tags": [{"key": "k", "value": "v" * 100_001}]}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "x", "tags": [{"key": "../k", "value": ""}]}),
        (INVALID, "POST", f"{MODELS}/create", {"name": "x", "tags": {"k": "v"}}),
        (ABSENT, "GET", f"{MODELS}/get", {"name": "nobody"}),
        (ABSENT, "PATCH", f"{MODELS}/update", {"name": "nobody", "description": ""}),
        (ABSENT, "DELETE", f"{MODELS}/delete", {"name": "nobody"}),
        (ABSENT, "POST", f"{VERSIONS}/create", {"name": "nobody", "source": "s3://b/m"}),
        (INVALID, "POST", f"{VERSIONS}/create", {"name": "churn"}),
        (ABSENT, "GET", f"{VERSIONS}/get", {"name": "churn", "version": "99"}),
        (ABSENT, "GET", f"{VERSIONS}/get", {"name": "churn", "version": "9999999999"}),
        (INVALID, "GET", f"{VERSIONS}/get", {"name": "churn", "version": "one"}),
        (INVALID, "GET", f"{VERSIONS}/get", {"name": "churn", "version": "-1"}),
        (INVALID, "GET", f"{MODELS}/alias", {"name": "churn", "alias": "nobody"}),
        (ABSENT, "GET", f"{MODELS}/alias", {"name": "nobody", "alias": "champion"}),
        (ABSENT, "POST", f"{MODELS}/alias", {"name": "churn", "alias": "x", "version": "99"}),
        (INVALID, "POST", f"{MODELS}/alias", {"name": "churn", "alias": "LATEST", "version": "1"}),
        (INVALID, "POST", f"{MODELS}/alias", {"name": "churn", "alias": "v1", "version": "1"}),
        (INVALID, "POST", f"{MODELS}/alias", {"name": "churn", "alias": "a b", "version": "1"}),
        (INVALID, "POST", f"{MODELS}/alias", {"name": "churn", "alias": "a" * 256, "version": "1"}),
        (
            (409, "RESOURCE_CONFLICT"),
            "POST",
            f"{MODELS}/alias",
            {"name": "churn", "alias": "champion", "version": "1", "expected_version": "2"},
        ),
        (INVALID, "POST", f"{VERSIONS}/transition-stage", {"name": "churn", "version": "1", "stage": "Live"}),
        (
            INVALID,
            "POST",
            f"{VERSIONS}/transition-stage",
            {"name": "churn", "version": "1", "stage": "None", "archive_existing_versions": True},
        ),
        (INVALID, "GET", f"{MODELS}/search", {"max_results": "1001"}),
        (INVALID, "GET", f"{VERSIONS}/search", {"max_results": "200001"}),
        (INVALID, "GET", f"{MODELS}/search", {"page_token": "nonsense"}),
        (INVALID, "GET", f"{MODELS}/search", {"page_token": base64.b64encode(b'{"offset": -1}').decode()}),
        (INVALID, "GET", f"{MODELS}/search", {"order_by": "owner"}),
        (INVALID, "GET", f"{MODELS}/search", {"filter": "name = 'a' OR name = 'b'"}),
    ],
)
def test_a_refusal_has_mlflows_code_and_status(
    client: Client, expected: tuple[int, str], method: str, path: str, fields: dict[str, Any]
) -> None:
    assert client.refused(method, path, **fields) == expected


def test_another_method_and_another_type_of_body_are_told(client: Client) -> None:
    answer = client.http.post("/api/2.0/mlflow/registered-models/get", json={"name": "churn"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    form = {"content": b'{"name": "x"}', "headers": {"content-type": "text/plain"}}
    answer = client.http.post("/api/2.0/mlflow/registered-models/create", **form)
    assert (answer.status_code, answer.json()["error_code"]) == INVALID
    assert client.http.get("/api/2.0/mlflow/registered-models/nonsense").status_code == 404


def test_who_moved_an_alias_and_why_is_told(client: Client) -> None:
    body = {
        "name": "churn",
        "alias": "shadow",
        "version": "2",
        "reason": "beats it",
        "expected_version": None,
    }
    answer = client.http.post("/api/2.0/mlflow/registered-models/alias", json=body, auth=("ann", "secret"))
    assert answer.json() == {}
    [change] = client.http.get("/v1/registered-models/churn/changes", params={"alias": "shadow"}).json()["items"]
    del change["at"], change["client"]
    assert change == {
        "kind": "alias", "alias": "shadow", "from": None, "to": "2", "actor": "ann", "reason": "beats it"
    }  # fmt: skip
    assert client.http.get("/v1/registered-models/nobody/changes").status_code == 404


NAMES = (
    *("name", "new_name", "version", "alias", "key", "value", "stage", "source", "run_id", "tags", "stages"),
    *("description", "filter", "order_by", "max_results", "page_token", "expected_version"),
    "archive_existing_versions",
)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('routes')}/r.db")
    found = [(endpoint.method, endpoint.path) for endpoint in ModelRoutes(database, lambda: 0).endpoints()]
    database.close()
    return found


@pytest.mark.slow
def test_no_route_answers_nonsense_by_a_5xx(routes: list[tuple[str, str]]) -> None:
    sane = {
        "name": "churn",
        "version": "1",
        "alias": "x",
        "key": "k",
        "value": "v",
        "stage": "None",
        "source": "s3://b/m",
    }
    sane["new_name"] = "churn"
    with nonsense.registry() as http:
        fill(Client(http))
        wrong = [
            each
            for method, path in routes
            if not path.endswith("/delete")  # of what there is nothing may go
            for each in nonsense.upset(http, method, f"/api/2.0/mlflow/{path}", sane, NAMES)
        ]
    assert wrong == []


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b'{"name": "\\ud800"}', DEEP.encode(), b'{"name": 1e999}']
)
def test_a_body_that_is_no_object_is_as_if_nothing_had_come(
    client: Client, routes: list[tuple[str, str]], body: bytes
) -> None:
    for method, path in routes:
        if method != "GET":
            answer = client.http.request(
                method, f"/api/2.0/mlflow/{path}", content=body, headers={"content-type": "application/json"}
            )
            assert (answer.status_code, answer.json()["error_code"]) == INVALID, path


def test_what_may_go_away_by_itself_is_worth_another_try_and_says_when() -> None:
    status, body, headers = errors.render(RetryError("the database is locked", delay=2))
    assert (status, json.loads(body)["error_code"], headers) == (
        503,
        "TEMPORARILY_UNAVAILABLE",
        [(b"retry-after", b"2")],
    )
