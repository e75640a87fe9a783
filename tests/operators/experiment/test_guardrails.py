"""Whole lives of experiments with guardrails: what harms is taken back, and what cannot be measured is no pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_operators.facts.fact import Absent, Fact, Failed, Known
from millrace_operators.facts.prometheus import PrometheusNumber
from tests import builders
from tests.examples import examples
from tests.operators.experiment.life import START, Life

STEPS = [{"weight": 5, "hold": "3m"}, {"weight": 50, "hold": "3m"}, {"weight": 100}]
QUERY = 'sum(rate(errors{deployment="{{deployment}}", namespace="{{namespace}}"}[{{interval}}]))'
ERRORS = {"name": "errors", "role": "guardrail", "abortAbove": 0.02, "source": {"prometheus": QUERY}}
DOWN = Failed("Prometheus", "Unavailable", "no answer: connection refused")


def canary(*metrics: dict[str, Any], **spec: Any) -> Life:
    built = builders.canary("ramp", "shop", "v1", "v2", STEPS).having("spec.routing.settle", "10s")
    built = built.having("metadata.namespace", "default").having("spec.metrics", list(metrics) or [ERRORS])
    for name, value in spec.items():
        built = built.having(f"spec.{name}", value)
    return Life(built.build())


def ab_test(**spec: Any) -> Life:
    built = builders.experiment("ab", "shop", "v1", "v2").having("spec.metrics", [ERRORS])
    built = built.having("metadata.namespace", "default").having("spec.routing.settle", "10s")
    for name, value in spec.items():
        built = built.having(f"spec.{name}", value)
    return Life(built.build())


class Answers:
    """What Prometheus answers: a number, or a fact, by the name of the metric; and what it was asked."""

    def __init__(self, life: Life, **values: float | Fact[float]) -> None:
        self.life, self.values = life, values
        self.asked: list[tuple[str, str]] = []
        life.measure = self

    def __call__(self, request: Any) -> Fact[Any]:
        assert isinstance(request, PrometheusNumber)
        self.asked.append((str(self.life.now - START), request.query))
        value = self.values.get(request.metric, 0.0)
        return Known(value, "Prometheus", self.life.now) if isinstance(value, int | float) else value


def decision(life: Life) -> tuple[str, str]:
    assert life.status.decision is not None
    return life.status.decision.verdict, life.status.decision.reason


def test_a_canary_whose_guardrail_holds_is_promoted_with_a_look_in_every_step() -> None:
    life = canary()
    answers = Answers(life, errors=0.01)
    life.finish()
    assert life.log == [
        ("0:00:00", "Ready", "v1:100"),
        ("0:00:10", "Running", "v1:95 v2:5"),
        ("0:03:20", "Running", "v1:50 v2:50"),
        ("0:06:30", "Running", "v2:100"),
        ("0:07:40", "Promoting", "v2:100"),  # no hold, and yet a look at all traffic: settle and one interval
        ("0:07:50", "Succeeded", "v2:100"),
    ]
    assert [at for at, _ in answers.asked] == [
        *("0:01:20", "0:02:20", "0:03:20"),  # settled at 0:00:20
        *("0:04:30", "0:05:30", "0:06:30"),
        "0:07:40",
    ], "what is measured within settle of a change is not asked for"
    assert {query for _, query in answers.asked} == {'sum(rate(errors{deployment="v2", namespace="default"}[60s]))'}
    assert (life.condition("MetricsAvailable"), life.condition("GuardrailsOK")) == (
        "True AllKnown",
        "True WithinLimits",
    )
    assert life.status.health == "healthy"


def test_a_harmful_canary_is_rolled_back_at_the_second_look_in_a_row() -> None:
    life = canary()
    Answers(life, errors=0.05)
    life.finish()
    assert life.log[1:] == [
        ("0:00:10", "Running", "v1:95 v2:5"),
        ("0:02:20", "RollingBack", "v1:100"),
        ("0:02:30", "Failed", "v1:100"),
    ]
    assert decision(life) == ("Rollback", "errors of challenger is 0.05, above 0.02, at 2 looks in a row")
    assert life.condition("GuardrailsOK") == "False BeyondLimit"
    assert life.champion == "v1"


def test_a_guardrail_that_fails_once_holds_the_step_until_it_is_within_its_limit_again() -> None:
    life = canary(analysis={"failureLimit": 3})
    answers = Answers(life, errors=0.01)
    life.run(150)
    answers.values["errors"] = 0.05
    life.run(120)  # two looks, of which the first falls on the end of the hold
    assert (life.phase, life.routed, life.moves[-1]) == ("Running", "v1:95 v2:5", "GuardrailFailing")
    answers.values["errors"] = 0.01
    life.run(60)
    assert life.routed == "v1:50 v2:50"
    answers.values["errors"] = 0.05
    life.run(130)
    assert life.phase == "Running", "the look that was good began the count anew"


@pytest.mark.parametrize("limit", ["abortAbove", "abortBelow"])
def test_a_value_at_the_limit_is_within_it(limit: str) -> None:
    life = canary({**{k: v for k, v in ERRORS.items() if k != "abortAbove"}, limit: 0.5})
    Answers(life, errors=0.5)
    life.finish()
    assert life.phase == "Succeeded"


def test_a_value_below_abort_below_is_harm() -> None:
    life = canary({**{k: v for k, v in ERRORS.items() if k != "abortAbove"}, "abortBelow": 0.9})
    Answers(life, errors=0.89)
    life.finish()
    assert life.phase == "Failed"


@pytest.mark.parametrize(
    "fact",
    [DOWN, Absent("Prometheus", START), Failed("Prometheus", "Invalid", "nan came, which is no number")],
    ids=["down", "no series", "NaN"],
)
def test_a_canary_without_data_holds_its_weights_and_is_rolled_back_after_max_hold(fact: Fact[float]) -> None:
    life = canary(analysis={"maxHold": "10m"})
    Answers(life, errors=fact)
    life.finish()
    assert life.log[1:] == [
        ("0:00:10", "Running", "v1:95 v2:5"),
        ("0:01:20", "Holding", "v1:95 v2:5"),
        ("0:11:20", "RollingBack", "v1:100"),
        ("0:11:30", "Inconclusive", "v1:100"),
    ]
    verdict, reason = decision(life)
    assert verdict == "Inconclusive"
    assert reason.startswith("no data since 2026-01-01T00:01:20Z: errors of challenger is not known: Prometheus")


def test_an_ab_test_without_data_is_paused_after_max_hold_and_a_resume_gives_it_the_time_anew() -> None:
    life = ab_test(analysis={"maxHold": "5m"})
    Answers(life, errors=DOWN)
    life.run(7 * 60)
    assert (life.phase, life.routed, life.moves[-2]) == ("Paused", "v1:80 v2:20", "NoData")
    life.command = "1:resume"
    life.run(60)
    assert life.phase == "Holding"
    life.run(6 * 60)
    assert life.phase == "Paused"


def test_data_that_come_back_end_the_hold_and_the_step_begins_anew() -> None:
    life = canary()
    answers = Answers(life, errors=DOWN)
    life.run(400)
    assert (life.phase, life.status.health, life.condition("MetricsAvailable")) == (
        "Holding",
        "no data",
        "False NoData",
    )
    assert life.condition("GuardrailsOK") == "Unknown NoData"
    answers.values["errors"] = 0.01
    life.run(50)
    assert (life.phase, life.routed) == ("Running", "v1:95 v2:5")
    life.finish()
    assert life.log[2:5] == [
        ("0:01:20", "Holding", "v1:95 v2:5"),
        ("0:07:20", "Running", "v1:95 v2:5"),
        ("0:10:30", "Running", "v1:50 v2:50"),
    ]


def test_an_outage_neither_forgives_nor_worsens_what_was_seen_before_it() -> None:
    life = canary()
    answers = Answers(life, errors=0.05)
    life.run(90)
    answers.values["errors"] = DOWN
    life.run(300)
    assert life.phase == "Holding"
    answers.values["errors"] = 0.05
    life.run(60)
    assert life.phase == "Failed"


def test_a_secondary_metric_is_shown_and_decides_nothing() -> None:
    life = canary(ERRORS, {"name": "cost", "role": "secondary", "source": {"prometheus": "cost"}})
    answers = Answers(life, errors=0.01, cost=7.5)
    life.run(90)
    measured = {each.metric: each for each in (life.status.analysis and life.status.analysis.measurements) or ()}
    assert (measured["cost"].value, measured["cost"].state) == (7.5, "Within")
    answers.values["cost"] = DOWN
    life.finish()
    assert life.phase == "Succeeded"


def test_on_failure_pause_keeps_the_weights_and_a_resume_begins_the_count_anew() -> None:
    life = canary(onFailure="Pause")
    answers = Answers(life, errors=0.05)
    life.run(3600)
    assert (life.phase, life.routed) == ("Paused", "v1:95 v2:5")
    answers.values["errors"] = 0.01
    life.command = "1:resume"
    life.finish()
    assert life.phase == "Succeeded"


def test_on_success_pause_leaves_the_last_word_to_a_person() -> None:
    life = canary(onSuccess="Pause")
    Answers(life, errors=0.0)
    life.run(3600)
    assert (life.phase, life.routed) == ("Paused", "v2:100")
    life.command = "1:promote"
    life.finish()
    assert life.champion == "v2"


def test_harm_ends_a_paused_canary_too() -> None:
    life = canary()
    answers = Answers(life, errors=0.0)
    life.run(90)
    life.command = "1:pause"
    life.run(60)
    answers.values["errors"] = 0.5
    life.run(180)
    assert life.phase == "Failed"


def test_a_new_revision_of_an_arm_is_looked_at_before_the_next_step() -> None:
    life = canary()
    answers = Answers(life, errors=0.0)
    life.run(190)
    life.targets["v2"] = replace(life.targets["v2"], revision="v2-bbbbbbbb")
    life.run(30)
    assert life.routed == "v1:95 v2:5"
    answers.values["errors"] = 0.5
    life.run(120)
    assert life.phase in ("RollingBack", "Failed")


def test_a_query_that_was_mended_is_asked_at_the_next_look() -> None:
    life = canary()
    answers = Answers(life, errors=DOWN)
    life.run(90)
    life.document["spec"]["metrics"] = [{**ERRORS, "name": "mended"}]
    answers.values["mended"] = 0.0
    life.run(60)
    assert life.phase == "Running"


@pytest.mark.parametrize("phase", ["Ready", "Running", "Holding", "Paused", "RollingBack", "Promoting"])
def test_an_abort_needs_no_metric_in_any_phase(phase: str) -> None:
    life = canary()
    answers = Answers(life, errors=DOWN if phase in ("Holding", "RollingBack") else 0.0)
    if phase == "Paused":
        life.run(60)
        life.command = "0:pause"
    elif phase == "RollingBack":
        life.run(60)
        life.ready("v2", False)
    while life.phase != phase:
        assert life.now < START.replace(day=2)
        life.run(5)
    answers.values["errors"] = DOWN
    life.command = "1:abort"
    life.run(120)
    assert (life.phase, life.routed) == (("Succeeded", "v2:100") if phase == "Promoting" else (life.phase, "v1:100"))
    assert life.phase in ("Failed", "Succeeded", "Inconclusive")


@settings(max_examples=examples(0.3))
@given(st.lists(st.sampled_from([0.01, 0.05, None]), min_size=1, max_size=40), st.integers(1, 4))
def test_whatever_is_measured_no_step_follows_a_look_that_was_not_good_and_harm_ends_it(
    looks: list[float | None], limit: int
) -> None:
    life = canary(analysis={"failureLimit": limit, "maxHold": "1d"})
    answers = Answers(life)
    beyond = 0
    life.run(20)
    for value in looks:
        before = life.routed
        answers.values["errors"] = DOWN if value is None else value
        asked = len(answers.asked)
        while len(answers.asked) == asked and life.phase not in ("Promoting", "Succeeded"):
            life.run(5)
        beyond = beyond + 1 if value == 0.05 else (0 if value is not None else beyond)
        if beyond >= limit:
            assert life.phase == "RollingBack"
            return
        assert life.phase == "Holding" if value is None else life.phase in ("Running", "Promoting", "Succeeded")
        if value != 0.01:
            assert life.routed == before
        if life.phase in ("Promoting", "Succeeded"):
            return
