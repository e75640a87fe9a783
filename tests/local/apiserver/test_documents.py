"""Discovery, OpenAPI and health; responses on a full disk and to a fault of the server itself."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from millrace_local.apiserver.app import App
from millrace_local.apiserver.authentication import Authentication
from millrace_local.apiserver.server import ApiServer


def in_process(cluster: ApiServer) -> httpx.AsyncClient:
    """A client of a server in this process."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(App(cluster, Authentication("t"))),
        base_url="http://localhost",
        headers={"authorization": "Bearer t"},
    )


AGGREGATED = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}


def test_health_and_version(http: httpx.Client) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping"):
        assert http.get(path).text == "ok"
    assert http.get("/version").json()["gitVersion"].startswith("v1.32.")
    assert "/apis" in http.get("/").json()["paths"]


def test_discovery_of_old_clients(http: httpx.Client) -> None:
    assert http.get("/api").json()["versions"] == ["v1"]
    groups = {group["name"]: group for group in http.get("/apis").json()["groups"]}
    assert groups["autoscaling"]["preferredVersion"]["groupVersion"] == "autoscaling/v2"
    assert http.get("/apis/apps").json()["kind"] == "APIGroup"
    rows = {row["name"]: row for row in http.get("/apis/apps/v1").json()["resources"]}
    assert rows["deployments"]["shortNames"] == ["deploy"]
    assert (rows["deployments/scale"]["group"], rows["deployments/scale"]["kind"]) == ("autoscaling", "Scale")
    assert "watch" in rows["deployments"]["verbs"]
    assert http.get("/apis/none.dev").status_code == 404
    assert http.get("/apis/apps/v9").status_code == 404


def test_discovery_of_new_clients(http: httpx.Client) -> None:
    core = http.get("/api", headers=AGGREGATED)
    assert "as=APIGroupDiscoveryList" in core.headers["content-type"]
    pods = next(r for r in core.json()["items"][0]["versions"][0]["resources"] if r["resource"] == "pods")
    assert (pods["scope"], pods["singularResource"], pods["responseKind"]["kind"]) == ("Namespaced", "pod", "Pod")
    assert {sub["subresource"] for sub in pods["subresources"]} == {"status", "log", "binding", "eviction"}
    names = {item["metadata"]["name"] for item in http.get("/apis", headers=AGGREGATED).json()["items"]}
    assert {"apps", "batch", "events.k8s.io"} <= names


def test_open_api_documents(http: httpx.Client) -> None:
    paths = http.get("/openapi/v3").json()["paths"]
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    document = http.get(url).json()
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "io.k8s.api.apps.v1.Deployment" in http.get("/openapi/v2").json()["definitions"]
    assert http.get("/openapi/v3/apis/none.dev/v1").status_code == 404


def test_a_head_request_has_no_body(http: httpx.Client) -> None:
    answer = http.head("/api/v1/namespaces/default")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0
    last = http.head("/version", headers={"connection": "close"})
    assert (last.status_code, last.headers["connection"]) == (200, "close")


async def test_a_full_disk_is_reported_and_nothing_is_half_written(tmp_path: Path) -> None:
    cluster = ApiServer(tmp_path)
    cluster.journal._connection.execute("PRAGMA max_page_count = 4")
    maps = "/api/v1/namespaces/default/configmaps"
    async with in_process(cluster) as client:
        large = {"metadata": {"name": "large"}, "data": {"k": "x" * 200_000}}
        refused = await client.post(maps, json=large)
        assert refused.status_code == 507
        assert refused.json()["message"].endswith("Free some disk space; nothing was changed")
        assert (await client.get(f"{maps}/large")).status_code == 404
        cluster.journal._connection.execute("PRAGMA max_page_count = 100000")
        assert (await client.post(maps, json=large)).status_code == 201
    cluster.close()


async def test_events_are_forgotten_an_hour_after_their_last_write_whatever_time_they_tell(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    cluster = ApiServer(tmp_path, clock=lambda: now)
    path = "/api/v1/namespaces/default/events"
    async with in_process(cluster) as client:
        for name, seen in (("old", "2027-01-01T00:00:00Z"), ("again", "2024-01-01T00:00:00Z")):
            event = {"metadata": {"name": name}, "involvedObject": {"namespace": "default"}, "lastTimestamp": seen}
            assert (await client.post(path, json=event)).status_code == 201
        now = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
        headers = {"Content-Type": "application/merge-patch+json"}
        assert (await client.patch(f"{path}/again", json={"count": 2}, headers=headers)).status_code == 200
        for minutes, names in ((50, ["again", "old"]), (70, ["again"]), (91, [])):
            now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
            await cluster.expire_events()
            left = (await client.get(path)).json()["items"]
            assert [event["metadata"]["name"] for event in left] == names
    cluster.close()


async def test_a_fault_of_the_server_is_a_status_and_a_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = ApiServer(tmp_path)
    monkeypatch.setattr(cluster.reader, "get", lambda *_: 1 / 0)
    async with in_process(cluster) as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.get("/api/v1/namespaces/default")
    assert (answer.status_code, answer.json()["reason"]) == (500, "InternalError")
    assert "ZeroDivisionError" in caplog.text
    cluster.close()
