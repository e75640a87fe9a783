"""Whole lives of shadows: copies step by step, and an end at the control whatever they showed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from millrace_operators.facts.fact import Fact, FactRequest, Known
from tests import builders
from tests.operators.experiment.life import Life

STEPS = [{"weight": 5, "hold": "10m"}, {"weight": 100, "hold": "30m"}]


def shadow(metrics: list[dict[str, Any]] | None = None, steps: list[dict[str, Any]] | None = None) -> Life:
    built = builders.canary("copy", "shop", "v1", "v2", steps or STEPS).having("spec.type", "Shadow")
    built = built.having("spec.routing.settle", "30s")
    return Life((built.having("spec.metrics", metrics) if metrics else built).build())


def copied(life: Life) -> dict[str, float]:
    """Percent by subset, which every rule of the route says alike."""
    assert life.live.virtual is not None
    found = [
        {each["destination"]["subset"]: each["percentage"]["value"] for each in rule.get("mirrors", [])}
        for rule in life.live.virtual["spec"]["http"]
    ]
    assert all(each == found[0] for each in found)
    return found[0]


def test_it_walks_its_steps_in_copies_moves_no_traffic_and_ends_at_the_control() -> None:
    life, seen = shadow(), []
    for _ in range(60):
        life.run(60)
        entry = (life.phase, life.routed, copied(life))
        if not seen or seen[-1] != entry:
            seen.append(entry)
    assert seen == [
        ("Running", "v1:100", {"v2": 5}),
        ("Running", "v1:100", {"v2": 100}),
        ("Succeeded", "v1:100", {}),
    ]
    assert life.status.decision is not None
    assert (life.status.decision.verdict, life.champion) == ("Pass", "v1")
    assert life.status.decision.reason == "challenger had copies through all 2 steps, and nothing took it back"
    assert life.status.started_at is not None
    assert life.status.finished_at is not None
    assert life.status.finished_at - life.status.started_at == timedelta(minutes=41, seconds=30)


def test_the_subset_of_the_challenger_is_known_for_the_settle_time_before_copies_are_sent_to_it() -> None:
    life = shadow()
    life.run(29)
    assert (life.phase, copied(life)) == ("Ready", {})
    life.run(1)
    assert (life.phase, copied(life)) == ("Running", {"v2": 5})


def test_no_header_leads_to_a_challenger_that_gets_copies_alone() -> None:
    life = shadow()
    life.run(60)
    assert life.live.virtual is not None
    rules = life.live.virtual["spec"]["http"]
    assert {each["destination"]["subset"] for rule in rules for each in rule["route"]} == {"v1"}


def test_requests_are_sent_again_as_ever_since_the_control_answers_them_all() -> None:
    life = shadow()
    life.run(60)
    assert life.live.virtual is not None
    assert all(rule["retries"]["attempts"] > 0 for rule in life.live.virtual["spec"]["http"])


def test_without_steps_it_copies_5_25_and_100_percent() -> None:
    built = builders.canary("copy", "shop", "v1", "v2", []).without("spec.steps").having("spec.type", "Shadow")
    life = Life(built.build())
    life.run(1)
    assert [(step.weight, step.hold) for step in life.status.steps or ()] == [(5, "10m"), (25, "10m"), (100, "1h")]


def test_an_unready_challenger_gets_no_copies_and_is_given_up_after_ten_minutes() -> None:
    life = shadow()
    life.run(60)
    life.ready("v2", False)
    life.rest()
    assert (life.phase, copied(life)) == ("Running", {})
    life.finish()
    assert (life.phase, life.champion) == ("Inconclusive", "v1")


@pytest.mark.parametrize(("errors", "phase"), [(0.001, "Succeeded"), (0.5, "Failed")])
def test_its_guardrails_look_at_the_copies_and_end_them(errors: float, phase: str) -> None:
    guardrail = {"name": "errors", "role": "guardrail", "abortAbove": 0.02, "source": {"prometheus": "errors"}}
    life = shadow([guardrail])

    def measure(_request: FactRequest[Any]) -> Fact[Any]:
        return Known(errors, "prometheus", life.now)

    life.measure = measure
    life.finish()
    assert (life.phase, copied(life), life.champion) == (phase, {}, "v1")


def test_a_person_may_promote_what_the_copies_were_for() -> None:
    life = shadow()
    life.run(60)
    life.command = "1:promote"
    life.run(60)
    assert (life.phase, life.routed, life.champion) == ("Succeeded", "v2:100", "v2")


def test_a_pause_keeps_the_copies_and_a_deletion_ends_them() -> None:
    life = shadow()
    life.run(60)
    life.command = "1:pause"
    life.run(3600)
    assert (life.phase, copied(life)) == ("Paused", {"v2": 5})
    life.deleting = True
    life.rest()
    assert (life.phase, copied(life)) == ("RollingBack", {})


def test_the_condition_says_how_much_is_copied() -> None:
    life = shadow()
    life.run(60)
    assert life.message("RouteProgrammed").endswith("control 100%, challenger 0%; 5% of it is copied to challenger")
