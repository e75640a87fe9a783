"""Watches over plain HTTP: where they start, what they see, how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from millrace_local.apiserver import watching as watching_module
from millrace_local.apiserver.process import RunningServer
from millrace_local.apiserver.store import WatchEvent, entry_of
from millrace_local.apiserver.watching import Watcher, WatchHub
from tests.api_client import client_of

MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
def maps(namespace: str) -> str:
    """The path of the test's ConfigMaps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


@contextmanager
def watching(http: httpx.Client, path: str, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a watch, as they come."""
    with http.stream("GET", path, params={"watch": "1", **query}) as answer:
        assert answer.status_code == 200, answer.read()
        yield (json.loads(line) for line in answer.iter_lines())


def put(http: httpx.Client, path: str, name: str, **labels: str) -> dict[str, Any]:
    """Creates an object; returns it."""
    made: dict[str, Any] = (
        http.post(path, json={"metadata": {"name": name, "labels": labels}}).raise_for_status().json()
    )
    return made


def seen(event: dict[str, Any]) -> tuple[str, str]:
    """The type of an event and the name of its object."""
    return event["type"], event["object"]["metadata"].get("name", "")


def test_a_watch_without_a_start_shows_what_is_there_first(http: httpx.Client, maps: str) -> None:
    put(http, maps, "there")
    with watching(http, maps) as events:
        assert seen(next(events)) == ("ADDED", "there")
        put(http, maps, "new")
        assert seen(next(events)) == ("ADDED", "new")


def test_a_watch_goes_on_where_a_list_ended_and_misses_nothing(http: httpx.Client, maps: str) -> None:
    put(http, maps, "before")
    start = http.get(maps).json()["metadata"]["resourceVersion"]
    put(http, maps, "a")
    http.patch(f"{maps}/a", json={"data": {"k": "v"}}, headers=MERGE)
    deleted_from = http.get(f"{maps}/a").json()["metadata"]["resourceVersion"]
    http.delete(f"{maps}/a")
    with watching(http, maps, resourceVersion=start) as events:
        got = [next(events) for _ in range(3)]
        put(http, maps, "b")
        got.append(next(events))
    assert [seen(event) for event in got] == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in got]
    assert versions == sorted(set(versions))
    assert versions[2] > int(deleted_from)
    assert got[2]["object"]["data"] == {"k": "v"}


def test_a_selector_turns_changes_into_coming_and_going(http: httpx.Client, maps: str) -> None:
    with watching(http, maps, labelSelector="on=yes") as events:
        put(http, maps, "a")
        http.patch(f"{maps}/a", json={"metadata": {"labels": {"on": "yes"}}}, headers=MERGE)
        http.patch(f"{maps}/a", json={"data": {"k": "v"}}, headers=MERGE)
        http.patch(f"{maps}/a", json={"metadata": {"labels": {"on": "no"}}}, headers=MERGE)
        http.delete(f"{maps}/a")
        put(http, maps, "last", on="yes")
        got = [seen(next(events)) for _ in range(4)]
    assert got == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "last")]


def test_one_object_can_be_watched_by_its_path(http: httpx.Client, maps: str) -> None:
    with watching(http, f"{maps}/wanted") as events:
        put(http, maps, "other")
        put(http, maps, "wanted")
        assert seen(next(events)) == ("ADDED", "wanted")


def test_a_watch_over_all_namespaces(http: httpx.Client, maps: str) -> None:
    start = http.get("/api/v1/configmaps").json()["metadata"]["resourceVersion"]
    with watching(http, "/api/v1/configmaps", resourceVersion=start) as events:
        put(http, maps, "here")
        assert seen(next(events)) == ("ADDED", "here")


def test_a_watch_ends_after_its_time(http: httpx.Client, maps: str) -> None:
    with watching(http, maps, timeoutSeconds=1) as events:
        assert list(events) == []


def test_initial_events_end_with_a_bookmark(http: httpx.Client, maps: str) -> None:
    put(http, maps, "a")
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with watching(http, maps, **query) as events:
        assert seen(next(events)) == ("ADDED", "a")
        bookmark = next(events)
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        put(http, maps, "b")
        assert seen(next(events)) == ("ADDED", "b")
    wrong = http.get(maps, params={"watch": "1", "sendInitialEvents": "true"})
    assert (wrong.status_code, wrong.json()["reason"]) == (422, "Invalid")


def test_a_table_watch_names_its_columns_once(http: httpx.Client, maps: str) -> None:
    put(http, maps, "a")
    put(http, maps, "b")
    headers = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    with http.stream("GET", maps, params={"watch": "1"}, headers=headers) as answer:
        lines = answer.iter_lines()
        first, second = json.loads(next(lines)), json.loads(next(lines))
    assert [column["name"] for column in first["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert second["object"]["columnDefinitions"] is None
    assert [row["cells"][0] for row in second["object"]["rows"]] == ["b"]


async def test_a_quiet_watch_says_how_far_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "BOOKMARK_SECONDS", 0.02)
    hub = WatchHub()
    hub.revision = lambda: 42
    watcher = Watcher("", None, lambda *_: b"", lambda revision: b"bookmark %d" % revision)
    hub.add("/things", watcher)
    pieces = hub.stream("/things", watcher, (), 30)
    assert [await anext(pieces), await anext(pieces)] == [b"bookmark 42", b"bookmark 42"]
    await pieces.aclose()


async def test_a_client_that_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "BACKLOG", 3)
    hub = WatchHub()
    watcher = Watcher("", None, lambda kind, event: b"%d " % event.revision, None)
    hub.add("/things", watcher)
    metadata = {"name": "a", "uid": "u", "resourceVersion": "1"}
    for revision in range(1, 6):
        hub.publish(WatchEvent(revision, "MODIFIED", entry_of("/things", "ns", "a", {"metadata": metadata}), None))
    assert watcher.closed
    assert [piece async for piece in hub.stream("/things", watcher, (), 30)] == []


def test_a_start_in_the_future_is_refused(http: httpx.Client, maps: str) -> None:
    answer = http.get(maps, params={"watch": "1", "resourceVersion": "999999999"})
    assert (answer.status_code, answer.json()["reason"]) == (504, "Timeout")


def test_a_watch_from_a_revision_that_is_too_old_gets_410(faulty: RunningServer) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    with client_of(faulty) as http:
        start = http.get(path).json()["metadata"]["resourceVersion"]
        put(http, path, "a")
        http.post("/faults/forget-history").raise_for_status()
        with watching(http, path, resourceVersion=start) as events:
            told = list(events)
        assert [event["type"] for event in told] == ["ERROR"]
        assert (told[0]["object"]["code"], told[0]["object"]["reason"]) == (410, "Expired")
        now = http.get(path).json()["metadata"]["resourceVersion"]
        with watching(http, path, resourceVersion=now, timeoutSeconds=1) as events:
            assert list(events) == []
