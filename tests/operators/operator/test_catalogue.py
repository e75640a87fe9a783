"""The catalogue's mirror: coalesced, whole where the registry's is not as it was left, silent while it is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from millrace_kube.cache import Cache, Scope
from millrace_kube.resources import EXPERIMENTS, FEATURE_VIEWS, JOBS, Object, Resource
from millrace_operators.operator import catalogue
from millrace_operators.operator.catalogue import Mirror, Release
from tests.builders import experiment, feature_view
from tests.operators.harness import eventually


class Registry:
    """A registry that remembers what it was asked."""

    def __init__(self) -> None:
        self.catalogue_id = "1"
        self.revision = 0
        self.calls: list[str] = []
        self.objects: dict[str, Object] = {}
        self.wholes: dict[str, int] = {}
        self.empties: dict[str, int] = {}
        self.parts: list[tuple[str, list[str] | None, list[str] | None]] = []
        self.broken = False
        self.refused = 0

    async def answer(self, request: web.Request) -> web.Response:
        if self.broken:
            self.refused += 1
            return web.Response(status=500)
        place = request.path.removeprefix("/v1/catalogue").strip("/")
        if request.method != "GET":
            self.calls.append(f"{request.method} {place}")
        if request.method == "PUT" and "/" not in place:
            body = await request.json()
            items = body["items"]
            self.wholes[place], self.empties[place] = len(items), body["empties"]
            self.parts.append((place, body.get("namespaces"), body.get("scope")))
            self.objects |= {f"{place}/{it['metadata']['namespace']}/{it['metadata']['name']}": it for it in items}
        elif request.method == "PUT":
            self.objects[place] = await request.json()
        elif request.method == "DELETE" and self.objects.pop(place, None) is None:
            return web.Response(status=404)
        self.revision += request.method != "GET"
        assert request.query["release"] == "own"
        told = {"catalogueId": self.catalogue_id, "revision": self.revision + 5, "listed": []}
        return web.json_response({**told, "releaseRevision": self.revision})


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Registry, str]]:
    monkeypatch.setattr(catalogue, "_GATHER_SECONDS", 0.02)
    monkeypatch.setattr(catalogue, "_POLL_SECONDS", 0.2)
    monkeypatch.setattr(catalogue, "_RETRY_SECONDS", 0.2)
    registry = Registry()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield registry, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def cache(registry: tuple[Registry, str]) -> AsyncIterator[Cache]:
    cache = listed(FEATURE_VIEWS, view("old", 1))
    task = asyncio.create_task(Mirror(cache, registry[1] + "/", Release("own")).run())
    await eventually(lambda: len(registry[0].wholes) == 3)
    yield cache
    task.cancel()


def listed(resource: Resource, *documents: Object) -> Cache:
    """A cache of an API server that has listed everything."""
    cache = Cache()
    for store in cache.stores:
        store.replace(documents if store.resource == resource else [], 1)
    return cache


def view(name: str, version: int, namespace: str = "shop") -> Object:
    built = feature_view(name).having("metadata.namespace", namespace).having("metadata.resourceVersion", str(version))
    return built.having("metadata.finalizers", ["x"]).build()


async def test_everything_is_sent_at_the_start(registry: tuple[Registry, str], cache: Cache) -> None:
    seen, _ = registry
    assert seen.wholes == {"FeatureView": 1, "ModelDeployment": 0, "Experiment": 0}
    assert "finalizers" not in seen.objects["FeatureView/shop/old"]["metadata"]


async def test_changes_follow_one_by_one_each_once(registry: tuple[Registry, str], cache: Cache) -> None:
    seen, _ = registry
    seen.calls.clear()
    for version in range(2, 7):
        cache.upsert(FEATURE_VIEWS, view("new", version))
    cache.remove(FEATURE_VIEWS, view("old", 9))
    cache.upsert(JOBS, {"apiVersion": "batch/v1", "kind": "Job", **view("job", 10)})
    await eventually(lambda: len(seen.calls) >= 2)
    await asyncio.sleep(0.1)
    assert seen.calls == ["PUT FeatureView/shop/new", "DELETE FeatureView/shop/old"]


async def test_many_changes_are_one_list(registry: tuple[Registry, str], cache: Cache) -> None:
    seen, _ = registry
    seen.calls.clear()
    for number in range(60):
        cache.upsert(FEATURE_VIEWS, view(f"v{number}", number + 2))
    await eventually(lambda: seen.wholes["FeatureView"] == 61)
    await asyncio.sleep(0.1)
    assert seen.calls == [f"PUT {kind}" for kind in ("FeatureView", "ModelDeployment", "Experiment")]


@pytest.mark.parametrize("change", [{"catalogue_id": "2"}, {"revision": 1}, {"revision": 1_000}])
async def test_a_registry_whose_catalogue_is_not_as_it_was_left_gets_everything_again(
    registry: tuple[Registry, str], cache: Cache, change: dict[str, Any]
) -> None:
    seen, _ = registry
    seen.wholes.clear()
    vars(seen).update(change)
    await eventually(lambda: len(seen.wholes) == 3)
    seen.calls.clear()
    await asyncio.sleep(0.5)
    assert seen.calls == []


async def test_an_empty_list_says_that_there_is_nothing(registry: tuple[Registry, str], cache: Cache) -> None:
    seen, _ = registry
    assert (seen.empties["FeatureView"], seen.empties["Experiment"]) == (0, seen.revision - 1)


async def test_nothing_is_said_before_everything_is_listed(registry: tuple[Registry, str]) -> None:
    seen, url = registry
    cache = Cache()
    views = [store for store in cache.stores if store.resource == FEATURE_VIEWS]
    for store in cache.stores:
        if store not in views:
            store.replace([], 1)
    task = asyncio.create_task(Mirror(cache, url, Release("own")).run())
    await asyncio.sleep(0.3)
    assert seen.calls == []
    views[0].replace([view("old", 1)], 1)
    await eventually(lambda: len(seen.wholes) == 3)
    assert seen.wholes["FeatureView"] == 1
    task.cancel()


async def test_a_kind_that_is_not_served_is_left_as_it_is_and_sent_whole_when_it_is_back(
    registry: tuple[Registry, str], cache: Cache
) -> None:
    seen, _ = registry
    seen.calls.clear()
    seen.wholes.clear()
    told = experiment("e", "s", "a", "b").having("metadata.namespace", "shop").having("metadata.resourceVersion", "2")
    cache.clear(FEATURE_VIEWS)
    cache.upsert(EXPERIMENTS, told.build())
    await eventually(lambda: seen.calls == ["PUT Experiment/shop/e"])
    seen.catalogue_id = "2"
    await eventually(lambda: set(seen.wholes) == {"ModelDeployment", "Experiment"})
    cache.replace(FEATURE_VIEWS, [], "5")
    await eventually(lambda: seen.wholes.get("FeatureView") == 0)
    assert "DELETE FeatureView/shop/old" not in seen.calls


@pytest.fixture
async def parted(registry: tuple[Registry, str]) -> AsyncIterator[Cache]:
    """Two namespaces, of which one refuses its lists of views from the start."""
    cache = Cache(scope=Scope(("a", "b")))
    for store in cache.stores:
        if store.resource == FEATURE_VIEWS and store.namespace == "b":
            store.refuse("403")
        else:
            store.replace([], 1)
    cache.upsert(FEATURE_VIEWS, view("x", 2, "a"))
    task = asyncio.create_task(Mirror(cache, registry[1], Release("own", ("a", "b"))).run())
    yield cache
    task.cancel()


async def test_of_a_namespace_that_refuses_nothing_is_said_until_it_no_longer_does(
    registry: tuple[Registry, str], parted: Cache
) -> None:
    seen, _ = registry
    await eventually(lambda: len(seen.parts) == 3)
    both = ["a", "b"]
    assert seen.parts == [("FeatureView", ["a"], both), ("ModelDeployment", both, both), ("Experiment", both, both)]
    [refusing] = parted.stores_of([FEATURE_VIEWS], "b")
    refusing.replace([view("y", 3, "b")], 3)
    await eventually(lambda: seen.parts[3:] == [("FeatureView", ["b"], both)])
    refusing.refuse("403")
    seen.calls.clear()
    parted.remove(FEATURE_VIEWS, view("y", 4, "b"))  # whatever the cache has of it
    parted.upsert(FEATURE_VIEWS, view("x", 5, "a"))
    await eventually(lambda: seen.calls == ["PUT FeatureView/a/x"])
    refusing.replace([], 6)
    await eventually(lambda: seen.parts[4:] == [("FeatureView", ["b"], both)])


async def test_a_registry_that_is_down_is_told_of_once_and_caught_up_with(
    registry: tuple[Registry, str], cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    seen, _ = registry
    caplog.set_level(logging.INFO, logger=catalogue.__name__)
    seen.broken = True
    cache.upsert(FEATURE_VIEWS, view("meanwhile", 2))
    await eventually(lambda: len(caplog.records) == 1)
    cache.remove(FEATURE_VIEWS, view("old", 3))
    assert EXPERIMENTS.kind in seen.wholes
    seen.broken = False
    await eventually(lambda: seen.wholes["FeatureView"] == 1 and "FeatureView/shop/meanwhile" in seen.objects)
    await eventually(lambda: len(caplog.records) == 2)
    assert "trying on" in caplog.records[0].message
    assert "again" in caplog.records[1].message


async def test_a_registry_that_only_starts_is_caught_up_with_and_not_told_of(
    registry: tuple[Registry, str], cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    seen, _ = registry
    caplog.set_level(logging.INFO, logger=catalogue.__name__)
    seen.broken = True
    cache.upsert(FEATURE_VIEWS, view("meanwhile", 2))
    await eventually(lambda: seen.refused >= 1)
    seen.broken = False
    await eventually(lambda: "FeatureView/shop/meanwhile" in seen.objects or seen.wholes["FeatureView"] == 2)
    assert caplog.records == []


async def test_a_definition_that_is_not_accepted_is_not_sent(registry: tuple[Registry, str], cache: Cache) -> None:
    seen, _ = registry
    seen.calls.clear()
    changed = view("old", 2)
    accepted = {**changed["spec"], "ttl": "1d"}
    changed["status"] = {"definition": accepted, "watermark": "2026-01-01T00:00:00Z"}
    cache.upsert(FEATURE_VIEWS, changed)
    await eventually(lambda: bool(seen.calls))
    sent = seen.objects["FeatureView/shop/old"]
    assert sent["spec"] == accepted
    assert sent["status"] == {"watermark": "2026-01-01T00:00:00Z"}
