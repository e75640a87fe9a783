"""An API server that was restored: what it holds now is what counts, however old, and nobody need start again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millrace_core.base.errors import MillraceError
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.errors import ConflictError
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import CONFIG_MAPS, CRON_JOBS, FEATURE_VIEWS, JOBS, Object, Resource, key_of
from millrace_kube.store import Store
from millrace_local.apiserver.process import RunningServer
from tests.kube.test_cache import job
from tests.kube.test_informer import put, watching
from tests.kube.test_watching import Toy, make
from tests.operators.harness import AGENT, Api, Running, eventually, operators
from tests.operators.restoring import RESTORES, Restorable

Restore = Callable[[Restorable], None]


@pytest.fixture
def restorable(tmp_path: Path) -> Iterator[Restorable]:
    made = Restorable(tmp_path)
    yield made
    made.server.stop()


@pytest.fixture(params=RESTORES, ids=lambda restore: restore.__name__)
def restore(request: pytest.FixtureRequest) -> Restore:
    found: Restore = request.param
    return found


def held(documents: list[Object]) -> dict[str, str]:
    return {key_of(document): document["metadata"]["resourceVersion"] for document in documents}


def schedule(document: Object | None) -> str:
    return str(document["spec"]["schedule"]) if document else ""


@pytest.mark.slow
async def test_operators_follow_a_server_that_was_restored(restorable: Restorable, restore: Restore) -> None:
    api = Api(restorable.server)
    namespace = api.namespace()
    for name in ("changed", "deleted", "same"):
        make(api, namespace, name)
    async with operators(restorable.server, Toy(namespace)) as running:
        await eventually(lambda: len(api.list(CRON_JOBS, namespace)) == 3)
        await running.settle()
    restorable.keep()
    async with operators(restorable.server, Toy(namespace)) as running:
        await running.settle()
        later = {"spec": {"materialization": {"schedule": "1 2 3 4 *"}}}
        api.merge(FEATURE_VIEWS, namespace, "changed", later)
        api.delete(FEATURE_VIEWS, namespace, "deleted")
        make(api, namespace, "made")
        await eventually(lambda: schedule(api.get(CRON_JOBS, namespace, "fv-changed")) == "1 2 3 4 *")
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-made"))
        await eventually(lambda: not api.get(CRON_JOBS, namespace, "fv-deleted"))
        await running.settle()

        await asyncio.to_thread(restore, restorable)
        await eventually(lambda: same(running, api, FEATURE_VIEWS) and same(running, api, CRON_JOBS), 90)
        assert sorted(held(api.list(FEATURE_VIEWS))) == [
            f"{namespace}/{name}" for name in ("changed", "deleted", "same")
        ]
        assert schedule(api.get(CRON_JOBS, namespace, "fv-changed")) == "0 0 1 1 *", "written by the lost past"
        await running.settle()
        assert running.runtime.synced

        api.merge(FEATURE_VIEWS, namespace, "changed", later)
        make(api, namespace, "made")
        await eventually(lambda: schedule(api.get(CRON_JOBS, namespace, "fv-changed")) == "1 2 3 4 *")
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-made"))
    api.close()


def same(running: Running, api: Api, resource: Resource) -> bool:
    return held(running.runtime.cluster.cache.all(resource)) == held(api.list(resource))


async def test_an_informer_follows_a_server_that_was_restored(restorable: Restorable, restore: Restore) -> None:
    async with Client(load(restorable.server.kubeconfig)) as client:
        await put(client, "default", "a", "old")
        await put(client, "default", "b", "old")
        restorable.keep()
        async with watching(client) as (_, seen):
            await put(client, "default", "a", "new")
            await put(client, "default", "c", "new")
            await client.delete(CONFIG_MAPS, "default", "b")
            await seen.until(lambda: {"a": "new", "c": "new"}.items() == tagged(seen.values, "default").items())
            await asyncio.to_thread(restore, restorable)
            await seen.until(lambda: {"a": "old", "b": "old"}.items() == tagged(seen.values, "default").items())
            await put(client, "default", "a", "newer")
            await seen.until(lambda: seen.values("default")["a"] == "newer")


def tagged(values: Callable[[str], dict[str, str]], namespace: str) -> dict[str, str]:
    return {name: value for name, value in values(namespace).items() if name in ("a", "b", "c")}


def test_a_list_replaces_objects_by_older_ones() -> None:
    store = Store(JOBS)
    store.replace([job("a", 150, team="x"), job("b", 160)], 170)
    store.remove(job("c", 171))
    store.replace([job("a", 90, team="y"), job("c", 91)], 200)
    assert held(list(store.items.values())) == {"ns/a": "90", "ns/c": "91"}
    assert store.set_backs == 1


def test_an_object_that_was_deleted_before_and_is_listed_again_shows_that_the_server_was_set_back() -> None:
    store = Store(JOBS)
    store.replace([], 100)
    store.replace([job("a", 90)], 120)
    assert store.set_backs == 1


def test_a_list_does_not_undo_what_was_written_after_it() -> None:
    store = Store(JOBS)
    store.replace([job("a", 5), job("b", 6)], 10)
    store.upsert(job("a", 12))
    store.remove(job("b", 13))
    store.replace([job("a", 5), job("b", 6)], 11)
    assert held(list(store.items.values())) == {"ns/a": "12"}
    assert store.set_backs == 0


def test_other_content_under_the_same_version_is_taken_from_a_list_and_told() -> None:
    """Versions that were lost with the end of a journal are given again."""
    store, told = Store(JOBS), []
    store.replace([job("a", 5, team="x"), job("b", 6)], 10)
    store.subscribe(lambda old, new: told.append((old, new)) if old else None)
    store.replace([job("a", 5, team="y"), job("b", 6)], 9)
    assert [(new or {})["metadata"]["labels"] for _, new in told] == [{"millrace.dev/team": "y"}]


def test_what_one_list_shows_of_the_server_all_stores_doubt_until_their_own() -> None:
    cache = Cache()
    for store in cache.stores:
        store.replace([], 100)
    assert cache.is_current
    cache.upsert(CRON_JOBS, job("a", 120))
    cache.replace(JOBS, [], "40")
    assert not cache.is_current
    [jobs] = [store for store in cache.stores if store.resource == JOBS]
    assert jobs.synced.is_set(), "its own list is in"
    cache.replace(CRON_JOBS, [], "41")
    assert cache.all(CRON_JOBS) == [], "though it was newer"
    for store in cache.stores:
        cache.replace(store.resource, [], "42")
    assert cache.is_current
    assert cache.upsert(CRON_JOBS, job("a", 43))


async def test_nothing_is_reconciled_while_a_part_of_the_cache_is_of_the_lost_past(
    server: RunningServer, api: Api
) -> None:
    """Else a route is planned from deployments that are gone and a champion that is not the one."""
    namespace = api.namespace()
    make(api, namespace)
    turns: list[Key] = []

    async def before(key: Key) -> Requeue | None:
        if key.namespace == namespace:
            turns.append(key)
        return None

    async with operators(server, Toy(namespace, before)) as running:
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        await running.settle()
        api.fault({"verb": "list", "resource": "cronjobs", "userAgent": AGENT, "action": "status", "code": 500})
        cache = running.runtime.cluster.cache
        cache.doubt()
        turns.clear()
        [views] = [store for store in cache.stores if store.resource == FEATURE_VIEWS]
        await eventually(views.synced.is_set, 90)
        api.merge(FEATURE_VIEWS, namespace, "clicks", {"metadata": {"labels": {"a": "b"}}})
        await eventually(lambda: views.items[f"{namespace}/clicks"]["metadata"].get("labels"), 90)
        await asyncio.sleep(0.2)  # longer than a turn takes; less would hide a fault, and never report one
        assert turns == []
        assert not running.runtime.synced
        api.no_faults()
        await eventually(lambda: turns, 90)


class SetBack:
    """A client whose every write conflicts, and whose object is older than the one that is held."""

    async def patch(self, *_: object, **__: object) -> Object:
        raise ConflictError("changed")

    async def get(self, *_: object) -> Object:
        return job("a", 3)


async def test_an_object_that_is_older_than_it_was_brings_the_cache_into_doubt() -> None:
    """Else its status could never be written: the cache holds a version that the server has no more."""
    cache = Cache()
    for store in cache.stores:
        cache.replace(store.resource, [], "9")
    cache.upsert(JOBS, observed := job("a", 12) | {"metadata": {**job("a", 12)["metadata"], "uid": "u"}})
    cluster = CachedClient(SetBack(), cache)  # type: ignore[arg-type]
    with pytest.raises(MillraceError):
        await cluster.write_status(observed, {"phase": "x"})
    assert all(store.doubted.is_set() for store in cache.stores)
