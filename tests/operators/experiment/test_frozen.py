"""What an Experiment has frozen is refused or said, never ignored; what is still ahead may be changed."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.experiments.publishing import published_form
from tests import builders
from tests.operators.experiment.life import Life

STEPS = [{"weight": 10, "hold": "10m"}, {"weight": 50, "hold": "10m"}, {"weight": 100, "hold": "0s"}]


def on_its_first_step(steps: list[dict[str, Any]] | None = None) -> Life:
    life = Life(builders.canary("ramp", "shop", "v1", "v2", steps or STEPS).build())
    life.run(60)
    assert (life.phase, life.routed) == ("Running", "v1:90 v2:10")
    return life


def edit(life: Life, steps: list[dict[str, Any]] | None) -> None:
    life.document = copy.deepcopy(life.document)
    life.document["spec"]["steps"] = steps
    life.document["metadata"]["generation"] += 1


def epochs(life: Life) -> list[tuple[int, str | None]]:
    return [(epoch.weights["challenger"], epoch.reason) for epoch in life.status.epochs or ()]


def test_a_ramp_that_is_slowed_down_is_walked_as_it_is_now() -> None:
    life = on_its_first_step()
    edit(life, [STEPS[0], {"weight": 20, "hold": "1h"}, {"weight": 40, "hold": "1h"}, STEPS[2]])
    life.run(600)
    assert life.routed == "v1:80 v2:20"
    life.run(3600)
    assert life.routed == "v1:60 v2:40"
    life.finish()
    assert (life.phase, life.champion) == ("Succeeded", "v2")
    assert [step.weight for step in life.status.steps or ()] == [10, 20, 40, 100]


def test_an_edit_of_the_steps_ahead_begins_an_epoch_with_the_same_weights_once() -> None:
    life = on_its_first_step()
    assert epochs(life) == [(10, "WeightsChanged")]
    edit(life, [STEPS[0], STEPS[2]])
    life.run(60)
    assert epochs(life) == [(10, "WeightsChanged"), (10, "StepsChanged")]
    assert life.condition("Accepted") == "True Valid"
    life.run(600)
    assert epochs(life)[2:] == [(100, "WeightsChanged")]


def test_an_edit_at_the_moment_at_which_the_last_step_is_over_keeps_a_canary_from_being_promoted() -> None:
    life = on_its_first_step([STEPS[0]])
    life.now += life.wakes_after or pytest.fail("nothing is due")
    edit(life, [STEPS[0], {"weight": 11, "hold": "1h"}, STEPS[2]])
    life.run(1)
    assert (life.phase, life.routed) == ("Running", "v1:89 v2:11")


def test_a_step_more_after_the_last_keeps_a_canary_from_being_promoted() -> None:
    life = on_its_first_step([STEPS[0]])
    edit(life, STEPS[:2])
    life.run(660)
    assert (life.phase, life.routed) == ("Running", "v1:50 v2:50")


@pytest.mark.parametrize(
    "steps",
    [None, [{**STEPS[0], "weight": 20}, *STEPS[1:]], [{**STEPS[0], "hold": "1s"}, *STEPS[1:]]],
    ids=["none", "another weight", "another hold"],
)
def test_a_frozen_step_that_the_spec_denies_stays_and_the_condition_says_so(steps: list[dict[str, Any]] | None) -> None:
    """Only where the CRD is older than the operator: its rule refuses such an edit."""
    life = on_its_first_step()
    edit(life, steps)
    life.run(60)
    assert (life.routed, life.condition("Accepted")) == ("v1:90 v2:10", "False StepsFrozen")
    assert [step.weight for step in life.status.steps or ()] == [10, 50, 100]
    assert len(epochs(life)) == 1
    edit(life, STEPS)
    life.run(1)
    assert life.condition("Accepted") == "True Valid"


holds = st.sampled_from(["0s", "1m", "1h"])
ramps = st.lists(st.tuples(st.integers(0, 100), holds), min_size=1, max_size=6).map(
    lambda pairs: [{"weight": weight, "hold": hold} for (weight, hold) in sorted(pairs, key=lambda pair: pair[0])]
)


@given(ramps, ramps, st.integers(0, 20_000))
def test_whatever_the_edit_the_steps_taken_stay_and_the_rest_is_the_specs_or_all_stays(
    first: list[dict[str, Any]], second: list[dict[str, Any]], seconds: int
) -> None:
    life = Life(builders.experiment("ab", "shop", "v1", "v2").having("spec.steps", first).build())
    life.run(seconds)
    taken = (life.status.step_index or 0) + 1
    edit(life, second)
    life.rest()
    found = [{"weight": step.weight, "hold": step.hold} for step in life.status.steps or ()]
    assert found == (second if second[:taken] == first[:taken] else first)


def test_a_new_revision_of_an_arm_begins_an_epoch() -> None:
    life = on_its_first_step()
    first = dict((life.status.epochs or [])[0].revisions or {})
    life.targets["v2"] = replace(life.targets["v2"], revision="v2-bbbbbbbb")
    life.run(60)
    assert epochs(life) == [(10, "WeightsChanged"), (10, "RevisionChanged")]
    assert (life.status.epochs or [])[1].revisions == {**first, "challenger": "v2-bbbbbbbb"}


def test_past_a_hundred_epochs_the_oldest_are_dropped_and_the_ramp_goes_on_as_if_they_were_there() -> None:
    life = on_its_first_step()
    for revision in range(101):
        life.targets["v2"] = replace(life.targets["v2"], revision=f"v2-{revision:08x}")
        life.run(1)
    found = life.status.epochs or []
    assert (len(found), (found[0].revisions or {})["challenger"]) == (100, "v2-00000001")
    assert [epoch.number for epoch in found] == list(range(2, 102))
    published = published_form({"status": life.status.model_dump(by_alias=True, mode="json")})
    assert published["status"]["epoch"] == 101
    assert ((found[-1].revisions or {})["challenger"], life.phase) == (f"v2-{100:08x}", "Running")
    life.run(600)
    assert epochs(life)[-1] == (50, "WeightsChanged")


def test_an_arm_that_is_away_for_a_while_and_comes_back_as_it_was_begins_no_epoch_of_a_revision() -> None:
    life = on_its_first_step()
    known = life.targets["v2"]
    life.targets["v2"] = replace(known, revision="", ready=False)
    life.run(60)
    life.targets["v2"] = known
    life.run(60)
    assert epochs(life) == [(10, "WeightsChanged"), (0, "WeightsChanged"), (10, "WeightsChanged")]
    first, *others = [epoch.revisions for epoch in life.status.epochs or ()]
    assert others == [first, first]


def test_nothing_of_an_experiment_that_has_not_begun_is_frozen() -> None:
    life = Life(builders.canary("ramp", "shop", "v1", "v2", STEPS).build())
    life.ready("v2", False)
    life.run(60)
    edit(life, STEPS[1:])
    life.ready("v2", True)
    life.run(60)
    assert (life.routed, life.condition("Accepted")) == ("v1:50 v2:50", "True Valid")


def test_salt_and_slots_are_frozen_at_the_start_and_stay_through_edits_and_steps() -> None:
    document = builders.canary("ramp", "shop", "v1", "v2", STEPS).build()
    document["metadata"]["uid"] = "a uid"
    life = Life(document)
    life.run(60)
    frozen = life.status.assignment
    assert frozen is not None
    assert frozen.salt == "a uid"
    assert [(slot.arm, slot.start, slot.size) for slot in frozen.slots] == [("challenger", 0, 10_000)]
    edit(life, [STEPS[0], {"weight": 20, "hold": "1h"}])
    life.document["spec"]["assignment"] = {"holdout": 5, "salt": "another"}
    life.run(700)
    assert life.routed == "v1:80 v2:20"
    assert life.status.assignment == frozen
