"""Whole lives of experiments that units decide: what is better is shipped, and nothing else is ever a pass."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.api.experiment_metrics import ArmStatus
from millrace_core.experiments.planning import plan
from millrace_core.experiments.sums import ExperimentSums, MetricSums
from millrace_core.schema import compile_schema
from millrace_operators.facts.fact import Absent, Fact, Failed, Known
from millrace_operators.facts.outcome_sums import OutcomeSums
from tests import builders
from tests.examples import examples
from tests.operators.experiment.life import START, Life

CTR: dict[str, Any] = {
    "name": "ctr",
    "role": "primary",
    "kind": "proportion",
    "mde": "20%",
    "baseline": 0.1,
    "source": {"outcome": "click"},
}
ORDERS = {"name": "orders", "role": "guardrail", "kind": "proportion", "source": {"outcome": "order"}}
DOWN = Failed("the gateway", "Unavailable", "no answer: connection refused")
DAY = 86400
CRD = Path(__file__).parents[3] / "crds" / "experiments.yaml"


def experiment(*more: dict[str, Any], primary: dict[str, Any] = CTR, analysis: dict[str, Any] | None = None) -> Life:
    built = builders.experiment("ab", "shop", "v1", "v2").having("metadata.namespace", "default")
    built = built.having("spec.metrics", [primary, *more])
    built = built.having("spec.analysis", {"interval": "12h", "maxHold": "2d", **(analysis or {})})
    return Life(built.build())


class Gateway:
    """Units that come at an even pace as the weights say, and do things at exactly their rates.

    Attributes:
        rates: of clicks and orders, by arm.
        daily: units of all arms.
        split: where they come otherwise than the weights say: the share of the challenger.
        fact: that is answered instead.
    """

    def __init__(self, life: Life, challenger: float, daily: int = 4000) -> None:
        self.life, self.daily = life, daily
        self.rates = {
            "ctr": {"control": 0.1, "challenger": challenger},
            "orders": {"control": 0.05, "challenger": 0.05},
        }
        self.split: float | None = None
        self.fact: Fact[Any] | None = None
        life.measure = self

    def __call__(self, request: Any) -> Fact[Any]:
        assert request == OutcomeSums("default", "ab")
        return self.fact or Known(self.sums(), "the gateway", self.life.now)

    def sums(self) -> ExperimentSums:
        epochs = self.life.status.epochs or []
        ends = [epoch.start for epoch in epochs[1:]] + [self.life.now]
        exposures: dict[int, dict[str, int]] = {}
        for epoch, end in zip(epochs, ends, strict=True):
            units = (end - epoch.start).total_seconds() / DAY * self.daily
            share = epoch.weights["challenger"] / 100 if self.split is None else self.split
            exposures[epoch.number] = {"control": round(units * (1 - share)), "challenger": round(units * share)}
        metrics = {
            name: {
                index: {arm: self._did(units, rates[arm]) for arm, units in arms.items()}
                for index, arms in exposures.items()
            }
            for name, rates in self.rates.items()
        }
        return ExperimentSums(as_of=self.life.now, whole=True, exposures=exposures, metrics=metrics)

    @staticmethod
    def _did(units: int, rate: float) -> MetricSums:
        did = round(units * rate)
        return MetricSums(n=did, sum=did, sum_squares=did)


def arm(life: Life, name: str = "challenger") -> ArmStatus:
    return next(each for each in life.status.arms or () if each.name == name)


def days(life: Life) -> list[tuple[int, str, str]]:
    """The log in whole days."""
    found = [(entry.split(" day")[0] if " day" in entry else "0", phase, split) for entry, phase, split in life.log]
    return [(int(day), phase, split) for day, phase, split in found]


def test_a_better_challenger_is_shipped_once_the_least_runtime_is_over() -> None:
    life = experiment()
    Gateway(life, 0.15)
    life.run(3 * DAY)
    assert (life.phase, life.status.health, life.status.days_left) == ("Running", "healthy", 5)
    assert life.status.summary == "about 5 days left", "found already, but a week has seven days"
    assert life.condition("SampleRatioOK") == "True AsWeighted"
    life.run(10 * DAY)
    assert days(life)[1:] == [(0, "Running", "v1:80 v2:20"), (7, "Promoting", "v2:100"), (7, "Succeeded", "v2:100")]
    assert life.status.summary == "shipped: challenger is better than control: ship it"
    found = arm(life)
    assert (found.lift, found.units) == ("+50.0%", 5600)
    assert found.p is not None
    assert found.p < 0.05
    assert found.ci is not None
    assert 0 < found.ci[0] < 0.05 < found.ci[1]


@pytest.mark.parametrize("method", ["sequential", pytest.param("groupSequential", marks=pytest.mark.slow), "fixed"])
def test_the_api_server_takes_every_status_of_its_life(method: str) -> None:
    crd = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    schema = compile_schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    life = experiment(ORDERS, analysis={"method": method})
    gateway = Gateway(life, 0.15)
    for day in range(9):
        gateway.fact = DOWN if day == 3 else None
        life.run(DAY)
        document = copy.deepcopy(life.document)
        schema.default(document)
        assert schema.validate(document) == []
        assert schema.prune(document) == [], "every field is known"
    assert life.phase == "Succeeded"


@settings(max_examples=examples(0.1))
@given(st.lists(st.sampled_from(["better", "worse", "down", "split"]), min_size=9, max_size=9))
def test_whatever_comes_a_decision_follows_from_the_last_look_and_none_without_data(looks: list[str]) -> None:
    life = experiment(analysis={"interval": "24h", "maxHold": "20d"})
    gateway = Gateway(life, 0.15)
    for day, look in enumerate(looks):
        gateway.fact = DOWN if look == "down" else None
        gateway.split = 0.4 if look == "split" else None
        gateway.rates["ctr"]["challenger"] = 0.05 if look == "worse" else 0.15
        life.run(DAY + 60 if day == 0 else DAY)
        if day < 6 or look in ("down", "split"):
            assert life.phase == ("Holding" if look == "down" else "Running")
        else:
            assert life.phase == ("Succeeded" if look == "better" else "Failed")
            return


def test_a_worse_challenger_is_taken_back() -> None:
    life = experiment()
    Gateway(life, 0.05)
    life.run(10 * DAY)
    assert (life.phase, life.champion) == ("Failed", "v1")
    assert life.status.decision is not None
    assert life.status.decision.reason == "challenger is worse than control: take it back"


@pytest.mark.parametrize(
    ("field", "choice", "rate", "phase"),
    [
        ("onFailure", "Pause", 0.05, "Paused"),
        ("onSuccess", "Pause", 0.15, "Paused"),
        ("onInconclusive", "KeepControl", 0.1, "Inconclusive"),
        ("onInconclusive", "Pause", 0.1, "Paused"),
    ],
)
def test_what_follows_a_decision_is_as_the_spec_says(field: str, choice: str, rate: float, phase: str) -> None:
    life = experiment()
    life.document["spec"][field] = choice
    Gateway(life, rate)
    life.run(27 * DAY)
    assert life.phase == phase
    if choice == "Pause" and rate == 0.15:
        assert life.status.summary == "ship now: challenger is better than control: ship it"


def test_all_planned_units_without_a_difference_end_it_before_the_time_does() -> None:
    life = experiment()
    gateway = Gateway(life, 0.1, daily=2000)
    life.run(27 * DAY)
    planned = plan("proportion", 0.1, "20%", weight=20).planned
    assert life.status.plan is not None
    assert life.status.plan.units == planned
    [at] = [day for day, phase, _ in days(life) if phase == "Paused"]
    assert at == -(-planned * 2 // gateway.daily) // 2, "the first look after they came"
    assert "NoDifference" in life.moves


def test_too_few_units_are_inconclusive_when_the_greatest_runtime_is_over() -> None:
    life = experiment(analysis={"minRuntime": "1d", "maxRuntime": "54h"})
    Gateway(life, 0.12, daily=200)
    life.run(4 * DAY)
    assert (life.phase, life.routed) == ("Paused", "v1:80 v2:20")
    assert "MaxRuntime" in life.moves
    assert life.status.paused_at is not None
    assert life.status.started_at is not None
    assert life.status.paused_at - life.status.started_at == timedelta(hours=54), "between two looks"


def test_units_that_do_not_come_as_the_weights_say_block_any_decision() -> None:
    life = experiment()
    life.document["spec"]["steps"] = [{"weight": 20, "hold": "2d"}, {"weight": 50}]
    Gateway(life, 0.15).split = 0.3
    life.run(20 * DAY)
    assert (life.phase, life.routed, life.status.health) == ("Running", "v1:80 v2:20", "sample ratio")
    assert life.condition("SampleRatioOK") == "False SampleRatioMismatch"
    assert (life.status.summary or "").startswith("unhealthy: sample ratio: ")
    life.run(10 * DAY)
    assert life.phase == "Paused", "but not for ever"


@pytest.mark.parametrize("fact", [DOWN, Absent("the gateway", START)], ids=["down", "unknown"])
def test_a_gateway_that_is_away_holds_everything_and_what_was_known_is_kept(fact: Fact[Any]) -> None:
    life = experiment()
    gateway = Gateway(life, 0.15)
    life.run(6.6 * DAY)  # found at six looks, and none of them after the week
    before = life.status
    gateway.fact = fact
    life.run(DAY)
    assert (life.phase, life.status.health) == ("Holding", "no data")
    assert life.condition("MetricsAvailable") == "False NoData"
    assert life.status.arms == before.arms
    gateway.fact = None
    life.run(DAY)
    assert life.phase == "Succeeded"


def test_a_gateway_that_stays_away_pauses_an_ab_test() -> None:
    life = experiment()
    Gateway(life, 0.15).fact = DOWN
    life.run(4 * DAY)
    assert (life.phase, life.routed) == ("Paused", "v1:80 v2:20")
    assert (life.status.summary or "").startswith("no data since 2026-01-01T12:")


def test_no_units_at_all_are_no_pass() -> None:
    life = experiment()
    Gateway(life, 0.15, daily=0)
    life.run(27 * DAY)
    assert (life.phase, life.status.days_left) == ("Running", None)
    assert life.condition("SampleRatioOK") == "Unknown NoUnits"


def test_p_never_rises_whatever_comes_after() -> None:
    life = experiment(analysis={"minRuntime": "27d"})
    gateway = Gateway(life, 0.115)
    seen = []
    for day in range(12):
        gateway.rates["ctr"]["challenger"] = 0.115 if day < 6 else 0.1
        life.run(DAY)
        seen.append(arm(life).p or 0.0)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > seen[6] == seen[-1]


def test_a_group_sequential_test_is_looked_at_five_times_and_shows_nothing_between() -> None:
    life = experiment(analysis={"method": "groupSequential", "minRuntime": "1d"})
    Gateway(life, 0.101)
    life.run(DAY)
    assert (arm(life).p, arm(life).units > 0) == (None, True)
    life.run(26 * DAY)
    [past] = (life.status.analysis and life.status.analysis.past) or []
    assert len(past.fractions or ()) == 5
    assert life.phase == "Paused"


def test_of_challengers_with_unlike_weights_each_has_its_last_look() -> None:
    life = experiment(analysis={"method": "groupSequential", "minRuntime": "1d"})
    life.document["spec"]["arms"] = [
        {"name": "control", "deployment": "v1", "control": True},
        {"name": "most", "deployment": "v2", "weight": 50},
        {"name": "least", "deployment": "v3", "weight": 10},
    ]

    def measure(request: Any) -> Fact[Any]:
        [epoch] = life.status.epochs or []
        units = (life.now - epoch.start).total_seconds() / DAY * 4000
        exposures = {0: {arm: round(units * weight / 100) for arm, weight in epoch.weights.items()}}
        did = {0: {arm: Gateway._did(count, 0.1) for arm, count in exposures[0].items()}}
        sums = ExperimentSums(as_of=life.now, whole=True, exposures=exposures, metrics={"ctr": did})
        return Known(sums, "the gateway", life.now)

    life.measure = measure
    life.run(26 * DAY)
    analysis = life.status.analysis
    assert analysis is not None
    fractions = {each.arm: each.fractions or [] for each in analysis.past or ()}
    assert [analysis.primary and analysis.primary.reason, len(fractions["least"]), fractions["least"][-1] >= 1] == [
        "NoDifference",
        5,
        True,
    ]


def test_a_last_look_that_decides_counts_though_the_longest_runtime_is_over() -> None:
    life = experiment(analysis={"minRuntime": "7d", "maxRuntime": "7d"})
    Gateway(life, 0.15)
    life.run(8 * DAY)
    assert life.phase == "Succeeded"


@pytest.mark.parametrize(("challengers", "phase"), [(("v2",), "Failed"), (("v2", "v3"), "Running")])
def test_alpha_of_guardrails_is_divided_among_all_challengers(challengers: tuple[str, ...], phase: str) -> None:
    """Orders of v2 are fewer by a p between alpha / 2 and alpha."""
    life = experiment(ORDERS)
    arms = [{"name": name, "deployment": name, "weight": 20} for name in challengers]
    life.document["spec"]["arms"] = [{"name": "control", "deployment": "v1", "control": True}, *arms]

    def measure(request: Any) -> Fact[Any]:
        [epoch] = life.status.epochs or []
        exposures = {0: {arm: 200 * weight for arm, weight in epoch.weights.items()}}
        metrics = {
            name: {0: {arm: Gateway._did(units, rates.get(arm, rates[""])) for arm, units in exposures[0].items()}}
            for name, rates in (("ctr", {"": 0.1}), ("orders", {"": 0.05, "v2": 0.039}))
        }
        sums = ExperimentSums(as_of=life.now, whole=True, exposures=exposures, metrics=metrics)
        return Known(sums, "the gateway", life.now)

    life.measure = measure
    life.run(DAY)
    assert life.phase == phase


def test_a_fixed_horizon_shows_nothing_before_its_end() -> None:
    life = experiment(analysis={"method": "fixed"})
    Gateway(life, 0.13, daily=1200)
    life.run(6 * DAY)
    assert (arm(life).p, arm(life).estimate, life.phase) == (None, None, "Running")
    life.run(12 * DAY)
    assert life.phase == "Succeeded"


def test_a_ramp_is_no_mismatch_and_time_is_not_taken_for_an_effect() -> None:
    life = experiment()
    life.document["spec"]["steps"] = [{"weight": 5, "hold": "2d"}, {"weight": 50}]
    gateway = Gateway(life, 0.1, daily=1500)
    life.run(5 * DAY)
    assert life.routed == "v1:50 v2:50"
    life.run(3 * DAY)
    assert life.condition("SampleRatioOK") == "True AsWeighted"
    assert abs(arm(life).estimate or 0) < 0.001
    gateway.rates["ctr"]["challenger"] = 0.14
    life.run(10 * DAY)
    assert life.phase == "Succeeded"


def test_what_no_size_can_find_keeps_it_from_starting() -> None:
    life = experiment(primary={**CTR, "baseline": 0.95})
    life.run(DAY)
    assert (life.phase, life.condition("Accepted")) == ("Pending", "False Invalid")
    assert "spec.metrics[0].mde" in life.message("Accepted")


def test_a_guardrail_over_outcomes_takes_back_what_is_worse_before_any_runtime() -> None:
    life = experiment(ORDERS)
    gateway = Gateway(life, 0.15)
    gateway.rates["orders"]["challenger"] = 0.02
    life.run(7 * DAY)
    assert life.phase == "Failed"
    assert life.status.decision is not None
    assert life.status.decision.reason.startswith("orders of challenger is worse than that of control: -0.03 (p = ")


def test_within_its_margin_a_guardrail_may_be_worse() -> None:
    life = experiment({**ORDERS, "margin": 0.04})
    gateway = Gateway(life, 0.15)
    gateway.rates["orders"]["challenger"] = 0.02
    life.run(10 * DAY)
    assert life.phase == "Succeeded"


def test_a_canary_takes_no_step_before_its_guardrail_over_outcomes_has_its_units() -> None:
    built = builders.canary("ab", "shop", "v1", "v2", [{"weight": 5, "hold": "1h"}, {"weight": 50}])
    built = built.having("metadata.namespace", "default").having("spec.metrics", [ORDERS])
    life = Life(built.having("spec.analysis", {"interval": "1h", "minUnits": 50}).build())
    Gateway(life, 0.1, daily=4800)  # 10 of them an hour
    life.run(4.5 * 3600)
    assert (life.routed, life.moves[-1]) == ("v1:95 v2:5", "TooFewUnits")
    life.run(3600)
    assert life.routed == "v1:50 v2:50"


def test_a_guardrail_that_nobody_ever_does_is_no_harm() -> None:
    built = builders.canary("ab", "shop", "v1", "v2", [{"weight": 5, "hold": "1h"}, {"weight": 50}])
    built = built.having("metadata.namespace", "default").having("spec.metrics", [ORDERS])
    life = Life(built.having("spec.analysis", {"interval": "1h", "minUnits": 50}).build())
    Gateway(life, 0.1, daily=48_000).rates["orders"] = {"control": 0.0, "challenger": 0.0}
    life.run(4 * 3600)
    assert life.phase == "Succeeded"
