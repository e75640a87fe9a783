"""The real work queue and watches: broken, stale and forgotten ones, and a restart that touches nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from millrace_kube import resources as r
from millrace_local.apiserver.process import RunningServer
from millrace_operators.experiment.handlers import controllers as service_controllers
from millrace_operators.modeldeployment.handlers import controllers as deployment_controllers
from tests import builders
from tests.api_client import client_of
from tests.operators.conftest import Faults
from tests.operators.harness import eventually, operators
from tests.operators.world import PLATFORM, START, Kubelet, World

MD, EXP = r.MODEL_DEPLOYMENTS, r.EXPERIMENTS
WRITES = "create|update|patch|delete"


@asynccontextmanager
async def running(server: RunningServer, world: World) -> AsyncIterator[None]:
    """The operator's control loops, and a kubelet that looks every 50 ms, and goes on while the server is away."""

    async def kubelet() -> None:
        with client_of(server) as http:
            played = Kubelet(http, world.namespace)
            while True:
                with suppress(httpx.TransportError):
                    await asyncio.to_thread(played.act)
                await asyncio.sleep(0.05)

    async with operators(
        server, lambda cluster: [*deployment_controllers(cluster, PLATFORM), *service_controllers(cluster, PLATFORM)]
    ) as found:
        task = asyncio.create_task(kubelet())
        try:
            yield
            await found.settle()
        finally:
            task.cancel()
            [died] = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(died, asyncio.CancelledError):
                raise died


@pytest.fixture
def shop(world: World) -> World:
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, f"file:///m/{name}.onnx", "shop").build())
    return world


async def test_a_canary_under_broken_and_stale_watches_ends_as_any_other(
    faulty_server: RunningServer, shop: World, faults: Faults
) -> None:
    steps = [{"weight": 10, "hold": "200ms"}, {"weight": 60, "hold": "200ms"}]
    faults.put(
        {"verb": "patch", "action": "dropWatches", "times": 5},
        {"verb": "watch", "resource": "virtualservices|experiments", "action": "staleWatch", "seconds": 1},
        {"verb": WRITES, "action": "status", "code": 409, "nth": 12},
        {"verb": WRITES, "action": "status", "code": 500, "nth": 20},
    )
    async with running(faulty_server, shop):
        await eventually(lambda: shop.status(MD, "v2").get("revision"), 30)
        champion = "v1" if shop.status(MD, "v1").get("champion") else "v2"
        challenger = {"v1": "v2", "v2": "v1"}[champion]
        built = builders.canary("ramp", "shop", champion, challenger, steps).having("spec.routing.settle", "100ms")
        shop.apply(built.build())
        await eventually(lambda: shop.status(EXP, "ramp").get("phase") == "Succeeded", 30)
    status = shop.status(EXP, "ramp")
    assert [epoch["weights"]["challenger"] for epoch in status["epochs"]] == [10, 60, 100]
    assert shop.status(MD, challenger)["champion"] is True
    virtual = shop.get(r.VIRTUAL_SERVICES, "shop")
    assert virtual is not None
    assert [share["destination"]["subset"] for share in virtual["spec"]["http"][-1]["route"]] == [challenger]


async def test_a_restart_touches_nothing_however_slowly_the_lists_come(
    faulty_server: RunningServer, shop: World, faults: Faults
) -> None:
    """Until everything is listed what is missing looks as if it were gone, and a route without deployments goes."""
    shop.apply(builders.experiment("ab", "shop", "v1", "v2").build())
    await shop.settle()
    before = [item["metadata"]["resourceVersion"] for item in shop.children()]
    faults.put(
        {"verb": "list", "resource": "modeldeployments", "action": "latency", "seconds": 0.7},
        {"verb": WRITES, "action": "latency", "seconds": 0},
    )
    async with running(faulty_server, shop):
        await asyncio.sleep(1.2)
    assert [item["metadata"]["resourceVersion"] for item in shop.children()] == before
    assert shop.status(EXP, "ab")["phase"] == "Running"


async def test_no_cache_is_believed_that_a_deployment_is_gone(shop: World) -> None:
    shop.apply(builders.experiment("ab", "shop", "v1", "v2").build())
    await shop.settle()
    before = [item["metadata"]["resourceVersion"] for item in shop.children()]
    assert shop.now >= START
    shop.forget(MD)
    await shop.settle()
    assert [item["metadata"]["resourceVersion"] for item in shop.children()] == before
    assert shop.status(EXP, "ab")["phase"] == "Running"


async def test_no_cache_is_believed_that_nobody_could_take_over_from_one_that_goes(shop: World) -> None:
    await shop.settle()
    champion = "v1" if shop.status(MD, "v1").get("champion") else "v2"
    heir = {"v1": "v2", "v2": "v1"}[champion]
    shop.delete(MD, champion)
    await shop.lag_behind(MD, champion, untold=heir)
    await shop.turn()
    assert shop.get(MD, champion) is not None, "traffic leads to it, and another could take over"
    shop.touched(MD)
    await shop.settle()
    assert shop.get(MD, champion) is None
    assert shop.status(MD, heir)["champion"] is True


async def test_nothing_is_done_while_our_own_kinds_are_not_served(shop: World, faults: Faults) -> None:
    await shop.settle()
    before = [item["metadata"]["resourceVersion"] for item in shop.children()]
    shop.unserved(MD)
    await shop.turn()
    assert "does not serve modeldeployments" in shop.failures[-1]
    assert [item["metadata"]["resourceVersion"] for item in shop.children()] == before
