"""A/B tests: weights, epochs, and commands."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta

import pytest

from millrace_core.api.experiment import Experiment
from millrace_core.base.errors import RejectError
from millrace_operators.experiment.command import parse
from millrace_operators.experiment.weights import weights_at
from millrace_operators.routing.state import CONTENDERS
from tests import builders
from tests.operators.experiment.life import Life
from tests.operators.routing.applying import updated

ARMS = [
    {"name": "a", "deployment": "v1", "control": True},
    {"name": "b", "deployment": "v2", "weight": 30},
    {"name": "c", "deployment": "v3", "weight": 10},
]


def ab_test() -> Life:
    return Life(builders.experiment("ab", "shop", "v1", "v2").build())


def running(life: Life | None = None) -> Life:
    life = life or ab_test()
    life.run(60)
    assert life.phase == "Running"
    return life


def test_an_ab_test_holds_its_weights_until_a_command_ends_it() -> None:
    life = running()
    life.run(30 * 86400)
    assert (life.phase, life.routed) == ("Running", "v1:80 v2:20")


def test_rules_stand_in_order_overrides_assigned_arm_weighted_split() -> None:
    built = builders.experiment("ab", "shop", "v1", "v2").having(
        "spec.overrides", [{"header": "x-try", "value": "new", "arm": "challenger"}]
    )
    life = running(Life(built.build()))
    assert life.live.virtual is not None
    both = life.live.virtual["spec"]["http"]
    assert all(rule["retries"] == {"attempts": 0} for rule in both)
    rules = [rule for rule in both if not rule["name"].endswith("-grpc")]
    assert [rule["name"] for rule in rules] == ["override-0", "arm-control", "arm-challenger", "assigned", "split"]
    assert rules[1]["match"] == [{"headers": {"x-millrace-arm": {"exact": "control"}}}]
    unit = {"headers": {"x-user-id": {"regex": ".+"}}, "withoutHeaders": {"x-millrace-arm": {}}}
    assert (rules[3]["match"], rules[3]["route"]) == ([unit], rules[4]["route"])


def asks(life: Life) -> bool:
    """Whether a mesh may ask for the arms of units."""
    assert life.live.virtual is not None
    names = {rule["name"] for rule in life.live.virtual["spec"]["http"]}
    assert ("assigned" in names) is ("assigned-grpc" in names)
    return "assigned" in names


def test_a_mesh_may_ask_for_arms_while_units_have_several() -> None:
    life = ab_test()
    life.turn()
    assert (life.phase, asks(life)) == ("Ready", False)
    life.now += timedelta(seconds=0.5)  # the settle time
    while life.routed != "v1:80 v2:20":
        life.turn()
    assert (life.phase, asks(life)) == ("Ready", True)  # so that the start itself is no change of the route
    running(life)
    assert asks(life)
    for command, phase in (("1:pause", "Paused"), ("2:resume", "Running")):
        life.command = command
        life.run(60)
        assert (life.phase, asks(life)) == (phase, True)
    life.ready("v2", False)
    life.run(60)
    assert (life.routed, asks(life)) == ("v1:100", False)
    life.ready("v2", True)
    life.run(60)
    assert (life.routed, asks(life)) == ("v1:80 v2:20", True)
    life.command = "3:abort"
    life.run(60)
    assert (life.phase, asks(life)) == ("Failed", False)


def test_a_mesh_may_ask_for_arms_where_units_are_held_out_of_a_challengers_whole_traffic() -> None:
    built = builders.experiment("ab", "shop", "v1", "v2").having("spec.arms", [ARMS[0], {**ARMS[1], "weight": 100}])
    assert [asks(running(Life(each.build()))) for each in (built, built.having("spec.assignment", {"holdout": 5}))] == [
        False,
        True,
    ]


def test_a_change_of_weights_opens_a_new_epoch() -> None:
    life = running()
    life.document = copy.deepcopy(life.document)
    life.document["spec"]["arms"][1]["weight"] = 50
    life.run(60)
    assert life.routed == "v1:50 v2:50"
    assert [epoch.weights["challenger"] for epoch in life.status.epochs or ()] == [20, 50]


def test_an_unready_arm_has_weight_0_and_an_ab_test_waits_for_it() -> None:
    life = running()
    life.ready("v2", False)
    life.run(7 * 86400)
    assert (life.phase, life.routed) == ("Running", "v1:100")
    life.ready("v2", True)
    life.rest()
    assert life.routed == "v1:80 v2:20"


def test_the_steps_of_an_ab_test_stay_at_the_last() -> None:
    built = builders.experiment("ab", "shop", "v1", "v2").having(
        "spec.steps", [{"weight": 10, "hold": "1h"}, {"weight": 40}]
    )
    life = Life(built.build())
    life.run(86400)
    assert (life.phase, life.routed) == ("Running", "v1:60 v2:40")


def test_with_steps_weights_are_shares_of_the_challengers() -> None:
    document = builders.experiment("ab", "shop", "v1", "v2").having("spec.arms", ARMS).build()
    life = Life({**document, "spec": {**document["spec"], "steps": [{"weight": 20}, {"weight": 60}]}})
    life.run(60)
    assert life.routed == "v1:40 v2:45 v3:15"


def test_pause_keeps_the_weights_and_resume_goes_on_where_the_hold_stood() -> None:
    steps = [{"weight": 10, "hold": "10m"}, {"weight": 50, "hold": "10m"}, {"weight": 100}]
    life = Life(builders.canary("ramp", "shop", "v1", "v2", steps).having("spec.routing.settle", "0s").build())
    life.run(4 * 60)
    life.command = "1:pause"
    life.run(3600)
    assert (life.phase, life.routed) == ("Paused", "v1:90 v2:10")
    life.command = "2:resume"
    life.run(5 * 60 + 50)
    assert life.routed == "v1:90 v2:10", "4 min before the pause and 6 after it"
    life.run(20)
    assert life.routed == "v1:50 v2:50"


def test_promote_moves_the_champion_and_is_final() -> None:
    life = running()
    life.command = "now:promote"
    life.run(60)
    assert (life.phase, life.routed, life.champion) == ("Succeeded", "v2:100", "v2")
    life.command = "later:abort"
    life.run(60)
    assert (life.phase, life.champion) == ("Succeeded", "v2")
    assert "cannot abort while the phase is Succeeded" in (life.status.command_result or "")


def test_promote_of_the_control_ends_it_with_the_champion_as_it_was() -> None:
    life = running()
    life.command = "1:promote control"
    life.run(60)
    assert (life.phase, life.routed, life.champion) == ("Succeeded", "v1:100", "v1")


def test_promote_needs_the_arms_name_where_there_are_several() -> None:
    life = running(Life(builders.experiment("ab", "shop", "v1", "v2").having("spec.arms", ARMS).build()))
    life.command = "1:promote"
    life.rest()
    assert life.phase == "Running"
    assert "a, b, c" in (life.status.command_result or "")
    life.command = "2:promote c"
    life.run(60)
    assert (life.phase, life.champion) == ("Succeeded", "v3")


def test_promote_of_an_unready_arm_is_refused() -> None:
    life = running()
    life.ready("v2", False)
    life.command = "1:promote"
    life.run(60)
    assert life.phase == "Running"
    assert "not ready" in (life.status.command_result or "")


def test_abort_brings_traffic_back_to_the_control() -> None:
    life = running()
    life.command = "1:abort"
    life.rest()
    assert (life.phase, life.routed) == ("RollingBack", "v1:100")
    life.run(60)
    assert (life.phase, life.champion) == ("Failed", "v1")
    assert life.condition("Ready") == "True Failed"


def test_abort_before_the_start_ends_it_at_once() -> None:
    life = ab_test()
    life.ready("v2", False)
    life.command = "1:abort"
    life.rest()
    assert (life.phase, life.routed) == ("Failed", "v1:100")


def test_a_command_is_handled_once() -> None:
    life = running()
    life.command = "1:pause"
    life.rest()
    life.command = "2:resume"
    life.rest()
    assert life.phase == "Running"
    life.run(60)
    assert (life.phase, life.status.handled_command) == ("Running", "2:resume")


def test_a_bad_command_is_answered_and_changes_nothing() -> None:
    life = running()
    life.command = "7:promot v2"
    life.rest()
    assert (life.phase, life.status.handled_command) == ("Running", "7:promot v2")
    assert "'7:promot v2' is no command" in (life.status.command_result or "")


@pytest.mark.parametrize("text", ["", "pause", ":pause", "1:", "1:stop", "1:pause now", "1:promote a b"])
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(RejectError, match="is no command"):
        parse(text)


def test_an_id_with_another_verb_is_another_command() -> None:
    life = running()
    life.command = "a1:pause"
    life.rest()
    assert life.phase == "Paused"
    life.command = "a1:resume"
    life.rest()
    assert (life.phase, life.status.handled_command) == ("Running", "a1:resume")


def test_a_fight_over_the_route_pauses_it() -> None:
    life = running()
    for _ in range(3):
        assert life.live.virtual is not None
        edited = updated(life.live.virtual, lambda new: new["spec"]["http"][0].update(timeout="1s"), "kubectl-edit")
        life.live = replace(life.live, virtual=edited)
        life.run(5)
    assert (life.phase, life.routed) == ("Paused", "v1:80 v2:20")
    assert life.moves[-2:] == ["RouteFight", "Paused"]
    life.command = "1:resume"
    life.run(120)
    assert life.phase == "Paused", "resumed while the minute of the fight was not over"
    assert "cannot resume while somebody else edits the route" in (life.status.command_result or "")
    assert life.moves[-1] != "ResumedByCommand"
    life.command = "2:resume"
    life.run(120)
    assert life.phase == "Running"


def test_an_unknown_deployment_is_named_with_those_there_are() -> None:
    life = Life(builders.experiment("ab", "shop", "v1", "v9").build())
    life.run(60)
    assert life.phase == "Pending"
    [accepted] = [item for item in life.document["status"]["conditions"] if item["type"] == "Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("False", "NotFound")
    assert "spec.arms[1].deployment" in accepted["message"]
    assert "v1, v2, v3" in accepted["message"]


def test_a_deployment_of_another_service_is_refused() -> None:
    life = ab_test()
    life.elsewhere.add("v2")
    life.run(60)
    assert life.condition("Accepted") == "False WrongService"


def test_a_second_experiment_waits_until_the_first_has_ended() -> None:
    life = ab_test()
    life.blocker = "older"
    life.run(60)
    assert (life.phase, life.condition("Accepted")) == ("Pending", "False ServiceBusy")
    life.blocker = ""
    life.run(60)
    assert life.phase == "Running"


def test_the_control_must_be_the_champion() -> None:
    life = Life(builders.experiment("ab", "shop", "v2", "v1").build())
    assert life.live.stable is not None
    del life.live.stable["metadata"]["annotations"][CONTENDERS]
    life.run(60)
    assert (life.phase, life.condition("Accepted")) == ("Pending", "False ControlNotChampion")


def test_a_contender_of_the_first_election_may_be_the_control() -> None:
    life = Life(builders.experiment("ab", "shop", "v2", "v1").build())
    assert life.champion == "v1"
    life.run(60)
    assert (life.phase, life.routed, life.champion) == ("Running", "v2:80 v1:20", "v2")


@pytest.mark.parametrize(("weight", "expected"), [(0, 100), (1, 99), (100, 0)])
def test_the_control_takes_what_is_left(weight: int, expected: int) -> None:
    document = builders.experiment("ab", "shop", "v1", "v2").build()
    document["spec"]["arms"][1]["weight"] = weight
    life = running(Life(document))
    assert (life.status.weights and life.status.weights.applied) == {"control": expected, "challenger": weight}


def test_a_split_without_steps_is_what_the_arms_say() -> None:
    document = builders.experiment("ab", "shop", "v1", "v2").having("spec.arms", ARMS).build()
    assert weights_at(Experiment.model_validate(document).spec, None, 0) == {"a": 60, "b": 30, "c": 10}
