"""Whole lives of blue-green experiments: a preview without traffic, one flip, and a while in which it is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_operators.routing.observe import preview_of
from tests import builders
from tests.examples import examples
from tests.operators.experiment.life import Life

TIMES = {"previewFor": "5m", "keepFor": "10m"}


def life(on_success: str = "Promote", **times: str) -> Life:
    built = builders.canary("flip", "shop", "v1", "v2", []).without("spec.steps").having("spec.type", "BlueGreen")
    built = built.having("spec.blueGreen", {**TIMES, **times}).having("spec.routing.settle", "30s")
    return Life(built.having("spec.onSuccess", on_success).build())


def previewed(life: Life) -> dict[str, str] | None:
    if life.live.preview is None:
        return None
    selector: dict[str, str] = life.live.preview["spec"]["selector"]
    return {key.rpartition("/")[2]: value for key, value in selector.items() if key.startswith("millrace")}


V2 = {"deployment": "v2", "revision": "v2-aaaaaaaa"}


def test_it_previews_flips_all_traffic_at_once_keeps_the_control_and_promotes() -> None:
    flip = life()
    flip.finish()
    assert flip.log == [
        ("0:00:00", "Ready", "v1:100"),
        ("0:00:30", "Running", "v1:100"),
        ("0:06:00", "Running", "v2:100"),  # settle 30 s + preview 5 min
        ("0:16:30", "Promoting", "v2:100"),
        ("0:17:00", "Succeeded", "v2:100"),
    ]
    assert flip.champion == "v2"
    assert [move for move in flip.moves if move in ("StepTaken", "RampCompleted")] == ["StepTaken", "RampCompleted"]
    assert [epoch.weights["challenger"] for epoch in flip.status.epochs or ()] == [0, 100]


def test_the_preview_service_leads_to_the_challenger_until_the_flip() -> None:
    flip = life()
    flip.ready("v2", False)
    flip.run(1)
    assert (flip.phase, previewed(flip)) == ("Pending", None)
    flip.ready("v2", True)
    flip.run(60)
    assert (flip.phase, previewed(flip)) == ("Running", V2)
    flip.run(300)
    assert (flip.routed, previewed(flip)) == ("v2:100", None)


def test_requests_that_name_the_arm_reach_the_challenger_before_the_flip() -> None:
    flip = life()
    flip.run(60)
    assert flip.live.virtual is not None
    named = [
        rule["route"][0]["destination"]["subset"]
        for rule in flip.live.virtual["spec"]["http"]
        if rule["name"] == "arm-challenger"
    ]
    assert named == ["v2"]


def test_without_times_it_flips_at_once_and_keeps_the_control_for_ten_minutes() -> None:
    flip = Life(
        builders.canary("flip", "shop", "v1", "v2", []).without("spec.steps").having("spec.type", "BlueGreen").build()
    )
    flip.run(1)
    assert [(step.weight, step.hold) for step in flip.status.steps or ()] == [(0, "0s"), (100, "10m")]


def test_a_person_is_waited_for_before_the_flip_and_not_after_it() -> None:
    flip = life("Pause")
    flip.run(86400)
    assert (flip.phase, flip.routed, flip.moves[-1]) == ("Paused", "v1:100", "Paused")
    assert previewed(flip) == V2
    flip.command = "1:promote"
    flip.run(60)
    assert (flip.phase, flip.routed) == ("Running", "v2:100")
    assert flip.status.command_result == "all traffic flips to challenger by command; an abort takes it back at once"
    flip.run(600)
    assert (flip.phase, flip.champion) == ("Succeeded", "v2")


def test_a_promote_command_flips_before_the_preview_is_over_and_a_second_one_ends_it() -> None:
    flip = life()
    flip.run(60)
    flip.command = "1:promote"
    flip.rest()
    assert (flip.phase, flip.routed, flip.champion) == ("Running", "v2:100", "v1")
    flip.command = "2:promote"
    flip.run(30)
    assert (flip.phase, flip.champion) == ("Succeeded", "v2")


@pytest.mark.parametrize("after", [60, 400])
def test_an_abort_takes_all_traffic_back_at_once_in_the_preview_and_after_the_flip(after: int) -> None:
    flip = life()
    flip.run(after)
    flip.command = "1:abort"
    flip.rest()
    assert (flip.phase, flip.routed, previewed(flip)) == ("RollingBack", "v1:100", None)
    flip.run(30)
    assert (flip.phase, flip.champion) == ("Failed", "v1")


def test_a_challenger_that_fails_after_the_flip_leaves_the_traffic_to_the_control_at_once() -> None:
    flip = life()
    flip.run(400)
    flip.ready("v2", False)
    flip.rest()
    assert (flip.phase, flip.routed) == ("Running", "v1:100")
    flip.finish()
    assert (flip.phase, flip.champion) == ("Inconclusive", "v1")


def test_the_control_may_be_promoted_before_the_flip_which_ends_it() -> None:
    flip = life()
    flip.run(60)
    flip.command = "1:promote control"
    flip.run(60)
    assert (flip.phase, flip.champion, flip.routed) == ("Succeeded", "v1", "v1:100")


@settings(max_examples=examples(0.25))
@given(st.lists(st.floats(0, 1100), max_size=25).map(tuple))
def test_turns_at_any_other_time_change_nothing(turns_at: tuple[float, ...]) -> None:
    quiet, noisy = life(), life()
    quiet.run(1200)
    noisy.run(1200, turns_at=turns_at)
    assert noisy.log == quiet.log
    assert noisy.document == quiet.document


def test_a_preview_of_another_service_is_none_of_its_own() -> None:
    """A service may be called shop-preview; what is found under the name is deleted only where it is the preview."""
    labels: dict[str, Any] = {"millrace.dev/service": "shop-preview", "app.kubernetes.io/component": "stable"}
    assert preview_of({"metadata": {"name": "shop-preview", "labels": labels}}) is None
    own = {"millrace.dev/service": "shop", "app.kubernetes.io/component": "preview"}
    assert preview_of({"metadata": {"name": "shop-preview", "labels": own}}) is not None
