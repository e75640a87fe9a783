"""What the cache does not hold: it is asked for, and what nobody answers holds the route still and is told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from millrace_core.base import timestamps
from millrace_kube import resources as r
from millrace_operators.facts.live_objects import LiveObject, LiveObjects
from tests import builders
from tests.operators import world as world_module
from tests.operators.conftest import Faults
from tests.operators.experiment.life import Life
from tests.operators.experiment.test_reconcile import EXP, MD, champion, command, split
from tests.operators.world import World

READS = {"verb": "get", "resource": "modeldeployments"}
SOON = timedelta(seconds=5)


@pytest.fixture
async def running(world: World) -> World:
    """The service ``shop``, split 80 to 20 between v1 and v2."""
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, f"file:///m/{name}.onnx", "shop").build())
    await world.settle()
    world.apply(builders.experiment("ab", "shop", "v1", "v2").build())
    await world.settle()
    return world


def versions(world: World) -> list[str]:
    return [item["metadata"]["resourceVersion"] for item in world.children() if item["kind"] != "Deployment"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"action": "status", "code": 500}, "whether ModelDeployment v2 exists is not known: the API server: GET "),
        ({"action": "drop"}, "whether ModelDeployment v2 exists is not known: the API server: GET "),
        (
            {"action": "latency", "seconds": 60},
            "whether ModelDeployment v2 exists is not known: the API server: no answer within 0.3 s",
        ),
    ],
    ids=["fails", "breaks off", "never answers"],
)
async def test_while_nobody_says_whether_deployments_exist_the_route_stays_and_conditions_say_why(
    running: World, faults: Faults, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(world_module, "FACTS_SECONDS", 0.3)
    before = versions(running)
    faults.put({**READS, **fault})
    running.forget(MD)
    await running.settle(horizon=SOON)
    assert running.kills == 0
    assert versions(running) == before
    assert (running.status(EXP, "ab")["phase"], split(running)) == ("Running", {"v1": 80, "v2": 20})
    assert running.condition(EXP, "ab", "FactsAvailable")[:2] == ("False", "FactsMissing")
    assert said in running.condition(EXP, "ab", "FactsAvailable")[2]
    assert running.condition(EXP, "ab", "TargetsReady")[:2] == ("Unknown", "DeploymentUnknown")
    assert running.condition(EXP, "ab", "Ready")[0] == "False"
    assert running.wish == 10
    faults.put()
    await running.settle()
    assert running.condition(EXP, "ab", "FactsAvailable")[:2] == ("True", "AllKnown")
    assert running.condition(EXP, "ab", "TargetsReady")[0] == "True"
    assert versions(running) == before


@pytest.mark.parametrize("unknown", ["v1", "v2", "v1|v2"])
async def test_a_service_without_an_experiment_keeps_its_champion_while_nobody_says_whether_it_exists(
    world: World, faults: Faults, unknown: str
) -> None:
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, f"file:///m/{name}.onnx", "shop").build())
    await world.settle()
    before = versions(world)
    faults.put({**READS, "name": unknown, "action": "status", "code": 500})
    world.forget(MD)
    await world.settle(horizon=SOON)
    assert (champion(world), versions(world), world.kills) == ("v1", before, 0)
    assert world.wish == 10


async def test_what_is_decided_is_dated_when_the_facts_have_come_and_not_when_they_were_asked_for(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock moves during I/O."""
    read = LiveObjects.read

    async def slowly(source: LiveObjects, request: LiveObject) -> Any:
        running.now += timedelta(hours=1)
        return await read(source, request)

    monkeypatch.setattr(LiveObjects, "read", slowly)
    await running.turn()
    running.forget(MD)
    command(running, "ab", "1:pause")
    asked_at = running.now
    await running.turn()
    paused_at = timestamps.parse(running.status(EXP, "ab")["pausedAt"])
    assert paused_at == running.now >= asked_at + timedelta(hours=2)


async def test_a_turn_that_is_cancelled_while_it_asks_writes_nothing_and_the_next_one_goes_on(
    running: World, faults: Faults
) -> None:
    before, writes = versions(running), running.writes
    faults.put({**READS, "action": "latency", "seconds": 60})
    running.forget(MD)
    command(running, "ab", "1:abort")
    turn = asyncio.create_task(running.turn())
    while faults.fired() < 2:
        await asyncio.sleep(0.01)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert (versions(running), running.writes) == (before, writes)
    faults.put()
    await running.settle()
    assert (running.status(EXP, "ab")["phase"], split(running)) == ("Failed", {"v1": 100})


async def test_a_deployment_that_has_really_gone_is_gone_once_the_api_server_says_so(
    running: World, faults: Faults
) -> None:
    faults.put({**READS, "action": "status", "code": 500})
    running.patch(MD, "v2", {"metadata": {"finalizers": []}})
    running.delete(MD, "v2")
    await running.settle(horizon=SOON)
    assert (running.status(EXP, "ab")["phase"], split(running)) == ("Running", {"v1": 80, "v2": 20})
    faults.put()
    await running.settle()
    assert (running.status(EXP, "ab")["phase"], split(running)) == ("Inconclusive", {"v1": 100})


