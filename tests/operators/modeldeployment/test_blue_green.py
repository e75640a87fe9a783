"""A BlueGreen rollout of revisions: what a user sees, and how the state goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from millrace_core.api.rollout import Rollout
from millrace_kube import resources as r
from millrace_operators.modeldeployment.blue_green import Commanded, RolloutState, current, obey, report
from millrace_operators.modeldeployment.plan import RolloutPlan
from tests import builders
from tests.operators.world import START, World

MD = r.MODEL_DEPLOYMENTS
ONE, TWO, THREE = "file:///m/one.onnx", "file:///m/two.onnx", "file:///m/three.onnx"
SHORT = timedelta(seconds=30)


def model(uri: str = ONE, command: str = "", on_success: str = "Promote", **times: str) -> dict[str, Any]:
    times = {"previewFor": "5m", "keepFor": "10m", **times}
    rollout = {"strategy": "BlueGreen", "blueGreen": times, "onSuccess": on_success}
    built = builders.model_deployment("m", uri, "shop").having("spec.rollout", rollout)
    return (built.having("metadata.annotations", {"millrace.dev/command": command}) if command else built).build()


class Seen:
    """What there is: revisions by the number of the model that they serve."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _number(self, revision: str) -> str:
        deployment = self._world.get(r.DEPLOYMENTS, revision)
        if deployment is None:
            return "none" if not revision else "gone"
        env = deployment["spec"]["template"]["spec"]["initContainers"][0]["env"]
        uri = next(item["value"] for item in env if item["name"] == "MILLRACE_MODEL_URI")
        return str(uri.removeprefix("file:///m/").removesuffix(".onnx"))

    def selected(self, service: str) -> str:
        """What a Service leads to."""
        found = self._world.get(r.SERVICES, service)
        return self._number(found["spec"]["selector"]["millrace.dev/revision"]) if found else "no service"

    def now(self) -> tuple[str, str, str, list[str]]:
        """Phase, who gets the traffic by Service and by subset alike, what is previewed, and which have pods."""
        rule = self._world.get(r.DESTINATION_RULES, "shop")
        assert rule is not None
        [subset] = rule["spec"]["subsets"]
        assert self._number(subset["labels"]["millrace.dev/revision"]) == self.selected("shop")
        pods = sorted(self._number(item["metadata"]["name"]) for item in self._world.all(r.DEPLOYMENTS))
        phase = self._world.status(MD, "m")["rollout"]["phase"]
        return phase, self.selected("shop"), self.selected("shop-preview"), pods


@pytest.fixture
async def seen(world: World) -> Seen:
    """The first model serves."""
    world.apply(model())
    await world.settle(horizon=SHORT)
    found = Seen(world)
    assert found.now() == ("Complete", "one", "no service", ["one"])
    return found


async def after(world: World, **passed: float) -> None:
    world.now += timedelta(**passed)
    await world.settle(horizon=timedelta())


async def test_a_new_model_is_previewed_then_serves_and_the_old_one_is_kept_and_goes(world: World, seen: Seen) -> None:
    world.kubelet.slow.add(TWO)
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    assert seen.now() == ("Starting", "one", "two", ["one", "two"])
    world.kubelet.slow.clear()
    await world.settle(horizon=SHORT)
    assert seen.now() == ("Previewing", "one", "two", ["one", "two"])
    assert world.condition(MD, "m", "Ready")[:2] == ("Unknown", "Previewing")
    assert f"http://shop-preview.{world.namespace}.svc" in world.condition(MD, "m", "Ready")[2]
    await after(world, minutes=5)
    assert seen.now() == ("KeepingPrevious", "two", "no service", ["one", "two"])
    assert world.condition(MD, "m", "Ready")[0] == "True"
    await after(world, minutes=10)
    assert seen.now() == ("Complete", "two", "no service", ["two"])
    told = [reason for name, _, reason in world.events() if name == "m"]
    assert [told.count(each) for each in ("Previewing", "KeepingPrevious", "Complete")] == [1, 1, 1]


async def test_a_settled_preview_and_a_kept_revision_cost_no_write(world: World, seen: Seen) -> None:
    world.apply(model(TWO))
    for phase in ("Previewing", "KeepingPrevious"):
        await world.settle(horizon=SHORT)
        assert seen.now()[0] == phase
        before = world.writes
        world.restart()
        world.now += timedelta(minutes=1)
        await world.turn()
        assert world.writes == before
        await after(world, minutes=4)


