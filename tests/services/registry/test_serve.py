"""The registry over real sockets: its routes, a kill in the middle of writes, and refusals to start."""

from __future__ import annotations

import signal
import threading

import httpx
import pytest

from tests.told_registry import tell

DEEP = "[" * 1000 + "]" * 1000
VIEW = {
    "kind": "FeatureView",
    "metadata": {"name": "user-stats", "namespace": "shop"},
    "spec": {
        "owner": "growth@example.com",
        "tags": {"team": "growth"},
        "entities": [{"name": "user_id", "type": "int64"}],
        "source": {"parquet": {"uri": "file:///x"}, "timestampField": "t"},
        "features": [{"name": "age", "type": "int64"}],
    },
}


@pytest.fixture(scope="module")
def start(start_service):
    def run(path, **environment):
        return start_service(
            "-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{path}", **environment
        )

    return run


@pytest.fixture(scope="module")
def http(start, tmp_path_factory):
    server = start(tmp_path_factory.mktemp("registry") / "r.db", MILLRACE_MAX_BODY_BYTES="10000")
    tell(server.url)
    with httpx.Client(base_url=server.url) as client:
        yield client


def test_the_operators_mirror_and_a_persons_search(http):
    before = http.get("/v1/catalogue/state").json()
    after = http.put("/v1/catalogue/FeatureView", json={"items": [VIEW]}).json()
    assert after["catalogueId"] == before["catalogueId"]
    assert after["revision"] > before["revision"]
    assert http.get("/v1/catalogue/state").json() == after
    found = http.get("/v1/catalogue", params={"tag": "team=growth", "q": "user AGE"}).json()
    assert found == {"items": [VIEW], "total": 1}
    one = "/v1/catalogue/FeatureView/shop/user-stats"
    assert http.get(one).json() == VIEW
    changed = {**VIEW, "spec": {**VIEW["spec"], "owner": "ads@example.com"}}
    assert http.put(one, json=changed).status_code == 200
    assert http.get("/v1/catalogue", params={"owner": "ads@example.com"}).json()["total"] == 1
    assert http.delete(one).status_code == 200
    assert http.delete(one).status_code == 404
    assert http.get(one).json() == {
        "error": "name: there is no FeatureView shop/user-stats",
        "reason": "NotFound",
        "field": "name",
    }