async def test_an_experiment_that_has_no_mesh_looks_for_one_now_and_then(running: World) -> None:
    running.delete(EXP, "ab")
    await running.settle()
    running.absent = {r.VIRTUAL_SERVICES, r.DESTINATION_RULES}
    for kind in running.absent:
        running.unserved(kind)
    running.apply(builders.experiment("again", "shop", "v1", "v2").build())
    await running.settle()
    assert running.condition(EXP, "again", "RouteProgrammed")[:2] == ("False", "MeshAbsent")
    assert running.wish == 10
    running.absent = set()
    running.touched(r.VIRTUAL_SERVICES)
    running.touched(r.DESTINATION_RULES)
    await running.settle()
    assert (running.status(EXP, "again")["phase"], split(running)) == ("Running", {"v1": 80, "v2": 20})


async def test_a_mesh_without_destination_rules_leads_to_the_champion_until_they_are_served_again(
    running: World,
) -> None:
    running.absent = {r.DESTINATION_RULES}
    running.delete(r.DESTINATION_RULES, "shop")
    running.unserved(r.DESTINATION_RULES)
    await running.settle()
    assert running.condition(EXP, "ab", "RouteProgrammed")[:2] == ("False", "MeshAbsent")
    virtual = running.get(r.VIRTUAL_SERVICES, "shop")
    assert virtual is not None
    host = f"shop.{running.namespace}.svc.cluster.local"
    led = [rule["route"] for rule in virtual["spec"]["http"]]
    to = [{"destination": {"host": host, "port": {"number": port}}, "weight": 100} for port in (8081, 80)]
    assert led == [[each] for each in to], "gRPC, and the rest"
    running.absent = set()
    running.touched(r.DESTINATION_RULES)
    await running.settle()
    assert (running.status(EXP, "ab")["phase"], split(running)) == ("Running", {"v1": 80, "v2": 20})
    assert running.condition(EXP, "ab", "RouteProgrammed")[0] == "True"


def running_canary() -> Life:
    steps = [{"weight": 10, "hold": "1m"}, {"weight": 100}]
    life = Life(builders.canary("ramp", "shop", "v1", "v2", steps).build())
    life.run(30)
    assert (life.phase, life.routed) == ("Running", "v1:90 v2:10")
    return life


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_canary_takes_no_step_and_gives_nothing_up_while_an_arm_is_unknown(name: str) -> None:
    life = running_canary()
    before = life.live, life.status.weights
    life.unknown = {name}
    life.run(3 * 3600)
    assert (life.phase, life.live, life.status.weights) == ("Running", *before)
    assert life.moves[-1] == "DeploymentUnknown"
    life.unknown = set()
    life.finish()
    assert (life.phase, life.champion) == ("Succeeded", "v2")


def test_a_rollback_needs_only_to_know_the_arm_that_gets_the_traffic() -> None:
    life = running_canary()
    life.unknown = {"v2"}
    life.command = "1:abort"
    life.run(60)
    assert (life.phase, life.routed, life.champion) == ("Failed", "v1:100", "v1")


def test_a_rollback_to_a_control_of_which_nobody_knows_waits_until_it_is_known() -> None:
    life = running_canary()
    before = life.live
    life.unknown = {"v1"}
    life.command = "1:abort"
    life.run(60)
    assert (life.phase, life.live) == ("RollingBack", before)
    life.unknown = set()
    life.run(60)
    assert (life.phase, life.routed) == ("Failed", "v1:100")


def test_a_promotion_of_an_unknown_arm_is_refused() -> None:
    life = running_canary()
    life.unknown = {"v2"}
    life.command = "1:promote"
    life.rest()
    assert (life.phase, life.routed) == ("Running", "v1:90 v2:10")
    assert "not ready" in (life.status.command_result or "")


def test_an_unknown_arm_keeps_an_experiment_from_starting_without_being_called_wrong() -> None:
    life = Life(builders.experiment("ab", "shop", "v1", "v2").build())
    life.unknown = {"v1", "v2", "v3"}
    life.run(60)
    assert (life.phase, life.condition("Accepted")) == ("Pending", "True Valid")
    assert life.condition("TargetsReady") == "Unknown DeploymentUnknown"


async def test_a_command_reaches_an_experiment_with_an_unknown_arm(running: World, faults: Faults) -> None:
    faults.put({**READS, "name": "v2", "action": "status", "code": 500})
    running.patch(MD, "v2", {"metadata": {"finalizers": []}})
    running.delete(MD, "v2")
    command(running, "ab", "1:abort")
    await running.settle()
    assert (running.status(EXP, "ab")["phase"], split(running)) == ("Failed", {"v1": 100})
