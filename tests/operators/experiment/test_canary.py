"""Whole lives of canaries, step by step."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.examples import examples
from tests.operators.experiment.life import Life

STEPS = [{"weight": 5, "hold": "10m"}, {"weight": 25, "hold": "30m"}, {"weight": 100}]


def canary(steps: list[dict[str, object]] | None = None, settle: str = "30s") -> Life:
    built = builders.canary("ramp", "shop", "v1", "v2", steps or STEPS).having("spec.routing.settle", settle)
    return Life(built.build())


def test_a_canary_walks_its_steps_and_promotes() -> None:
    life = canary()
    life.finish()
    assert life.log == [
        ("0:00:00", "Ready", "v1:100"),  # v2 becomes known to every proxy
        ("0:00:30", "Running", "v1:95 v2:5"),
        ("0:11:00", "Running", "v1:75 v2:25"),  # settle 30 s + hold 10 min
        ("0:41:30", "Running", "v2:100"),
        ("0:42:00", "Promoting", "v2:100"),
        ("0:42:30", "Succeeded", "v2:100"),
    ]
    assert life.champion == "v2"
    assert life.status.decision is not None
    assert (life.status.decision.verdict, life.status.decision.arm) == ("Promote", "challenger")
    assert [epoch.weights for epoch in life.status.epochs or ()] == [
        {"control": 95, "challenger": 5},
        {"control": 75, "challenger": 25},
        {"control": 0, "challenger": 100},
    ]
    assert life.condition("Completed") == "True Succeeded"


def test_a_canary_without_steps_takes_5_25_50_and_100_frozen_at_its_start() -> None:
    life = Life(builders.canary("ramp", "shop", "v1", "v2", STEPS).without("spec.steps").build())
    life.run(1)
    assert [(step.weight, step.hold) for step in life.status.steps or ()] == [
        (5, "10m"),
        (25, "10m"),
        (50, "10m"),
        (100, "0s"),
    ]
    life.finish()
    assert [routed for _, _, routed in life.log] == [
        "v1:100",
        "v1:95 v2:5",
        "v1:75 v2:25",
        "v1:50 v2:50",
        "v2:100",
        "v2:100",
        "v2:100",
    ], "at last Running, Promoting, Succeeded"


def test_the_route_is_the_winners_alone_after_the_end_and_stays_so_without_the_experiment() -> None:
    life = canary()
    life.finish()
    life.document = {**life.document, "status": None}
    planned = life._program(None)
    assert planned is None
    assert life.routed == "v2:100"
    assert life.live.rule is not None
    assert [subset["name"] for subset in life.live.rule["spec"]["subsets"]] == ["v2"]


def test_an_edit_of_the_steps_in_the_spec_does_not_change_a_ramp_that_has_begun() -> None:
    life = canary()
    life.run(60)
    life.document = copy.deepcopy(life.document)
    life.document["spec"]["steps"] = [{"weight": 90, "hold": "1s"}]
    life.finish()
    assert "v1:75 v2:25" in [routed for _, _, routed in life.log]


def test_an_overdue_canary_takes_one_step_at_a_time_each_with_its_whole_hold() -> None:
    """The operator was away for a day in the middle of the first step."""
    life = canary()
    life.run(60)
    life.now = life.now.replace(day=3)
    life.rest()
    assert life.routed == "v1:75 v2:25"
    life.run(29 * 60)
    assert life.routed == "v1:75 v2:25"
    life.run(120)
    assert life.routed == "v2:100"


def test_an_unready_challenger_loses_its_traffic_at_once_and_its_hold_begins_anew() -> None:
    life = canary()
    life.run(330)
    life.ready("v2", False)
    life.rest()
    assert (life.routed, life.phase) == ("v1:100", "Running")
    assert life.condition("TargetsReady") == "False TargetsNotReady"
    life.run(120)
    life.ready("v2", True)
    life.rest()
    assert life.routed == "v1:95 v2:5"
    life.run(10 * 60)
    assert life.routed == "v1:95 v2:5"
    life.run(60)
    assert life.routed == "v1:75 v2:25"


def test_a_header_rule_of_an_unready_arm_leads_to_the_control() -> None:
    life = canary()
    life.run(60)
    life.ready("v2", False)
    life.rest()
    assert life.live.virtual is not None
    assert {
        share["destination"]["subset"] for rule in life.live.virtual["spec"]["http"] for share in rule["route"]
    } == {"v1"}


def test_a_challenger_that_stays_unready_is_given_up_after_ten_minutes() -> None:
    life = canary()
    life.run(60)
    life.ready("v2", False)
    life.finish()
    assert life.phase == "Inconclusive"
    assert life.log[-2:] == [("0:11:00", "RollingBack", "v1:100"), ("0:11:30", "Inconclusive", "v1:100")]
    assert life.champion == "v1"


@pytest.mark.parametrize("before", ["an unready control", "an unknown arm", "a pause"])
def test_the_ten_minutes_of_an_unready_challenger_begin_when_it_becomes_unready_itself(before: str) -> None:
    life = canary([{"weight": 5, "hold": "1h"}, {"weight": 100}])
    life.run(60)
    if before == "an unready control":
        life.ready("v1", False)
    elif before == "an unknown arm":
        life.unknown.add("v2")
    else:
        life.command = "1:pause"
        life.rest()
        life.ready("v2", False)
    life.run(20 * 60)
    life.ready("v2", False)
    life.ready("v1", True)
    life.unknown.clear()
    if before == "a pause":
        life.command = "2:resume"
    life.run(599)
    assert life.phase == "Running"
    life.run(1)
    assert life.phase == "RollingBack"


def test_a_challenger_that_comes_back_has_its_whole_ten_minutes_again() -> None:
    life = canary([{"weight": 5, "hold": "1h"}, {"weight": 100}])
    life.run(60)
    for ready in (False, True, False):
        life.ready("v2", ready)
        life.run(360)
    assert life.phase == "Running"
    life.run(240)
    assert life.phase == "RollingBack"


def test_a_deleted_challenger_ends_the_canary() -> None:
    life = canary()
    life.run(60)
    del life.targets["v2"]
    life.finish()
    assert (life.phase, life.routed, life.champion) == ("Inconclusive", "v1:100", "v1")


def test_a_challenger_that_moves_to_another_service_counts_as_lost() -> None:
    life = canary()
    life.run(60)
    life.elsewhere.add("v2")
    life.finish()
    assert life.phase == "Inconclusive"


def test_a_lost_control_freezes_everything_until_it_is_back() -> None:
    life = canary()
    life.run(60)
    life.ready("v1", False)
    life.run(3 * 3600)
    assert (life.phase, life.routed) == ("Running", "v1:95 v2:5")
    assert life.condition("TargetsReady") == "False ControlLost"
    life.ready("v1", True)
    life.rest()
    assert life.routed == "v1:75 v2:25"


def test_a_canary_waits_for_its_targets() -> None:
    life = canary()
    life.ready("v2", False)
    life.run(3600)
    assert (life.phase, life.routed) == ("Pending", "v1:100")
    assert life.condition("TargetsReady") == "Unknown TargetsNotReady"
    assert life.condition("Ready") == "Unknown TargetsNotReady"
    life.ready("v2", True)
    life.run(60)
    assert life.phase == "Running"
    assert life.condition("Ready") == "True AllWell"


def test_without_a_mesh_it_says_so_and_never_starts() -> None:
    life = Life(builders.canary("ramp", "shop", "v1", "v2", STEPS).build(), mesh=False)
    life.run(3600)
    assert life.phase == "Pending"
    assert life.condition("RouteProgrammed") == "False MeshAbsent"


def test_deletion_in_the_middle_brings_traffic_back_before_it_is_over() -> None:
    life = canary()
    life.run(60)
    life.deleting = True
    life.run(10)
    assert (life.phase, life.routed) == ("RollingBack", "v1:100")
    life.run(30)
    assert life.phase == "Failed"


def test_deletion_during_the_promotion_lets_it_finish() -> None:
    life = canary([{"weight": 50}])
    life.run(75)
    assert life.phase == "Promoting"
    life.deleting = True
    life.finish()
    assert (life.phase, life.champion) == ("Succeeded", "v2")


@settings(max_examples=examples(0.25))
@given(st.lists(st.floats(0, 2600), max_size=25).map(tuple))
def test_turns_at_any_other_time_change_nothing(turns_at: tuple[float, ...]) -> None:
    """A restart, a resync, an unrelated event: each is a turn that knows only status and objects."""
    quiet, noisy = canary(), canary()
    quiet.run(3000)
    noisy.run(3000, turns_at=turns_at)
    assert noisy.log == quiet.log
    assert noisy.document == quiet.document


steps = st.lists(st.integers(0, 100), min_size=1, max_size=8).map(
    lambda weights: [{"weight": weight, "hold": "1m"} for weight in sorted(weights)]
)


@settings(max_examples=examples(0.4))
@given(steps, st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=8))
def test_whatever_happens_the_route_sums_to_100_and_the_ramp_never_falls(
    ramp: list[dict[str, object]], changes: list[tuple[int, bool]]
) -> None:
    life = canary(ramp, settle="5s")
    for seconds, ready in changes:
        life.run(seconds)
        life.ready("v2", ready)
    life.ready("v2", True)
    life.finish()
    for _, _, routed in life.log:
        assert sum(int(share.split(":")[1]) for share in routed.split()) == 100
    # Leaving out the times at which the arm was not ready, or its traffic was taken back for good.
    taken = [epoch.weights["challenger"] for epoch in life.status.epochs or () if epoch.weights["challenger"]]
    assert taken == sorted(taken)


def test_a_life_is_the_same_whichever_order_the_deployments_are_listed_in() -> None:
    one, other = canary(), canary()
    other.targets = {name: replace(other.targets[name]) for name in ("v3", "v2", "v1")}
    one.finish()
    other.finish()
    assert one.log == other.log
