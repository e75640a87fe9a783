"""CRDs that go and come while they are watched: noticed in seconds, and no watcher dies unseen."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import kopf
import pytest
import yaml

from millrace_kube import kopf_streams
from millrace_kube.connection import Connection
from millrace_kube.resources import CRON_JOBS, DEFINITIONS, FEATURE_VIEWS, Object, Resource
from millrace_kube.store import Store
from millrace_local.apiserver.process import RunningServer
from tests.kube.test_watching import Toy, make
from tests.operators.harness import REPOSITORY, Api, eventually, operators

pytestmark = pytest.mark.slow

# So long at the most until a CRD that came is noticed.
NOTICED_SECONDS = 5.0


def definition(kind: str) -> Object:
    """A CRD of ours."""
    for path in (REPOSITORY / "crds").glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            if document["spec"]["names"]["kind"] == kind:
                found: Object = document
                return found
    raise AssertionError(kind)


async def vanish(api: Api, resource: Resource) -> None:
    name = f"{resource.plural}.{resource.group}"
    api.delete(DEFINITIONS, "", name)
    await eventually(lambda: api.get(DEFINITIONS, "", name) is None)


@pytest.mark.parametrize("noticed", [True, False], ids=["after it was noticed", "at once"])
async def test_a_watched_crd_goes_and_comes_five_times(
    fresh: RunningServer, noticed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[aiohttp.ClientSession] = []
    real = Connection.session

    def session(connection: Connection, headers: Any, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
        made = real(connection, headers, *traces)
        sessions.extend([made] if traces else [])
        return made

    monkeypatch.setattr(Connection, "session", session)
    api = Api(fresh)
    namespace = api.namespace()
    async with operators(fresh, Toy(namespace)) as running:
        stores = running.runtime.cluster.cache.stores
        [store] = [each for each in stores if each.resource == FEATURE_VIEWS]
        for number in range(5):
            make(api, namespace, f"v{number}")
            await eventually(lambda number=number: api.get(CRON_JOBS, namespace, f"fv-v{number}"), 60)
            await vanish(api, FEATURE_VIEWS)
            if noticed:
                await eventually(lambda: not store.served, 60)
                assert store.items == {}
            api.create(DEFINITIONS, definition("FeatureView"))
        await eventually(lambda: store.served and not store.items, 60)
    api.close()
    assert sessions
    assert all(session.closed for session in sessions)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(kopf_streams.STREAMS)]


async def test_a_crd_that_comes_later_is_followed(fresh: RunningServer) -> None:
    api = Api(fresh)
    namespace = api.namespace()
    await vanish(api, FEATURE_VIEWS)
    async with operators(fresh, Toy(namespace)) as running:
        await running.settle()
        api.create(DEFINITIONS, definition("FeatureView"))
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"), 60)
    api.close()


async def test_what_begins_or_ceases_to_be_served_is_told_once() -> None:
    store, told = Store(FEATURE_VIEWS), []
    store.on_turned(lambda: told.append(store.served))
    store.replace([], 1)
    store.replace([], 2)
    store.clear()
    store.clear()
    store.replace([], 3)
    assert told == [True, False, True]


def test_an_absent_kind_is_looked_for_often_enough() -> None:
    assert kopf_streams.WHILE_NOT_INSTALLED * 2 <= NOTICED_SECONDS


async def test_a_task_of_kopfs_that_dies_is_replaced(
    fresh: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a fault of kopf's, say: its other tasks go on, and nothing would be seen of this kind any more."""
    api = Api(fresh)
    namespace = api.namespace()
    died = asyncio.Event()
    real = kopf.spawn_tasks

    async def spawn(**kwargs: Any) -> Any:
        tasks = list(await real(**kwargs))

        async def die() -> None:
            died.set()
            raise RuntimeError("a fault of kopf's")

        return tasks if died.is_set() else [*tasks, asyncio.create_task(die())]

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    async with operators(fresh, Toy(namespace)):
        await asyncio.wait_for(died.wait(), 60)
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"), 60)
    api.close()
    assert "a fault of kopf's" in caplog.text


async def test_a_failed_request_of_kopfs_ends_its_life_and_never_reaches_it() -> None:
    failed: list[str] = []
    trace = kopf_streams._trace(failed.append, lambda: None)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        request = asyncio.create_task(session.get("http://127.0.0.1:1/x?watch=true").__aenter__())
        await eventually(lambda: failed)
        assert not request.done()
        request.cancel()
        await asyncio.wait([request])
    assert failed[0].startswith("GET /x: ")
    assert len(failed) == 1, "a cancel is no failure"