async def test_a_rollback_serves_the_kept_revision_in_one_turn_and_starts_no_pod(world: World, seen: Seen) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    await after(world, minutes=5)
    made = {item["metadata"]["uid"] for item in world.all(r.DEPLOYMENTS)}
    world.apply(model(TWO, command="1:rollback"))
    await after(world)
    assert seen.now() == ("RolledBack", "one", "two", ["one", "two"])
    assert {item["metadata"]["uid"] for item in world.all(r.DEPLOYMENTS)} == made
    status = world.status(MD, "m")
    assert status["commandResult"].endswith("serves again, and " + status["targetRevision"] + " gets no traffic")
    assert world.condition(MD, "m", "Ready")[:2] == ("False", "RolledBack")
    assert [reason for _, _, reason in world.events()].count("RolledBack") == 1
    await after(world, hours=1)
    assert seen.now() == ("RolledBack", "one", "no service", ["one"])


async def test_what_was_rolled_back_is_promoted_at_once_while_it_has_pods_and_later_once_they_are_ready(
    world: World, seen: Seen
) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    await after(world, minutes=5)
    for number, minutes in ((1, 1), (3, 30)):
        world.apply(model(TWO, command=f"{number}:rollback"))
        await after(world)
        assert seen.now()[:2] == ("RolledBack", "one")
        await after(world, minutes=minutes)
        world.apply(model(TWO, command=f"{number + 1}:promote"))
        await after(world)
        assert seen.now() == ("KeepingPrevious", "two", "no service", ["one", "two"])


async def test_a_person_is_waited_for_and_promotes(world: World, seen: Seen) -> None:
    world.apply(model(TWO, on_success="Pause"))
    await world.settle(horizon=timedelta(days=2))
    assert seen.now() == ("AwaitingPromotion", "one", "two", ["one", "two"])
    assert world.condition(MD, "m", "Ready")[:2] == ("Unknown", "AwaitingPromotion")
    world.apply(model(TWO, command="1:promote", on_success="Pause"))
    await after(world)
    assert seen.now() == ("KeepingPrevious", "two", "no service", ["one", "two"])
    world.apply(model(TWO, command="2:promote", on_success="Pause"))
    await after(world)
    assert seen.now() == ("Complete", "two", "no service", ["two"])


async def test_a_rollback_in_the_preview_gives_the_new_one_up(world: World, seen: Seen) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    world.apply(model(TWO, command="1:rollback"))
    await after(world, minutes=6)
    assert seen.now() == ("RolledBack", "one", "two", ["one", "two"])
    world.apply(model(THREE, command="1:rollback"))
    await after(world)
    assert seen.now() == ("Previewing", "one", "three", ["one", "three"]), "what the spec asks for now was not refused"


async def test_a_change_in_the_preview_replaces_what_is_previewed_and_its_time_begins_anew(
    world: World, seen: Seen
) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    await after(world, minutes=4)
    world.apply(model(THREE))
    await after(world)
    assert seen.now() == ("Previewing", "one", "three", ["one", "three"])
    await after(world, minutes=2)
    assert seen.now()[:2] == ("Previewing", "one")
    await after(world, minutes=3)
    assert seen.now()[:2] == ("KeepingPrevious", "three")


async def test_a_change_while_one_is_kept_is_previewed_beside_it_and_at_its_flip_only_the_newer_is_kept(
    world: World, seen: Seen
) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    await after(world, minutes=5)
    world.apply(model(THREE))
    await after(world)
    assert seen.now() == ("Previewing", "two", "three", ["one", "three", "two"])
    await after(world, minutes=5)
    assert seen.now() == ("KeepingPrevious", "three", "no service", ["three", "two"])


async def test_a_rollback_while_a_third_is_previewed_goes_to_the_kept_one_and_holds_the_third(
    world: World, seen: Seen
) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    await after(world, minutes=5)
    world.apply(model(THREE, command="1:rollback"))
    await after(world)
    await after(world, minutes=6)
    assert seen.now() == ("RolledBack", "one", "three", ["one", "three"])


async def test_a_spec_that_goes_back_to_the_kept_revision_gets_it_at_once(world: World, seen: Seen) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    await after(world, minutes=5)
    world.apply(model(ONE))
    await after(world)
    assert seen.now() == ("KeepingPrevious", "one", "no service", ["one", "two"])


