"""The catalogue's mirror: coalesced, whole after a restart of the registry, silent while it is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from millrace_kube.cache import Cache
from millrace_kube.resources import EXPERIMENTS, FEATURE_VIEWS, JOBS, Object
from millrace_operators.operator import catalogue
from millrace_operators.operator.catalogue import Mirror
from tests.builders import feature_view
from tests.operators.harness import eventually


class Registry:
    """A registry that remembers what it was asked."""

    def __init__(self) -> None:
        self.boot_id = "1"
        self.calls: list[str] = []
        self.objects: dict[str, Object] = {}
        self.wholes: dict[str, int] = {}
        self.broken = False

    async def answer(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=500)
        place = request.path.removeprefix("/v1/catalogue").strip("/")
        if request.method != "GET":
            self.calls.append(f"{request.method} {place}")
        if request.method == "PUT" and "/" not in place:
            items = (await request.json())["items"]
            self.wholes[place] = len(items)
            self.objects |= {f"{place}/{it['metadata']['namespace']}/{it['metadata']['name']}": it for it in items}
        elif request.method == "PUT":
            self.objects[place] = await request.json()
        elif request.method == "DELETE" and self.objects.pop(place, None) is None:
            return web.Response(status=404)
        return web.json_response({"items": [], "bootId": self.boot_id})


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Registry, str]]:
    monkeypatch.setattr(catalogue, "_GATHER_SECONDS", 0.02)
    monkeypatch.setattr(catalogue, "_POLL_SECONDS", 0.2)
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
    cache = Cache()
    cache.upsert(FEATURE_VIEWS, view("old", 1))
    task = asyncio.create_task(Mirror(cache, registry[1] + "/").run())
    await eventually(lambda: len(registry[0].wholes) == 3)
    yield cache
    task.cancel()


def view(name: str, version: int) -> Object:
    built = feature_view(name).having("metadata.namespace", "shop").having("metadata.resourceVersion", str(version))
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


async def test_a_registry_that_restarted_gets_everything_again(registry: tuple[Registry, str], cache: Cache) -> None:
    seen, _ = registry
    seen.wholes.clear()
    seen.boot_id = "2"
    await eventually(lambda: len(seen.wholes) == 3)


async def test_a_registry_that_is_down_is_told_of_once_and_caught_up_with(
    registry: tuple[Registry, str], cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    seen, _ = registry
    caplog.set_level(logging.INFO, logger=catalogue.__name__)
    seen.broken = True
    cache.upsert(FEATURE_VIEWS, view("meanwhile", 2))
    await asyncio.sleep(0.6)
    cache.remove(FEATURE_VIEWS, view("old", 3))
    assert EXPERIMENTS.kind in seen.wholes
    seen.broken = False
    await eventually(lambda: seen.wholes["FeatureView"] == 1 and "FeatureView/shop/meanwhile" in seen.objects)
    await eventually(lambda: len(caplog.records) == 2)
    assert "trying on" in caplog.records[0].message
    assert "again" in caplog.records[1].message
