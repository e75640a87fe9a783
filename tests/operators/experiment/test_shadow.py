"""Whole lives of shadows: copies step by step, and an end at the control whatever they showed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from millrace_core.experiments.compared import ComparedOutput, ComparedPredictions
from millrace_operators.facts.copies_compared import CopiesCompared
from millrace_operators.facts.fact import Absent, Fact, FactRequest, Failed, Known
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


def test_nobody_is_asked_for_the_arms_of_units_which_are_all_the_control() -> None:
    life = shadow()
    life.run(60)
    assert (life.phase, copied(life)) == ("Running", {"v2": 5})
    assert life.live.virtual is not None
    assert not [rule["name"] for rule in life.live.virtual["spec"]["http"] if rule["name"].startswith("assigned")]


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


def guardrail(measure: str = "agreement", output: str = "score", **limit: float) -> dict[str, Any]:
    source = {"comparison": {"output": output, "measure": measure}}
    return {"name": "same", "role": "guardrail", "source": source, **(limit or {"abortBelow": 0.95})}


def said(life: Life, rows: int = 5000, **output: float) -> Known[ComparedPredictions]:
    figures = {"agreement": 1.0, "psi": 0.0, "jensen_shannon": 0.0, "wasserstein": None, **output}
    found = ComparedOutput(name="score", pairs=rows, **figures)
    return Known(
        ComparedPredictions(as_of=life.now, requests=rows, rows=rows, outputs=[found]), "the gateway", life.now
    )


def measuring(life: Life, answer: Any) -> list[FactRequest[Any]]:
    """Lets the gateway answer so; what it is asked."""
    asked: list[FactRequest[Any]] = []

    def measure(request: FactRequest[Any]) -> Fact[Any]:
        asked.append(request)
        fact: Fact[Any] = answer()
        return fact

    life.measure = measure
    return asked


@pytest.mark.parametrize(
    ("metric", "figures", "phase"),
    [
        (guardrail(), {"agreement": 0.99}, "Succeeded"),
        (guardrail(), {"agreement": 0.90}, "Failed"),
        (guardrail("psi", abortAbove=0.2), {"psi": 0.1}, "Succeeded"),
        (guardrail("psi", abortAbove=0.2), {"psi": 0.3}, "Failed"),
        (guardrail("jensenShannon", abortAbove=0.2), {"jensen_shannon": 0.3}, "Failed"),
        (guardrail("wasserstein", abortAbove=0.2), {"wasserstein": 0.3}, "Failed"),
        (guardrail("meanDifference", abortBelow=-0.1, abortAbove=0.1), {"mean_difference": -0.2}, "Failed"),
    ],
)
def test_what_the_challenger_says_beside_the_control_ends_its_copies(
    metric: dict[str, Any], figures: dict[str, float], phase: str
) -> None:
    life = shadow([metric])
    measuring(life, lambda: said(life, **figures))
    life.finish()
    assert (life.phase, life.champion) == (phase, "v1")
    if phase == "Failed":
        assert life.status.decision is not None
        assert life.status.decision.reason.startswith("same of challenger is ")
        assert life.status.decision.reason.endswith("at 2 looks in a row")


def test_each_step_is_compared_by_its_own_copies() -> None:
    life = shadow([guardrail()])
    asked = measuring(life, lambda: said(life))
    life.finish()
    found = [each for each in dict.fromkeys(asked) if isinstance(each, CopiesCompared)]
    assert [(each.service, each.control, each.shadow) for each in found] == [("shop", "v1", "v2")] * 2
    assert found[1].since - found[0].since >= timedelta(minutes=10)


@pytest.mark.parametrize("answer", ["too few", "none"])
def test_without_enough_copies_no_step_is_taken_and_nothing_is_held_against_anybody(answer: str) -> None:
    life = shadow([guardrail()])
    rows = 99

    def found() -> Fact[Any]:
        return said(life, rows, agreement=0.0) if answer == "too few" or rows > 99 else Absent("the gateway", life.now)

    measuring(life, found)
    life.run(3600)
    assert (life.phase, copied(life), life.moves[-1]) == ("Running", {"v2": 5}, "TooFewUnits")
    assert f"{99 if answer == 'too few' else 0} rows that both answered are in the log" in str(life.status.analysis)
    rows = 100
    life.finish()
    assert life.phase == "Failed"


def test_a_gateway_that_gives_no_answer_holds_the_copies_where_they_are() -> None:
    life = shadow([guardrail()])
    measuring(life, lambda: Failed("the gateway", "TimedOut", "no answer within 5 s"))
    life.run(600)
    assert (life.phase, copied(life)) == ("Holding", {"v2": 5})
    assert life.condition("MetricsAvailable") == "False NoData"


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (guardrail(output="scroe"), "no output is called 'scroe'; the log has score"),
        (guardrail("wasserstein", abortAbove=1.0), "the output 'score' has labels, of which there is no wasserstein"),
    ],
)
def test_a_measure_that_there_is_not_is_no_data_and_says_why(metric: dict[str, Any], why: str) -> None:
    life = shadow([metric])
    measuring(life, lambda: said(life))
    life.run(300)
    assert life.phase == "Holding"
    assert why in life.message("MetricsAvailable")
