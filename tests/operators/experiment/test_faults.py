"""The operator is killed at every write; the API server refuses and breaks off: the end is always the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from millrace_kube import resources as r
from millrace_kube.resources import Object
from tests import builders
from tests.operators.conftest import Faults
from tests.operators.world import World, normal

WRITES = "create|update|patch|delete"
STEPS = [{"weight": 50, "hold": "1m"}]
OLD, NEW = "file:///m/old.onnx", "file:///m/new.onnx"
MD, EXP = r.MODEL_DEPLOYMENTS, r.EXPERIMENTS

# Lives through one thing from beginning to end, and gives what is left.
Chapter = Callable[[], Awaitable[list[Object]]]


async def killed_at_every_write(world: World, faults: Faults, chapter: Chapter, writes: int) -> None:
    """Repeats a chapter; each time another write of it fails, or its answer is lost, and the process ends.

    Args:
        writes: how many writes the chapter has at least.
    """
    expected = [await chapter(), await chapter()]
    assert world.kills == 0
    for number in range(1, 100):
        world.restart()
        action: dict[str, Any] = {"action": "dropAfter"} if number % 4 in (1, 2) else {"action": "status", "code": 500}
        faults.put({"verb": WRITES, "resource": "(?!events).*", "nth": number, **action})
        # Chapters that go to and fro have two ends.
        assert await chapter() == expected[(number - 1) % 2], f"after a fault at write {number}: {world.failures[-1:]}"
        if not faults.fired():
            assert number > writes
            return
    raise AssertionError("a chapter without an end")


def left(world: World) -> list[Object]:
    """All that is there, without what differs from one run to the next."""
    items = world.http.get(MD.path(world.namespace)).json()["items"]
    return normal([*world.children(), *({"kind": MD.kind, **item} for item in items)])


@pytest.mark.slow
async def test_a_service_from_its_first_deployment_to_its_end(world: World, faults: Faults) -> None:
    scaled = builders.model_deployment("m", OLD, "shop").having("spec.scaling", {"min": 1, "max": 3}).build()

    async def chapter() -> list[Object]:
        world.apply(scaled)
        await world.settle()
        served = left(world)
        world.delete(MD, "m")
        await world.settle()
        for _ in range(200):  # the API server's garbage collector works on its own time
            if not left(world):
                return served
            await world.turn()
        raise AssertionError([item["kind"] for item in left(world)])

    await killed_at_every_write(world, faults, chapter, 12)


async def test_a_change_of_model_and_scaling(world: World, faults: Faults) -> None:
    world.apply(builders.model_deployment("m", OLD, "shop").build())
    await world.settle()
    turn = 0

    async def chapter() -> list[Object]:
        nonlocal turn
        turn += 1
        scaling = {"min": 1, "max": 1 + turn % 2}
        world.apply(
            builders.model_deployment("m", NEW if turn % 2 else OLD, "shop").having("spec.scaling", scaling).build()
        )
        await world.settle()
        return left(world)

    await killed_at_every_write(world, faults, chapter, 6)


@pytest.mark.slow
async def test_a_canary_from_its_start_to_its_promotion_and_deletion(world: World, faults: Faults) -> None:
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    await world.settle()
    champion, challenger = "v1", "v2"

    async def chapter() -> list[Object]:
        nonlocal champion, challenger
        world.apply(builders.canary("ramp", "shop", champion, challenger, STEPS).build())
        await world.settle()
        status = world.status(EXP, "ramp")
        assert (status["phase"], [epoch["weights"]["challenger"] for epoch in status["epochs"]]) == (
            "Succeeded",
            [50, 100],
        )
        world.delete(EXP, "ramp")
        await world.settle()
        assert world.get(EXP, "ramp") is None
        champion, challenger = challenger, champion
        assert world.status(MD, champion)["champion"] is True
        return left(world)

    await killed_at_every_write(world, faults, chapter, 15)


@pytest.mark.slow
async def test_a_blue_green_of_two_deployments_from_its_preview_to_its_promotion(world: World, faults: Faults) -> None:
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    await world.settle()
    champion, challenger = "v1", "v2"
    times = {"previewFor": "1m", "keepFor": "1m"}

    async def chapter() -> list[Object]:
        nonlocal champion, challenger
        built = builders.canary("flip", "shop", champion, challenger, []).without("spec.steps")
        world.apply(built.having("spec.type", "BlueGreen").having("spec.blueGreen", times).build())
        await world.settle()
        status = world.status(EXP, "flip")
        weights = [epoch["weights"]["challenger"] for epoch in status["epochs"]]
        assert (status["phase"], weights) == ("Succeeded", [0, 100])
        world.delete(EXP, "flip")
        await world.settle()
        champion, challenger = challenger, champion
        assert world.status(MD, champion)["champion"] is True
        return left(world)

    await killed_at_every_write(world, faults, chapter, 15)


@pytest.mark.slow
async def test_a_shadow_from_its_start_to_its_end(world: World, faults: Faults) -> None:
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    await world.settle()
    steps = [{"weight": 5, "hold": "1m"}, {"weight": 100, "hold": "1m"}]

    async def chapter() -> list[Object]:
        world.apply(builders.canary("copy", "shop", "v1", "v2", steps).having("spec.type", "Shadow").build())
        await world.settle()
        status = world.status(EXP, "copy")
        assert (status["phase"], status["decision"]["verdict"], status["stepIndex"]) == ("Succeeded", "Pass", 1)
        world.delete(EXP, "copy")
        await world.settle()
        assert world.status(MD, "v1")["champion"] is True
        return left(world)

    await killed_at_every_write(world, faults, chapter, 12)


@pytest.mark.slow
async def test_revisions_that_flip_are_rolled_back_and_flip_again(world: World, faults: Faults) -> None:
    rollout = {"strategy": "BlueGreen", "blueGreen": {"previewFor": "1m", "keepFor": "10m"}}

    def model(uri: str, command: str) -> Object:
        built = builders.model_deployment("m", uri, "shop").having("spec.rollout", rollout)
        return built.having("metadata.annotations", {"millrace.dev/command": command}).build()

    world.apply(builders.model_deployment("m", OLD, "shop").having("spec.rollout", rollout).build())
    await world.settle()
    turn = 0

    async def chapter() -> list[Object]:
        nonlocal turn
        turn += 1
        uri = NEW if turn % 2 else OLD
        before = world.status(MD, "m")["revision"]
        for command, phase in (("", "KeepingPrevious"), (":rollback", "RolledBack"), (":promote", "KeepingPrevious")):
            world.apply(model(uri, f"{turn % 2}{command}" if command else ""))
            await world.settle(horizon=timedelta(minutes=2))
            status = world.status(MD, "m")
            assert status["rollout"]["phase"] == phase, status["rollout"]
            assert (status["revision"] == before) == (phase == "RolledBack")
        await world.settle()
        assert world.status(MD, "m")["rollout"]["phase"] == "Complete"
        return left(world)

    await killed_at_every_write(world, faults, chapter, 15)


@pytest.mark.slow
async def test_a_canary_that_its_guardrail_takes_back(world: World, faults: Faults) -> None:
    """Prometheus is a real server, whose answer is harm from the second step on."""

    async def answer(request: web.Request) -> web.Response:
        errors = "0.01" if world.status(EXP, "ramp")["stepIndex"] == 0 else "0.5"
        assert request.query["query"] == 'errors{deployment="v2"}'
        result = {"resultType": "scalar", "result": [world.now.timestamp(), errors]}
        return web.json_response({"status": "success", "data": result})

    app = web.Application()
    app.router.add_get("/api/v1/query", answer)
    errors = {"name": "errors", "role": "guardrail", "abortAbove": 0.02}
    metric = {**errors, "source": {"prometheus": 'errors{deployment="{{deployment}}"}'}}
    steps = [{"weight": 5, "hold": "1m"}, {"weight": 50, "hold": "10m"}]
    ramp = builders.canary("ramp", "shop", "v1", "v2", steps).having("spec.metrics", [metric])
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    await world.settle()

    async def chapter() -> list[Object]:
        world.apply(ramp.build())
        await world.settle()
        status = world.status(EXP, "ramp")
        weights = [epoch["weights"]["challenger"] for epoch in status["epochs"]]
        assert (status["phase"], weights) == ("Failed", [5, 50, 0])
        assert status["decision"]["reason"] == "errors of challenger is 0.5, above 0.02, at 2 looks in a row"
        world.delete(EXP, "ramp")
        await world.settle()
        return left(world)

    async with TestServer(app) as server:
        world.platform = replace(world.platform, prometheus_url=str(server.make_url("/")))
        world.restart()
        await killed_at_every_write(world, faults, chapter, 15)


@pytest.mark.slow
async def test_a_bandit_whose_weights_follow_its_units_until_its_best_arm_is_promoted(
    world: World, faults: Faults
) -> None:
    """The gateway is a real server: units come as the weights say, and the challenger is better."""

    async def answer(request: web.Request) -> web.Response:
        assert request.path.endswith("/learn/sums")
        exposures = {
            epoch["number"]: {arm: 20 * weight for arm, weight in epoch["weights"].items()}
            for epoch in world.status(EXP, "learn")["epochs"]
        }
        rates = {"control": 0.06, "challenger": 0.1}
        did = {
            number: {arm: dict.fromkeys(("n", "sum", "sumSquares"), int(n * rates[arm])) for arm, n in arms.items()}
            for number, arms in exposures.items()
        }
        said = {"asOf": world.now.isoformat(), "whole": True, "exposures": exposures, "metrics": {"ctr": did}}
        return web.json_response(said)

    app = web.Application()
    app.router.add_get("/experiments/{namespace}/{name}/sums", answer)
    analysis = {"interval": "1m", "minRuntime": "130s"}
    settings = {"every": "1m", "floor": 0.1}
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    await world.settle()
    champion, challenger = "v1", "v2"

    async def chapter() -> list[Object]:
        nonlocal champion, challenger
        built = builders.bandit("learn", "shop", champion, challenger).having("spec.bandit", settings)
        world.apply(built.having("spec.analysis", analysis).build())
        await world.settle()
        status = world.status(EXP, "learn")
        weights = [epoch["weights"]["challenger"] for epoch in status["epochs"]]
        assert (status["phase"], list(dict.fromkeys(weights))) == ("Succeeded", [50, 70, 90, 100])
        world.delete(EXP, "learn")
        await world.settle()
        champion, challenger = challenger, champion
        assert world.status(MD, champion)["champion"] is True
        return left(world)

    async with TestServer(app) as server:
        world.platform = replace(world.platform, gateway_url=str(server.make_url("/")))
        world.restart()
        await killed_at_every_write(world, faults, chapter, 15)


async def test_an_api_server_under_strain_only_delays_it(world: World, faults: Faults) -> None:
    faults.put(
        {"verb": WRITES, "action": "status", "code": 409, "nth": 5},
        {"verb": WRITES, "action": "status", "code": 429, "retryAfter": 1, "nth": 9},
        {"verb": "get", "action": "status", "code": 503, "nth": 3},
        {"verb": "list", "action": "status", "code": 500, "nth": 20},
        {"verb": WRITES, "action": "status", "code": 500, "nth": 17},
        {"verb": "list", "action": "drop", "nth": 40},
    )
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    world.apply(builders.canary("ramp", "shop", "v1", "v2", STEPS).build())
    await world.settle()
    assert faults.fired() == 6
    assert world.kills >= 3, "a lost Event is shrugged off, and several failed lists are one death"
    assert world.status(EXP, "ramp")["phase"] == "Succeeded"
    assert world.status(MD, "v2")["champion"] is True


async def test_an_operator_that_was_away_for_a_day_goes_on_where_it_was(world: World) -> None:
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    world.apply(builders.canary("ramp", "shop", "v1", "v2", [{"weight": 10, "hold": "1h"}, *STEPS]).build())
    await world.settle(horizon=timedelta(minutes=5))
    world.restart()
    world.now += timedelta(days=1)
    await world.settle(horizon=timedelta())
    status = world.status(EXP, "ramp")
    assert (status["phase"], status["stepIndex"], status["weights"]["applied"]["challenger"]) == ("Running", 1, 50)