def test_definitions_are_answered_with_304_until_they_change(http):
    http.put("/v1/catalogue/FeatureView", json={"items": [VIEW]})
    first = http.get("/v1/definitions")
    tag = first.headers["etag"]
    assert first.json()["featureViews"][0]["metadata"] == {"name": "user-stats", "namespace": "shop"}
    same = http.get("/v1/definitions", headers={"if-none-match": f'"other", W/{tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    tell(str(http.base_url))
    assert http.get("/v1/definitions", headers={"if-none-match": tag}).json()["featureViews"] == []


@pytest.mark.slow
def test_nothing_is_said_to_be_absent_before_all_there_is_was_told(start, tmp_path):
    server = start(tmp_path / "r.db")

    def statuses() -> list[int]:
        paths = ("definitions", "catalogue", "catalogue?kind=FeatureView", "catalogue/FeatureView/shop/user-stats")
        paths += ("feature-views/shop/user-stats/schemas", "feature-views/shop/user-stats/lineage")
        return [httpx.get(f"{server.url}/v1/{path}").status_code for path in paths]

    assert httpx.get(f"{server.url}/health/ready").json()["ready"]
    assert statuses() == [503] * 6
    refused = httpx.get(f"{server.url}/v1/definitions")
    assert "objects there are of the kinds FeatureView, ModelDeployment" in refused.json()["error"]
    assert refused.json()["reason"] == "NotListed"
    httpx.put(f"{server.url}/v1/catalogue/FeatureView", json={"items": []}).raise_for_status()
    assert statuses() == [503, 503, 200, 404, 404, 503]
    tell(server.url)
    assert statuses() == [200, 200, 200, 404, 404, 404]
    server.terminate()
    server.exit_code()
    server = start(tmp_path / "r.db")
    assert statuses() == [200, 200, 200, 404, 404, 404]


def test_an_empty_list_takes_nothing_away_unless_it_says_of_which_revision_all_is_gone(http):
    tell(str(http.base_url), VIEW)
    revision = http.get("/v1/catalogue/state").json()["revision"]
    for body in ({"items": []}, {"items": [], "empties": revision - 1}):
        refused = http.put("/v1/catalogue/FeatureView", json=body)
        assert (refused.status_code, refused.json()["reason"]) == (409, "WouldEmpty")
        assert (
            f"has 1 of kind FeatureView, which all stay. If they are gone, say so by empties: {revision}"
            in refused.text
        )
    assert http.get("/v1/catalogue/FeatureView/shop/user-stats").status_code == 200
    http.put("/v1/catalogue/FeatureView", json={"items": [], "empties": revision}).raise_for_status()
    assert http.get("/v1/catalogue/FeatureView/shop/user-stats").status_code == 404
    http.put("/v1/catalogue/FeatureView", json={"items": []}).raise_for_status()


def test_a_schema_is_found_by_its_whole_hash_and_by_the_8_bytes_in_stored_rows(http):
    http.put("/v1/catalogue/FeatureView", json={"items": [VIEW]})
    hashed = http.get("/v1/definitions").json()["featureViews"][0]["schemaHash"]
    schemas = "/v1/feature-views/shop/user-stats/schemas"
    short = hashed.removeprefix("sha256:")[:16]
    whole = http.get(f"{schemas}/{hashed}").json()
    assert whole["schemaHash"] == hashed
    assert whole["spec"] == VIEW["spec"]
    assert http.get(f"{schemas}/{short}").json() == whole
    assert http.get(schemas).json()["items"] == [whole]
    assert http.get(f"{schemas}/0000000000000000").status_code == 404


def test_runs_are_recorded_and_listed(http):
    http.put("/v1/runs/fv-user-stats-1", json={"namespace": "shop", "view": "user-stats", "rows": 5})
    (run,) = http.get("/v1/runs", params={"view": "user-stats"}).json()["items"]
    assert run.pop("recordedAt").endswith("+00:00")
    assert run == {"name": "fv-user-stats-1", "namespace": "shop", "view": "user-stats", "rows": 5}


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "sentence"),
    [
        ("GET", "/v1/catalogue?kind=pod", None, 404, "there is no kind 'pod'"),
        ("GET", "/v1/catalogue?limit=0", None, 400, "limit: "),
        ("GET", "/v1/catalogue?limit=many", None, 400, "limit: "),
        ("PUT", "/v1/catalogue/FeatureView", "[]", 400, ""),
        ("PUT", "/v1/catalogue/FeatureView", "{", 400, "the body is not JSON"),
        ("PUT", "/v1/catalogue/FeatureView", '{"items": [{}]}', 400, "metadata.name: the object has no name"),
        ("PUT", "/v1/catalogue/FeatureView", '{"items": [5]}', 400, "items: a FeatureView is 5, an object is expected"),
        ("PUT", "/v1/catalogue/FeatureView", '{"items": 5}', 400, "items: a list of objects is expected"),
        ("PUT", "/v1/catalogue/FeatureView", "[" * 9000, 400, "the body is not JSON"),
        ("PUT", "/v1/catalogue/FeatureView/a/b", '{"spec": {"x": "\\ud800"}}', 400, "the body is not JSON"),
        ("PUT", "/v1/catalogue/FeatureView/a/b", b'{"spec": {"x": "\xff"}}', 400, "the body is not JSON"),
        ("PUT", "/v1/catalogue/FeatureView/a/b", '{"spec": {"x": NaN}}', 400, "the body is not JSON"),
        ("PUT", "/v1/catalogue/FeatureView/a/b", f'{{"spec": {{"x": {DEEP}}}}}', 400, "nested deeper"),
        ("PUT", "/v1/catalogue/FeatureView/a/b", f'{{"spec": {{"owner": {DEEP}}}}}', 400, "spec.owner: [[["),
        ("PUT", "/v1/catalogue/FeatureView/a/b", '{"spec": {}, "status": [1]}', 400, "status: [1] came, an object"),
        ("GET", f"/v1/catalogue?offset={10**30}", None, 400, "offset: "),
        ("PUT", "/v1/runs/r", f'{{"x": {DEEP}}}', 400, "nested deeper"),
        ("PUT", "/v1/runs/r", f'{{"view": {DEEP}}}', 400, "view: [[["),
        ("PUT", "/v1/datasets/r", f'{{"id": {DEEP}}}', 400, "id: [[["),
        ("PUT", "/v1/catalogue/FeatureView/a/b", "{}", 400, "spec: b has no spec"),
        ("PUT", "/v1/catalogue/FeatureView", " " * 10001, 413, "larger than 10000 bytes"),
        ("PUT", "/v1/runs/r", "5", 400, ""),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_and_changes_nothing(http, method, path, content, status, sentence):
    before = http.get("/v1/definitions").headers["etag"]
    response = http.request(method, path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert sentence in response.json()["error"]
    assert http.get("/v1/definitions").headers["etag"] == before


def test_an_object_whose_fields_are_of_other_kinds_harms_no_answer(http):
    odd = {"owner": None, "tags": [1], "entities": 5, "features": {"refs": 5}, "source": [1], "description": [[1]]}
    odd["big"] = 2**64 - 1
    kinds = ("FeatureView", "ModelDeployment", "Experiment")
    for kind in kinds:
        assert http.put(f"/v1/catalogue/{kind}/odd/one", json={"spec": odd, "metadata": 5}).status_code == 200
        for path in ("definitions", "feature-views/odd/one/lineage", "catalogue?namespace=odd"):
            assert http.get(f"/v1/{path}").status_code == 200
    for kind in kinds:
        assert http.delete(f"/v1/catalogue/{kind}/odd/one").status_code == 200


def test_a_body_of_another_content_type_is_refused(http):
    refused = http.put("/v1/runs/r", content=b"{}", headers={"content-type": "text/plain"})
    assert (refused.status_code, refused.json()["field"]) == (400, "content-type")


def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_writes(start, tmp_path):
    server = start(tmp_path / "r.db")
    tell(server.url)
    catalogue_id = httpx.get(f"{server.url}/v1/catalogue/state").json()["catalogueId"]
    acknowledged: list[str] = []

    def write(number: int) -> None:
        with httpx.Client(base_url=server.url) as http:
            for turn in range(1000):
                name = f"v-{number}-{turn}"
                view = {**VIEW, "metadata": {"name": name, "namespace": "shop"}}
                try:
                    http.put(f"/v1/catalogue/FeatureView/shop/{name}", json=view).raise_for_status()
                except httpx.TransportError:
                    return
                acknowledged.append(name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 30:
        assert server.process.poll() is None
    server.terminate(signal.SIGKILL)
    for thread in threads:
        thread.join()
    server.exit_code()
    server = start(tmp_path / "r.db")
    answer = httpx.get(f"{server.url}/v1/catalogue", params={"limit": 5000}).json()
    kept = {item["metadata"]["name"] for item in answer["items"]}
    assert set(acknowledged) <= kept
    assert len(kept) <= len(acknowledged) + 3
    assert httpx.get(f"{server.url}/v1/catalogue/state").json()["catalogueId"] == catalogue_id
    assert httpx.get(f"{server.url}/health/ready").json() == {"ready": True, "checks": {"database": "ok"}}


def test_a_database_it_cannot_use_is_one_line_and_exit_code_2(start_service, tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but somebody's notes\n" * 100)
    url = f"sqlite:///{tmp_path}/notes.txt"
    server = start_service("-m", "millrace_services.registry", listening=False, MILLRACE_DATABASE_URL=url)
    assert server.exit_code() == 2
    assert "Traceback" not in server.log()
    assert "is no SQLite database" in server.log()
