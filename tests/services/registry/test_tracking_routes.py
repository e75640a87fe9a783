"""MLflow's routes of tracking over sockets: codes, statuses and forms as its own server's, and no 5xx for anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_services.registry.artifacts.opening import NoPlace
from millrace_services.registry.database import Database
from millrace_services.registry.tracking.service import tracking_endpoints
from tests.running_service import StartService
from tests.services.registry import nonsense
from tests.services.registry.test_model_routes import DEEP, Client

MISSING = (404, "RESOURCE_DOES_NOT_EXIST")
INVALID = (400, "INVALID_PARAMETER_VALUE")


@pytest.fixture(scope="module")
def client(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    path = tmp_path_factory.mktemp("registry") / "r.db"
    server = start_service("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{path}")
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield Client(http)


@pytest.fixture
def run_id(client: Client) -> str:
    return str(client.ask("POST", "runs/create", experiment_id="0", start_time=5)[1]["run"]["info"]["run_id"])


def test_a_run_has_mlflows_form(client: Client, run_id: str) -> None:
    metrics = [{"key": "m", "value": value, "timestamp": 1, "step": at} for at, value in enumerate((0.5, "NaN"))]
    fields = {"params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "x"}]}
    assert client.ask("POST", "runs/log-batch", run_id=run_id, metrics=metrics, **fields) == (200, {})
    status, body = client.ask("GET", "runs/get", run_uuid=run_id)
    info, data = body["run"]["info"], body["run"]["data"]
    assert (status, info["run_id"], info["run_uuid"], info["status"]) == (200, run_id, run_id, "RUNNING")
    assert (info["start_time"], info["lifecycle_stage"], info["experiment_id"]) == (5, "active", "0")
    assert info["artifact_uri"] == f"mlflow-artifacts:/0/{run_id}/artifacts"
    assert data["metrics"] == [{"key": "m", "value": "NaN", "timestamp": 1, "step": 1}]
    assert data["params"] == [{"key": "p", "value": "1"}]
    assert {"key": "t", "value": "x"} in data["tags"]
    history = client.ask("GET", "metrics/get-history", run_id=run_id, metric_key="m", max_results=1)[1]
    assert history["metrics"] == [{"key": "m", "value": 0.5, "timestamp": 1, "step": 0}]
    rest = client.ask(
        "GET", "metrics/get-history", run_id=run_id, metric_key="m", page_token=history["next_page_token"]
    )
    assert [each["value"] for each in rest[1]["metrics"]] == ["NaN"]
    assert client.ask("GET", "metrics/get-history", run_id=run_id, metric_key="x") == (200, {})


def test_what_is_not_there_is_404_and_what_is_wrong_400(client: Client, run_id: str) -> None:
    nobody = "f" * 32
    assert client.refused("GET", "runs/get", run_id=nobody) == MISSING
    assert client.refused("GET", "experiments/get", experiment_id="77") == MISSING
    assert client.refused("GET", "experiments/get", experiment_id="x") == MISSING
    assert client.refused("GET", "experiments/get-by-name", experiment_name="x") == MISSING
    assert client.refused("GET", "logged-models/m-1") == MISSING
    assert client.refused("POST", "runs/log-metric", run_id=nobody, key="k", value=1, timestamp=1) == MISSING
    assert client.refused("POST", "runs/delete-tag", run_id=run_id, key="x") == MISSING
    assert client.refused("GET", "runs/get") == INVALID
    assert client.refused("POST", "runs/update", run_id=run_id, status="SLEEPING") == INVALID
    assert client.refused("POST", "runs/log-metric", run_id=run_id, key="k", value="x", timestamp=1) == INVALID
    assert client.refused("POST", "runs/search", experiment_ids=["0"], filter="nonsense") == INVALID
    assert client.refused("POST", "runs/search", experiment_ids=["0"], max_results=50_001) == INVALID
    assert client.refused("POST", "runs/search", experiment_ids=["0"], page_token="x") == INVALID
    assert client.refused("POST", "experiments/create", name="Default") == (400, "RESOURCE_ALREADY_EXISTS")
    assert client.refused("POST", "experiments/create", name="x" * 501) == INVALID


@pytest.mark.parametrize(("kind", "count"), [("metrics", 1001), ("params", 101), ("tags", 101)])
def test_a_batch_has_its_limits(client: Client, run_id: str, kind: str, count: int) -> None:
    items = [{"key": f"k{at}", "value": "1", "timestamp": 1} for at in range(count)]
    assert client.refused("POST", "runs/log-batch", run_id=run_id, **{kind: items}) == INVALID
    message = client.ask("POST", "runs/log-batch", run_id=run_id, **{kind: items})[1]["message"]
    assert message.startswith(f"A batch logging request can contain at most {count - 1} {kind}. Got {count} {kind}.")
    assert client.ask("POST", "runs/log-batch", run_id=run_id, **{kind: items[1:]}) == (200, {})


def test_values_are_cut_and_keys_are_not(client: Client, run_id: str) -> None:
    client.ask("POST", "runs/log-parameter", run_id=run_id, key="p", value="x" * 6001)
    client.ask("POST", "runs/set-tag", run_id=run_id, key="t", value="x" * 8001)
    data = client.ask("GET", "runs/get", run_id=run_id)[1]["run"]["data"]
    assert len(data["params"][0]["value"]) == 6000
    assert {len(each["value"]) for each in data["tags"] if each["key"] == "t"} == {8000}
    assert client.refused("POST", "runs/log-parameter", run_id=run_id, key="p" * 251, value="x") == INVALID


def test_a_logged_model_goes_from_pending_to_ready_to_a_version(client: Client, run_id: str) -> None:
    given = {"experiment_id": "0", "name": "clf", "source_run_id": run_id, "params": [{"key": "a", "value": "1"}]}
    model = client.ask("POST", "logged-models", **given)[1]["model"]
    model_id = model["info"]["model_id"]
    assert model["info"]["status"] == "LOGGED_MODEL_PENDING"
    assert model["info"]["artifact_uri"] == f"mlflow-artifacts:/0/models/{model_id}/artifacts"
    client.ask("POST", "runs/log-metric", run_id=run_id, key="acc", value=0.9, timestamp=3, model_id=model_id)
    one = f"logged-models/{model_id}"
    assert client.refused("PATCH", one, status="LOGGED_MODEL_PENDING") == INVALID
    assert client.ask("PATCH", one, status="LOGGED_MODEL_READY")[1]["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    assert client.ask("PATCH", f"{one}/tags", tags=[{"key": "a/b", "value": "x"}])[0] == 200
    body = client.ask("GET", one)[1]["model"]
    assert body["info"]["tags"] == [{"key": "a/b", "value": "x"}]
    [metric] = body["data"]["metrics"]
    assert (metric["key"], metric["value"], metric["run_id"], metric["model_id"]) == ("acc", 0.9, run_id, model_id)
    for text in ("name = 'clf'", "metrics.acc > 0.5 AND params.a = '1'", "status = 'READY' AND tags.`a/b` = 'x'"):
        found = client.ask("POST", "logged-models/search", experiment_ids=["0"], filter=text)[1]
        assert [each["info"]["model_id"] for each in found["models"]] == [model_id], text
    client.ask("POST", "registered-models/create", name="clf")
    fields = {"name": "clf", "source": f"models:/{model_id}", "run_id": run_id, "model_id": model_id}
    version = client.ask("POST", "model-versions/create", **fields)[1]["model_version"]
    assert (version["source"], version["model_id"]) == (f"models:/{model_id}", model_id)
    uri = client.ask("GET", "model-versions/get-download-uri", name="clf", version="1")[1]["artifact_uri"]
    assert uri == model["info"]["artifact_uri"]
    nobody = {"name": "clf", "source": "models:/m-" + "0" * 32}
    assert client.refused("POST", "model-versions/create", **nobody) == MISSING
    assert client.ask("DELETE", f"{one}/tags/a/b") == (200, {})
    assert client.ask("DELETE", one) == (200, {})
    assert client.refused("GET", one) == MISSING


def test_what_clients_ask_about_the_server_is_answered(client: Client) -> None:
    assert client.http.get("/health").text == "OK"
    assert client.http.get("/version").text.count(".") == 2
    for prefix in ("/api/3.0/mlflow/", "/ajax-api/3.0/mlflow/"):
        status, body = client.ask("GET", "server-info", prefix)
        assert (status, body["store_type"], body["multipart_uploads_enabled"]) == (200, "SqlStore", False)


@pytest.mark.parametrize("path", ["traces/search", "registered-models/nonsense", "x"])
def test_what_is_not_spoken_says_so_in_mlflows_form(client: Client, path: str) -> None:
    for prefix in ("/api/2.0/mlflow/", "/api/3.0/mlflow/"):
        status, body = client.ask("POST", path, prefix)
        assert (status, body["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_another_method_is_405(client: Client) -> None:
    for path in ("runs/create", "logged-models/m-1"):
        assert client.ask("PUT", path)[0] == 405


NAMES = ("run_id", "experiment_id", "key", "value", "timestamp", "step", "filter", "order_by", "tags", "metrics")
MORE = (
    "params",
    "experiment_ids",
    "name",
    "status",
    "page_token",
    "max_results",
    "datasets",
    "models",
    "run_view_type",
)


@pytest.mark.slow
def test_no_route_answers_nonsense_by_a_5xx(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/r.db")
    endpoints = tracking_endpoints(database, lambda: 0, NoPlace())
    database.close()
    with nonsense.registry() as http:
        made = Client(http).ask("POST", "runs/create", experiment_id="0", start_time=5)[1]
        run_id = made["run"]["info"]["run_id"]
        sane: dict[str, Any] = {"run_id": run_id, "experiment_id": "0", "key": "k", "value": "1", "timestamp": 1}
        sane |= {"experiment_ids": ["0"], "metric_key": "k", "run_ids": [run_id], "status": "RUNNING", "name": "n"}
        wrong = []
        for endpoint in endpoints:
            path = endpoint.prefixes[0] + endpoint.path.replace("{model_id}", "m-1").replace("{tag_key:path}", "k")
            if "delete" not in path:
                wrong += nonsense.upset(http, endpoint.method, path, sane, (*NAMES, *MORE))
    assert wrong == []


@pytest.mark.usefixtures("run_id")
def test_a_search_that_is_too_large_for_the_database_is_not_to_be_sent_again(client: Client) -> None:
    for search in ({"filter": f"run_name LIKE '{'a' * 60_000}'"}, {"order_by": [f"metrics.m{n}" for n in range(5000)]}):
        assert client.refused("POST", "runs/search", experiment_ids=["0"], **search) == INVALID
    most = [f"metrics.m{n}" for n in range(16)]
    assert client.ask("POST", "runs/search", experiment_ids=["0"], order_by=most)[0] == 200


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", DEEP.encode()])
def test_a_body_that_is_no_object_is_as_if_nothing_had_come(client: Client, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    for path in ("runs/log-batch", "runs/log-metric", "experiments/create", "logged-models/search"):
        answer = client.http.post(f"/api/2.0/mlflow/{path}", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == INVALID, path
