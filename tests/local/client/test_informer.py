"""Local copies of the server's objects, through dropped, stale and forgotten watches."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.errors import ApiError
from millrace_kube.resources import CONFIG_MAPS, EVENTS, Object, Resource, key_of
from millrace_local.apiserver.process import RunningServer, start
from millrace_local.client.events import Recorder
from millrace_local.client.informer import Informer, Informers
from tests.local.cluster import EmbeddedCluster


class Seen:
    """A copy built from what the listener was told, and from nothing else."""

    def __init__(self) -> None:
        self.items: dict[str, Object] = {}
        self.changes = 0

    def take(self, old: Object | None, new: Object | None) -> None:
        self.changes += 1
        obj = new or old
        assert obj is not None
        assert (self.items.get(key_of(obj)) is None) == (old is None)
        if new is None:
            del self.items[key_of(obj)]
        else:
            self.items[key_of(obj)] = copy.deepcopy(new)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(cluster: EmbeddedCluster) -> AsyncIterator[tuple[Informer, Seen]]:
    informer, seen, stop = Informer(cluster.client, CONFIG_MAPS), Seen(), asyncio.Event()
    informer.subscribe(seen.take)
    running = asyncio.create_task(informer.run(stop))
    await asyncio.wait_for(informer.synced.wait(), 20)
    try:
        yield informer, seen
    finally:
        stop.set()
        await running


async def put(cluster: EmbeddedCluster, name: str, value: str) -> Object:
    try:
        return await cluster.client.patch(CONFIG_MAPS, cluster.namespace, name, {"data": {"v": value}})
    except ApiError:
        return await cluster.create(CONFIG_MAPS, name, data={"v": value})


def values(seen: Seen, cluster: EmbeddedCluster) -> dict[str, str]:
    mine = {key: obj for key, obj in seen.items.items() if key.startswith(f"{cluster.namespace}/")}
    return {key.split("/")[1]: obj["data"]["v"] for key, obj in mine.items()}


async def test_changes_arrive_in_order_and_deletions_too(cluster: EmbeddedCluster) -> None:
    await put(cluster, "before", "0")
    async with watching(cluster) as (informer, seen):
        assert values(seen, cluster) == {"before": "0"}
        for number in range(5):
            await put(cluster, "a", str(number))
        await cluster.client.delete(CONFIG_MAPS, cluster.namespace, "before")
        await seen.until(lambda: values(seen, cluster) == {"a": "4"})
        assert informer.get(cluster.namespace, "a")["data"] == {"v": "4"}  # type: ignore[index]


@pytest.mark.parametrize("fault", ["/faults/drop-watches", "/faults/forget-history"])
async def test_nothing_is_missed_when_the_watch_is_cut(cluster: EmbeddedCluster, fault: str) -> None:
    await put(cluster, "gone", "0")
    async with watching(cluster) as (_, seen):
        for number in range(6):
            await put(cluster, "a", str(number))
            await cluster.client.request("POST", fault)
            await cluster.client.request("POST", "/faults/drop-watches")
            await put(cluster, "b", str(number))
        await cluster.client.delete(CONFIG_MAPS, cluster.namespace, "gone")
        await seen.until(lambda: values(seen, cluster) == {"a": "5", "b": "5"})


async def test_a_server_that_refuses_and_stalls_is_asked_again(cluster: EmbeddedCluster) -> None:
    rules = [
        {"verb": "list|watch", "resource": "configmaps", "action": "status", "code": 500, "times": 2},
        {"verb": "watch", "resource": "configmaps", "action": "drop", "times": 1},
    ]
    await cluster.client.request("PUT", "/faults", body=rules)
    try:
        async with watching(cluster) as (_, seen):
            await put(cluster, "a", "1")
            await seen.until(lambda: values(seen, cluster) == {"a": "1"})
    finally:
        await cluster.client.request("DELETE", "/faults")


async def test_a_server_that_was_killed_and_came_back_is_followed_on(tmp_path: Path) -> None:
    def serve(port: int = 0) -> RunningServer:
        return start(tmp_path / "data", port=port, kubeconfig=tmp_path / "kubeconfig")

    server = serve()
    try:
        async with Client(load(server.kubeconfig)) as client:
            cluster = EmbeddedCluster(client, client, "default", tmp_path, "n")
            await put(cluster, "a", "1")
            async with watching(cluster) as (_, seen):
                server.kill()
                server = serve(int(server.url.rpartition(":")[2]))
                await put(cluster, "a", "2")
                await put(cluster, "b", "1")
                await seen.until(lambda: values(seen, cluster).items() >= {"a": "2", "b": "1"}.items())
    finally:
        server.stop()


async def test_a_kind_that_is_not_installed_counts_as_empty(cluster: EmbeddedCluster) -> None:
    informers, stop = Informers(cluster.client), asyncio.Event()
    informer = informers.of(Resource("none.example", "v1", "nones", "None"))
    running = asyncio.create_task(informers.run(stop))
    await asyncio.wait_for(informers.synced(stop), 20)
    assert informer.items == {}
    stop.set()
    await running


def cm(name: str, version: int, **labels: str) -> Object:
    metadata = {"namespace": "n", "name": name, "uid": name, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata}


class Scripted:
    """A client that lists nothing and watches what it is told."""

    def __init__(self, *events: tuple[str, Object]) -> None:
        self.events = events

    async def list(self, *_: Any, **__: Any) -> tuple[list[Object], str]:
        return [], "10"

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[Object]:
        for kind, obj in self.events:
            yield kind, copy.deepcopy(obj)
        self.events = ()
        await asyncio.sleep(1000)


async def played(informer: Informer) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(informer.run(stop))
    while informer._client.events:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop.set()
    await running


async def test_a_stale_watch_does_not_turn_time_back() -> None:
    events = (("ADDED", cm("a", 12)), ("MODIFIED", cm("a", 11)), ("DELETED", cm("a", 11)))
    informer = Informer(Scripted(*events), CONFIG_MAPS)  # type: ignore[arg-type]
    await played(informer)
    assert [obj["metadata"]["resourceVersion"] for obj in informer.items.values()] == ["12"]


async def test_ones_own_write_is_seen_at_once_but_never_brings_back_what_is_gone() -> None:
    informer = Informer(Scripted(("ADDED", cm("a", 11)), ("DELETED", cm("a", 15))), CONFIG_MAPS)  # type: ignore[arg-type]
    informer.observe(cm("b", 3))
    assert "n/b" in informer.items
    await played(informer)
    informer.observe(cm("a", 14))
    assert "n/a" not in informer.items
    informer.observe(cm("a", 16))
    assert informer.items["n/a"]["metadata"]["resourceVersion"] == "16"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", None])), max_size=25))
def test_an_index_always_says_what_the_items_say(steps: list[tuple[str, str | None]]) -> None:
    informer = Informer(Scripted(), CONFIG_MAPS)  # type: ignore[arg-type]
    informer.index("team", lambda obj: obj["metadata"]["labels"].values())
    for number, (name, team) in enumerate(steps, start=11):
        if team is None:
            informer._remove(f"n/{name}", cm(name, number))
        else:
            informer._take(cm(name, number, team=team))
        for value in ("x", "y"):
            expected = [obj for _, obj in sorted(informer.items.items()) if value in obj["metadata"]["labels"].values()]
            assert informer.by("team", value) == expected


async def test_an_event_repeated_is_counted_also_by_the_next_recorder(cluster: EmbeddedCluster) -> None:
    obj = await cluster.create(CONFIG_MAPS, "c", data={})
    for _ in range(2):
        stop = asyncio.Event()
        recorder = Recorder(cluster.client, "test")
        running = asyncio.create_task(recorder.run(stop))
        for _ in range(3):
            recorder.emit(CONFIG_MAPS, obj, "Odd", "something is odd", kind="Warning")
        stop.set()
        await running
    events, _ = await cluster.client.list(EVENTS, cluster.namespace)
    assert [(event["reason"], event["count"], event["type"]) for event in events] == [("Odd", 6, "Warning")]
