"""An API server that was restored under a running operator: the route holds, and what is shown is what is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from millrace_core.api import names
from millrace_kube import resources as r
from millrace_kube.client import Client
from millrace_kube.resources import Object, annotations_of
from tests import builders
from tests.api_client import client_of
from tests.operators.experiment.test_watching import running
from tests.operators.harness import eventually
from tests.operators.restoring import RESTORES, Restorable
from tests.operators.world import START, World

pytestmark = pytest.mark.slow

MD, EXP = r.MODEL_DEPLOYMENTS, r.EXPERIMENTS


@pytest.fixture
def restorable(tmp_path: Path) -> Iterator[Restorable]:
    made = Restorable(tmp_path)
    yield made
    made.server.stop()


@pytest.fixture
async def shop(restorable: Restorable) -> AsyncIterator[World]:
    async with Client(restorable.server.connection) as client:
        with client_of(restorable.server) as http:
            assert http.post("/api/v1/namespaces", json={"metadata": {"name": "world-1"}}).status_code == 201
            yield World(client, http, "world-1", START)


def routed(virtual: Object | None) -> set[str]:
    """The subsets to which the route leads."""
    rules = ((virtual or {}).get("spec") or {}).get("http") or []
    return {share["destination"].get("subset", "") for rule in rules for share in rule.get("route") or []}


def subsets(rule: Object | None) -> set[str]:
    return {item["name"] for item in ((rule or {}).get("spec") or {}).get("subsets") or []}


def shown(world: World) -> set[str]:
    """The deployments whose status says that they are the champion."""
    return {name for name in ("v1", "v2") if (world.get(MD, name) or {}).get("status", {}).get("champion")}


def served(world: World) -> set[str]:
    """Where the stable Service, its record of the champion and the mesh's route lead; one name where they agree."""
    stable = world.get(r.SERVICES, "shop") or {"metadata": {}, "spec": {}}
    selected = (stable["spec"].get("selector") or {}).get(names.DEPLOYMENT, "")
    return {annotations_of(stable).get(names.CHAMPION, ""), selected, *routed(world.get(r.VIRTUAL_SERVICES, "shop"))}


async def watch_route(world: World, broken: list[str]) -> None:
    """Notes when the route leads to a subset that there is not, while the server answers."""
    while True:
        try:
            before = subsets(world.get(r.DESTINATION_RULES, "shop"))
            leads = routed(world.get(r.VIRTUAL_SERVICES, "shop"))
            there = before | subsets(world.get(r.DESTINATION_RULES, "shop"))
        except httpx.HTTPError:
            leads, there = set(), set()
        broken += [f"{name} is not in {sorted(there)}" for name in leads - there]
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("restore", RESTORES, ids=lambda restore: restore.__name__)
@pytest.mark.parametrize("mid_ramp", [False, True], ids=["before the ramp", "within the ramp"])
async def test_a_restored_server_gets_a_route_that_is_whole_and_the_champion_that_is_shown(
    restorable: Restorable, shop: World, restore: Callable[[Restorable], None], mid_ramp: bool
) -> None:
    steps = [{"weight": 10, "hold": "100ms"}, {"weight": 60, "hold": "1h" if mid_ramp else "100ms"}]
    ramp = builders.canary("ramp", "shop", "v1", "v2", steps).having("spec.routing.settle", "100ms").build()
    async with running(restorable.server, shop):
        shop.apply(builders.model_deployment("v1", "file:///m/v1.onnx", "shop").build())
        await eventually(lambda: shown(shop) == served(shop) == {"v1"}, 90)
        shop.apply(builders.model_deployment("v2", "file:///m/v2.onnx", "shop").build())
        await eventually(lambda: shop.status(MD, "v2").get("revision"), 90)
        if mid_ramp:
            shop.apply(ramp)
            await eventually(lambda: routed(shop.get(r.VIRTUAL_SERVICES, "shop")) == {"v1", "v2"}, 90)
    restorable.keep()
    async with running(restorable.server, shop):
        if mid_ramp:
            shop.patch(EXP, "ramp", {"metadata": {"annotations": {"millrace.dev/command": "a1:promote challenger"}}})
        else:
            shop.apply(ramp)
        await eventually(lambda: shown(shop) == served(shop) == {"v2"}, 90)

        broken: list[str] = []
        watching = asyncio.create_task(watch_route(shop, broken))
        await asyncio.to_thread(restore, restorable)
        await eventually(lambda: shown(shop) == {"v1"} <= served(shop), 90)
        if not mid_ramp:
            await eventually(lambda: served(shop) == {"v1"}, 90)
        assert not watching.done(), "it looks until the end"
        watching.cancel()
        assert broken == []
        # And life goes on: what a person wants now is done.
        if not mid_ramp:
            shop.apply(ramp)
            await eventually(lambda: shown(shop) == served(shop) == {"v2"}, 90)
