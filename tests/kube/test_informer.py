"""Stores kept true by list and watch, through dropped, stale and forgotten watches."""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from millrace_kube.client import Client
from millrace_kube.connection import Connection, load
from millrace_kube.errors import AbsentError
from millrace_kube.informer import Informer, Informers
from millrace_kube.resources import CONFIG_MAPS, Object, Resource, key_of, labels_of
from millrace_kube.store import Store
from millrace_kube.watched import Watch
from millrace_local.apiserver.credentials import FILE
from millrace_local.apiserver.process import RunningServer
from tests.api_server import start
from tests.operators.harness import Api


class Seen:
    """A copy built from what the listener was told, and from nothing else."""

    def __init__(self) -> None:
        self.items: dict[str, Object] = {}

    def take(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        assert (self.items.get(key_of(obj)) is None) == (old is None)
        if new is None:
            del self.items[key_of(obj)]
        else:
            self.items[key_of(obj)] = copy.deepcopy(new)

    def values(self, namespace: str) -> dict[str, str]:
        mine = {key: obj for key, obj in self.items.items() if key.startswith(f"{namespace}/")}
        return {key.split("/")[1]: obj["data"]["v"] for key, obj in mine.items()}

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:
    async with Client(load(server.kubeconfig), user_agent="test") as client:
        yield client


@pytest.fixture
def namespace(api: Api) -> str:
    return api.namespace()


@asynccontextmanager
async def watching(client: Client, watch: Watch | None = None) -> AsyncIterator[tuple[Store, Seen]]:
    store, seen = Store(CONFIG_MAPS, watch or Watch()), Seen()
    store.subscribe(seen.take)
    running = asyncio.create_task(Informer(client, store).run())
    await asyncio.wait_for(store.synced.wait(), 20)
    try:
        yield store, seen
    finally:
        running.cancel()
        await asyncio.wait([running])


async def put(client: Client, namespace: str, name: str, value: str, **labels: str) -> None:
    change: Object = {"data": {"v": value}, "metadata": {"labels": labels}}
    try:
        await client.patch(CONFIG_MAPS, namespace, name, change)
    except AbsentError:
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        await client.create(CONFIG_MAPS, {**change, "metadata": metadata})


async def test_changes_arrive_in_order_and_deletions_too(client: Client, namespace: str) -> None:
    await put(client, namespace, "before", "0")
    async with watching(client) as (store, seen):
        assert seen.values(namespace) == {"before": "0"}
        for number in range(5):
            await put(client, namespace, "a", str(number))
        await client.delete(CONFIG_MAPS, namespace, "before")
        await seen.until(lambda: seen.values(namespace) == {"a": "4"})
        held = store.get(namespace, "a")
        assert held is not None
        assert (held["kind"], held["data"]) == ("ConfigMap", {"v": "4"})


async def test_an_object_that_no_longer_matches_the_selector_is_gone(client: Client, namespace: str) -> None:
    async with watching(client, Watch(labels="team=a")) as (store, seen):
        await put(client, namespace, "a", "1", team="a")
        await put(client, namespace, "b", "1", team="b")
        await seen.until(lambda: seen.values(namespace) == {"a": "1"})
        await put(client, namespace, "a", "2", team="b")
        await seen.until(lambda: seen.values(namespace) == {})
        assert [labels_of(item) for item in store.items.values()] == []


@pytest.mark.parametrize("forgets", [False, True], ids=["resumed", "expired"])
async def test_nothing_is_missed_when_the_watch_is_cut(client: Client, api: Api, namespace: str, forgets: bool) -> None:
    await put(client, namespace, "gone", "0")
    async with watching(client) as (_, seen):
        for number in range(6):
            await put(client, namespace, "a", str(number))
            if forgets:
                api.forget_history()
            api.drop_watches()
            await put(client, namespace, "b", str(number))
        await client.delete(CONFIG_MAPS, namespace, "gone")
        await seen.until(lambda: seen.values(namespace) == {"a": "5", "b": "5"})


async def test_a_cut_watch_is_resumed_without_a_list(client: Client, api: Api, namespace: str) -> None:
    async with watching(client) as (_, seen):
        api.fault({"verb": "list", "resource": "configmaps", "action": "latency", "seconds": 0})
        for number in range(3):
            api.drop_watches()
            await put(client, namespace, "a", str(number))
            await seen.until(lambda number=number: seen.values(namespace) == {"a": str(number)})  # type: ignore[misc]
        assert api.rules()[0]["calls"] == 0


async def test_a_server_that_refuses_and_stalls_is_asked_again(client: Client, api: Api, namespace: str) -> None:
    api.fault(
        {"verb": "list|watch", "resource": "configmaps", "action": "status", "code": 500, "times": 2},
        {"verb": "watch", "resource": "configmaps", "action": "drop", "times": 1},
    )
    async with watching(client) as (_, seen):
        await put(client, namespace, "a", "1")
        await seen.until(lambda: seen.values(namespace) == {"a": "1"})


async def test_a_server_that_answers_lists_but_no_watch_is_polled(client: Client, api: Api, namespace: str) -> None:
    api.fault({"verb": "watch", "resource": "configmaps", "action": "status", "code": 503})
    async with watching(client) as (_, seen):
        await put(client, namespace, "a", "1")
        await seen.until(lambda: seen.values(namespace) == {"a": "1"})
        await client.delete(CONFIG_MAPS, namespace, "a")
        await seen.until(lambda: seen.values(namespace) == {})


async def test_a_watch_that_says_nothing_any_more_is_taken_for_dead(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is gone without a word: the connection stands, and nothing comes."""
    monkeypatch.setattr("millrace_kube.client.SILENCE_SECONDS", 0.2)
    answered: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode():
            answered.append(line)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            if "watch=1" in line:
                writer.write(b"Transfer-Encoding: chunked\r\n\r\n")  # and no more
            else:
                body = b'{"items": [], "metadata": {"resourceVersion": "7"}}'
                writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Client(Connection(url)) as mute, watching(mute):
        async with asyncio.timeout(20):
            while sum("watch=1" in path for path in answered) < 3:
                await asyncio.sleep(0.01)
    server.close()
    assert all("resourceVersion=7" in path for path in answered if "watch=1" in path)


async def test_a_server_that_was_killed_and_came_back_is_followed_on(tmp_path: Path) -> None:
    def serve(port: int = 0) -> RunningServer:
        return start(tmp_path / "data", port=port, kubeconfig=tmp_path / "kubeconfig")

    server = serve()
    try:
        async with Client(load(server.kubeconfig)) as client:
            await put(client, "default", "a", "1")
            async with watching(client) as (_, seen):
                server.kill()
                server = serve(int(server.url.rpartition(":")[2]))
                await put(client, "default", "a", "2")
                await put(client, "default", "b", "1")
                await seen.until(lambda: seen.values("default").items() >= {"a": "2", "b": "1"}.items())
    finally:
        server.stop()


async def test_a_server_that_was_set_back_to_a_backup_is_believed(tmp_path: Path) -> None:
    """Its versions are lower than those that were seen."""

    def serve(data: str) -> RunningServer:
        return start(tmp_path / data, port=port, kubeconfig=tmp_path / "kubeconfig")

    port = 0
    server = serve("data")
    port = int(server.url.rpartition(":")[2])
    try:
        async with Client(load(server.kubeconfig)) as client:
            for number in range(30):
                await put(client, "default", "a", str(number))
            async with watching(client) as (_, seen):
                assert seen.values("default")["a"] == "29"
                server.kill()
                (tmp_path / "backup").mkdir()
                shutil.copy(tmp_path / "data" / FILE, tmp_path / "backup")  # a backup knows the same callers
                server = serve("backup")
                await put(client, "default", "b", "1")
                await seen.until(lambda: seen.values("default") == {"b": "1"})
    finally:
        server.stop()


async def test_a_kind_that_is_not_installed_counts_as_empty(client: Client) -> None:
    informers = Informers(client)
    store = informers.of(Resource("none.example", "v1", "nones", "None"))
    running = asyncio.create_task(informers.run())
    await asyncio.wait_for(informers.synced(), 20)
    assert store.items == {}
    assert not store.served
    later = informers.of(CONFIG_MAPS)
    await asyncio.wait_for(later.synced.wait(), 20)
    assert later.served
    running.cancel()
    await asyncio.wait([running])


def cm(name: str, version: int) -> Object:
    return {"metadata": {"namespace": "n", "name": name, "uid": name, "resourceVersion": str(version)}}


class Scripted:
    """A client that lists nothing and watches what it is told."""

    def __init__(self, *events: tuple[str, Object]) -> None:
        self.events = events

    async def list(self, *_: Any, **__: Any) -> tuple[list[Object], str]:
        return [], "10"

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[tuple[str, Object]]:
        for kind, obj in self.events:
            yield kind, copy.deepcopy(obj)
        self.events = ()
        await asyncio.sleep(1000)


async def played(store: Store, *events: tuple[str, Object]) -> None:
    client = Scripted(*events)
    running = asyncio.create_task(Informer(client, store).run())  # type: ignore[arg-type]
    while client.events:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])


async def test_a_stale_watch_does_not_turn_time_back() -> None:
    store = Store(CONFIG_MAPS)
    await played(store, ("ADDED", cm("a", 12)), ("MODIFIED", cm("a", 11)), ("DELETED", cm("a", 11)))
    assert [obj["metadata"]["resourceVersion"] for obj in store.items.values()] == ["12"]


async def test_ones_own_write_is_seen_at_once_but_never_brings_back_what_is_gone() -> None:
    store = Store(CONFIG_MAPS)
    assert store.upsert(cm("b", 3))
    await played(store, ("ADDED", cm("a", 11)), ("DELETED", cm("a", 15)))
    assert store.items == {}, "the list at 10 knows of no b"
    assert not store.upsert(cm("a", 14))
    assert store.upsert(cm("a", 16))
    assert store.items["n/a"]["metadata"]["resourceVersion"] == "16"


async def test_after_a_bookmark_an_earlier_answer_is_known_to_be_of_the_past() -> None:
    store = Store(CONFIG_MAPS)
    await played(store, ("BOOKMARK", {"metadata": {"resourceVersion": "20"}}))
    assert not store.upsert(cm("a", 19)), "made and gone again before the bookmark"
    assert store.upsert(cm("a", 21))


async def test_a_listener_that_fails_ends_no_watch() -> None:
    store, heard = Store(CONFIG_MAPS), []
    store.subscribe(lambda _old, _new: 1 / 0)
    store.subscribe(lambda _old, new: heard.append(new))
    await played(store, ("ADDED", cm("a", 11)), ("ADDED", cm("b", 12)))
    assert len(heard) == 2


class Ending(Scripted):
    """A client each of whose watches ends after one event, and that remembers from where they began."""

    def __init__(self, *events: tuple[str, Object]) -> None:
        super().__init__(*events)
        self.began: list[str] = []

    async def watch(self, _: Any, version: str, **__: Any) -> AsyncIterator[tuple[str, Object]]:
        self.began.append(version)
        if not self.events:
            await asyncio.sleep(1000)
        (kind, obj), *self.events = self.events  # type: ignore[assignment]
        yield kind, copy.deepcopy(obj)


async def test_each_watch_begins_where_the_last_one_ended() -> None:
    bookmark = ("BOOKMARK", {"metadata": {"resourceVersion": "15"}})
    client = Ending(("ADDED", cm("a", 11)), ("DELETED", cm("a", 13)), bookmark)
    running = asyncio.create_task(Informer(client, Store(CONFIG_MAPS)).run())  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        while len(client.began) < 4:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert client.began == ["10", "11", "13", "15"]
