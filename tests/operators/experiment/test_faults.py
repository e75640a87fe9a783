"""The operator is killed at every write; the API server refuses and breaks off: the end is always the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from millrace.kube import resources as r
from tests import builders
from tests.operators.conftest import Faults
from tests.operators.world import World, normal

WRITES = "create|update|patch|delete"
STEPS = [{"weight": 50, "hold": "1m"}]
OLD, NEW = "file:///m/old.onnx", "file:///m/new.onnx"

End = tuple[list[dict[str, Any]], list[dict[str, Any]]]


async def life(world: World) -> None:
    """All that the operators do: two deployments, a canary to its promotion, a new model, the old deployment's end."""
    scaled = {"min": 1, "max": 3}
    world.apply(builders.model_deployment("v1", OLD, "shop").having("spec.scaling", scaled).build())
    world.apply(builders.model_deployment("v2", OLD, "shop").build())
    world.apply(builders.canary("ramp", "shop", "v1", "v2", STEPS).build())
    await world.settle()
    world.apply(builders.model_deployment("v2", NEW, "shop").build())
    world.delete(r.MODEL_DEPLOYMENTS, "v1")
    world.delete(r.EXPERIMENTS, "ramp")
    await world.settle()
    # The API server's garbage collector works on its own time.
    for _ in range(200):
        if all(item["metadata"]["labels"].get("millrace.dev/deployment") != "v1" for item in world.children()):
            break
        await world.turn()


def end(world: World) -> End:
    """What is left, without what differs from run to run."""
    assert world.get(r.MODEL_DEPLOYMENTS, "v1") is None
    assert world.get(r.EXPERIMENTS, "ramp") is None
    deployment = world.get(r.MODEL_DEPLOYMENTS, "v2")
    assert deployment is not None
    return normal(world.children()), normal([deployment])


async def test_killed_at_any_write_it_comes_to_the_same_end(new_world: Callable[[], World], faults: Faults) -> None:
    """Each write in turn fails, or is carried out and its answer lost, and a new process starts."""
    calm = new_world()
    await life(calm)
    expected = end(calm)
    assert calm.kills == 0
    for number in range(1, 200):
        world = new_world()
        action = {"action": "dropAfter"} if number % 2 else {"action": "status", "code": 500}
        faults.put({"verb": WRITES, "resource": "(?!events).*", "nth": number, **action})
        await life(world)
        assert end(world) == expected, f"after a fault at write {number}: {world.failures}"
        await world.close()
        if not faults.fired():
            break
    assert number > 40, "the life has far more writes"


async def test_an_api_server_under_strain_only_delays_it(new_world: Callable[[], World], faults: Faults) -> None:
    calm = new_world()
    await life(calm)
    strained = new_world()
    faults.put(
        {"verb": WRITES, "action": "status", "code": 409, "nth": 5},
        {"verb": WRITES, "action": "status", "code": 429, "retryAfter": 1, "nth": 9},
        {"verb": "get", "action": "status", "code": 503, "nth": 3},
        {"verb": "list", "action": "status", "code": 500, "nth": 40},
        {"verb": WRITES, "action": "status", "code": 500, "nth": 17},
        {"verb": "list", "action": "drop", "nth": 90},
    )
    await life(strained)
    assert faults.fired() == 6
    assert strained.kills >= 3, "what hit an Event is shrugged off, what hit one of several calls is one death"
    assert end(strained) == end(calm)


async def test_an_operator_that_was_away_for_a_day_goes_on_where_it_was(new_world: Callable[[], World]) -> None:
    world = new_world()
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, OLD, "shop").build())
    world.apply(builders.canary("ramp", "shop", "v1", "v2", [{"weight": 10, "hold": "1h"}, *STEPS]).build())
    await world.settle(horizon=timedelta(minutes=5))
    await world.kill()
    world.now += timedelta(days=1)
    await world.settle(horizon=timedelta())
    status = world.status(r.EXPERIMENTS, "ramp")
    assert (status["phase"], status["stepIndex"], status["weights"]["applied"]["challenger"]) == ("Running", 1, 50)