async def test_a_preview_that_loses_its_pod_begins_anew(world: World, seen: Seen) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    await after(world, minutes=4)
    world.kubelet.slow.add(TWO)
    await after(world)
    world.kubelet.slow.clear()
    await after(world, minutes=2)
    assert seen.now()[:2] == ("Previewing", "one")


def test_a_revision_that_came_up_while_no_operator_looked_is_previewed_for_all_of_its_time() -> None:
    """Its pods were asked for by one that was killed before it wrote the status."""
    before = RolloutState(preview="m-two", ready_since=START, promoted="m-two", rolled_back="m-two")
    assert current(before, "m-two", START + SHORT) == before
    assert current(before, "m-three", START + SHORT) == RolloutState(preview="m-two")


def test_after_a_rollback_what_it_went_back_to_is_no_longer_the_one_before() -> None:
    """Else a second rollback would go to the revision that serves."""
    kept = RolloutState(previous="m-one", rolled_back="m-two", keep_until=START + SHORT)
    plan = RolloutPlan("m-two", "m-one", {"m-one": 1, "m-two": 1}, whole=True)
    after = report(Commanded(Rollout(strategy="BlueGreen"), kept), plan, "m-two", "http://shop-preview", START).state
    assert (after.previous, after.preview) == ("", "m-two")


def test_what_is_promoted_after_a_rollback_is_no_longer_kept_until_a_moment() -> None:
    rolled_back = RolloutState(preview="m-two", rolled_back="m-two", keep_until=START + SHORT)
    rollout, able = Rollout(strategy="BlueGreen"), ["m-one", "m-two"]
    found = obey("promote", rollout, rolled_back, "m-two", "m-one", able, START).state
    assert found == RolloutState(preview="m-two", promoted="m-two")


async def test_nothing_is_previewed_before_its_gates_are_passed(world: World, seen: Seen) -> None:
    gated = model(TWO)
    gated["spec"]["gates"] = {"holdout": {"uri": "file:///m/h.parquet", "label": "y"}, "rules": [{"maxSize": "1Mi"}]}
    world.kubelet.judgements[TWO] = None
    world.apply(gated)
    await world.settle(horizon=SHORT)
    assert seen.now() == ("Starting", "one", "no service", ["one"])
    del world.kubelet.judgements[TWO]
    await world.settle(horizon=SHORT)
    assert seen.now() == ("Previewing", "one", "two", ["one", "two"])


@pytest.mark.parametrize(
    ("strategy", "command", "said"),
    [
        ("BlueGreen", "1:rollback", "no revision is kept beside"),
        ("BlueGreen", "1:promote", "serves already"),
        ("RollingUpdate", "1:rollback", "rollback is about rollouts of the strategy BlueGreen"),
    ],
)
async def test_a_command_that_finds_nothing_to_move_is_answered(
    world: World, seen: Seen, strategy: str, command: str, said: str
) -> None:
    asked = model(ONE, command=command)
    asked["spec"]["rollout"] = {"strategy": strategy}
    world.apply(asked)
    await world.settle(horizon=SHORT)
    status = world.status(MD, "m")
    assert (status["handledCommand"], said in status["commandResult"]) == (command, True)
    assert seen.selected("shop") == "one"


async def test_a_rolling_update_forgets_a_preview_and_lets_the_new_revision_serve(world: World, seen: Seen) -> None:
    world.apply(model(TWO, on_success="Pause"))
    await world.settle(horizon=SHORT)
    world.apply(builders.model_deployment("m", TWO, "shop").build())
    await world.settle(horizon=SHORT)
    assert (seen.selected("shop"), seen.selected("shop-preview")) == ("two", "no service")
    assert "rollout" not in world.status(MD, "m")


async def test_the_preview_goes_with_its_deployment(world: World, seen: Seen) -> None:
    world.apply(model(TWO))
    await world.settle(horizon=SHORT)
    world.delete(MD, "m")
    await world.settle(horizon=SHORT)
    assert world.get(MD, "m") is None
    for _ in range(200):  # the API server's garbage collector works on its own time
        if world.get(r.SERVICES, "shop-preview") is None:
            return
        await world.turn()
    raise AssertionError("the preview Service stays")
