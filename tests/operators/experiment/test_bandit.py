"""Whole lives of bandits: traffic goes to what is better, step by step, and stays where it is while nobody says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace_core.experiments.sums import ExperimentSums, MetricSums
from millrace_core.schema import compile_schema
from millrace_operators.facts.fact import Absent, Fact, Failed, Known
from tests import builders
from tests.operators.experiment.life import START, Life

HOUR, DAY = 3600, 86400
DOWN = Failed("the gateway", "Unavailable", "no answer: connection refused")
CRD = Path(__file__).parents[3] / "crds" / "experiments.yaml"


def bandit(*, of_three: bool = False, analysis: dict[str, Any] | None = None, **settings: Any) -> Life:
    built = builders.bandit("ab", "shop", "v1", "v2").having("metadata.namespace", "default")
    built = built.having("spec.analysis", {"interval": "30m", "maxHold": "5h", **(analysis or {})})
    if of_three:
        arms = [{"name": name, "deployment": name, "control": name == "v1"} for name in ("v1", "v2", "v3")]
        built = built.having("spec.arms", arms)
    document = built.having("spec.bandit", settings).build()
    document["metadata"]["uid"] = "uid-of-ab"
    return Life(document)


class Clicks:
    """Units that come at an even pace as the weights say, and click at exactly their rates.

    Attributes:
        rates: by arm, of the epochs that are still to come.
        past: of those that have begun.
        hourly: units of all arms.
        split: where they come otherwise than the weights say, the shares by arm.
        fact: that is answered instead.
    """

    def __init__(self, life: Life, *rates: float, hourly: int = 1000) -> None:
        names = [arm["name"] for arm in life.document["spec"]["arms"]]
        self.life, self.hourly, self.rates = life, hourly, dict(zip(names, rates, strict=True))
        self.past: dict[int, dict[str, float]] = {}
        self.split: dict[str, float] | None = None
        self.fact: Fact[Any] | None = None
        life.measure = self

    def __call__(self, _request: Any) -> Fact[Any]:
        return self.fact or Known(self.sums(), "the gateway", self.life.now)

    def sums(self) -> ExperimentSums:
        epochs = self.life.status.epochs or []
        ends = [epoch.start for epoch in epochs[1:]] + [self.life.now]
        exposures: dict[int, dict[str, int]] = {}
        for epoch, end in zip(epochs, ends, strict=True):
            came = (end - epoch.start).total_seconds() / HOUR * self.hourly
            shares = self.split or {arm: weight / 100 for arm, weight in epoch.weights.items()}
            exposures[epoch.number] = {arm: round(came * share) for arm, share in shares.items()}
        clicks = {
            number: {
                arm: self._did(units, self.past.setdefault(number, self.rates)[arm]) for arm, units in arms.items()
            }
            for number, arms in exposures.items()
        }
        return ExperimentSums(as_of=self.life.now, whole=True, exposures=exposures, metrics={"ctr": clicks})

    @staticmethod
    def _did(units: int, rate: float) -> MetricSums:
        did = round(units * rate)
        return MetricSums(n=did, sum=did, sum_squares=did)


def moves(life: Life) -> list[tuple[str, str]]:
    """Phase and split, each once."""
    return [(phase, split) for _, phase, split in life.log]


def test_traffic_goes_to_the_better_arm_hour_by_hour_and_it_is_promoted_once_the_least_runtime_is_over() -> None:
    life = bandit(analysis={"minRuntime": "6h"})
    Clicks(life, 0.10, 0.15)
    life.run(DAY)
    assert life.log[1:] == [
        ("0:00:00.500000", "Running", "v1:50 v2:50"),
        ("1:00:01", "Running", "v1:30 v2:70"),
        ("2:00:01.500000", "Running", "v1:10 v2:90"),
        ("3:00:02", "Running", "v1:5 v2:95"),
        ("6:00:03.500000", "Promoting", "v2:100"),
        ("6:00:04", "Succeeded", "v2:100"),
    ]
    assert life.champion == "v2"
    assert life.status.decision is not None
    assert life.status.decision.reason.startswith("challenger is the best with a chance of ")
    assert (life.status.summary or "").startswith("shipped: challenger is the best")


def test_every_reweighting_is_an_epoch_also_where_the_weights_stay() -> None:
    life = bandit()
    Clicks(life, 0.10, 0.15)
    life.run(6.5 * HOUR)
    epochs = life.status.epochs or []
    assert [(epoch.number, epoch.reason, epoch.weights["challenger"]) for epoch in epochs] == [
        (0, "WeightsChanged", 50),
        (1, "Reweighted", 70),
        (2, "Reweighted", 90),
        (3, "Reweighted", 95),
        (4, "Reweighted", 95),
        (5, "Reweighted", 95),
        (6, "Reweighted", 95),
    ]
    assert life.status.bandit is not None
    assert (life.status.bandit.number, life.status.bandit.weights) == (6, {"control": 5, "challenger": 95})
    found = {arm.name: arm for arm in life.status.arms or ()}
    assert (found["challenger"].p_best or 0) > 0.99
    assert found["challenger"].value == pytest.approx(0.15, abs=0.001)
    assert (found["challenger"].p, found["challenger"].ci) == (None, None), "no p-value of weights that moved"
    assert life.condition("SampleRatioOK") == "True AsWeighted"
    assert (life.status.summary or "").startswith("challenger is the best so far, with a chance of 99.")


def test_three_arms_begin_alike_and_the_best_of_them_gets_the_traffic() -> None:
    life = bandit(of_three=True, floor=0.1)
    Clicks(life, 0.10, 0.14, 0.10)
    life.run(6 * HOUR)
    assert moves(life)[1] == ("Running", "v1:34 v2:33 v3:33")
    assert moves(life)[-1] == ("Running", "v1:10 v2:80 v3:10")


def test_what_gets_worse_later_loses_its_traffic_again() -> None:
    life = bandit(decay=0.7)
    clicks = Clicks(life, 0.10, 0.15, hourly=5000)
    life.run(6 * HOUR)
    assert life.routed == "v1:5 v2:95"
    clicks.rates = {"control": 0.15, "challenger": 0.05}
    life.run(10 * HOUR)
    assert life.routed == "v1:95 v2:5"


def test_the_control_may_be_the_best_and_stays_the_champion() -> None:
    life = bandit(analysis={"minRuntime": "6h"})
    Clicks(life, 0.15, 0.10)
    life.run(DAY)
    assert (moves(life)[-1], life.champion) == (("Succeeded", "v1:100"), "v1")
    assert life.status.decision is not None
    assert life.status.decision.arm == "control"


def test_weights_stay_until_each_arm_has_its_units() -> None:
    life = bandit(analysis={"minUnits": 500})
    Clicks(life, 0.10, 0.30, hourly=200)
    life.run(4.5 * HOUR)
    assert (moves(life)[-1], "Reweighted" in life.moves) == (("Running", "v1:50 v2:50"), False)
    assert life.status.summary == "control has 400 units; 500 are needed before any reweighting"
    life.run(HOUR)
    assert life.routed == "v1:30 v2:70"


@pytest.mark.parametrize("fact", [DOWN, Absent("the gateway", START)], ids=["down", "unknown"])
def test_an_outage_holds_the_weights_says_why_and_pauses_it_in_the_end(fact: Fact[Any]) -> None:
    life = bandit()
    clicks = Clicks(life, 0.10, 0.15)
    life.run(1.6 * HOUR)
    clicks.fact = fact
    life.run(4 * HOUR)
    assert moves(life)[-1] == ("Holding", "v1:30 v2:70")
    assert life.condition("MetricsAvailable") == "False NoData"
    assert life.status.bandit is not None
    assert life.status.bandit.number == 1
    life.run(2 * HOUR)
    assert moves(life)[-1] == ("Paused", "v1:30 v2:70")


def test_after_an_outage_a_new_look_comes_before_the_next_reweighting() -> None:
    life = bandit()
    clicks = Clicks(life, 0.10, 0.15)
    life.run(1.6 * HOUR)
    clicks.fact = DOWN
    life.run(4 * HOUR)
    clicks.fact, clicks.past = None, {each: {"control": 0.15, "challenger": 0.05} for each in clicks.past}
    life.run(1.1 * HOUR)
    assert moves(life)[-1] == ("Running", "v1:50 v2:50"), "by what is known now"


def test_no_units_at_all_move_nothing_and_are_inconclusive_in_the_end() -> None:
    life = bandit(analysis={"minRuntime": "6h", "maxRuntime": "12h"})
    Clicks(life, 0.10, 0.15, hourly=0)
    life.run(9 * HOUR)
    assert moves(life)[-1] == ("Running", "v1:50 v2:50")
    assert life.condition("SampleRatioOK") == "Unknown NoUnits"
    life.run(4 * HOUR)
    assert (moves(life)[-1], "MaxRuntime" in life.moves) == (("Paused", "v1:50 v2:50"), True)


def test_arms_that_are_alike_are_inconclusive_when_the_greatest_runtime_is_over() -> None:
    life = bandit(analysis={"minRuntime": "6h", "maxRuntime": "12h"})
    life.document["spec"]["onInconclusive"] = "KeepControl"
    Clicks(life, 0.10, 0.10)
    life.run(DAY)
    assert moves(life)[-1] == ("Inconclusive", "v1:100")


def test_units_that_do_not_come_as_the_weights_say_hold_the_weights() -> None:
    life = bandit()
    Clicks(life, 0.10, 0.15).split = {"control": 0.6, "challenger": 0.4}
    life.run(5 * HOUR)
    assert (moves(life)[-1], life.status.health) == (("Running", "v1:50 v2:50"), "sample ratio")
    assert life.condition("SampleRatioOK") == "False SampleRatioMismatch"


def test_an_arm_that_is_not_ready_gets_nothing_and_its_weight_back_when_it_is() -> None:
    life = bandit()
    Clicks(life, 0.10, 0.15)
    life.run(1.6 * HOUR)
    life.ready("v2", False)
    life.run(5 * HOUR)
    assert moves(life)[-1] == ("Running", "v1:100")
    life.ready("v2", True)
    life.run(60)
    assert life.routed == "v1:30 v2:70"


def test_a_pause_holds_the_weights_and_a_person_may_end_it() -> None:
    life = bandit()
    Clicks(life, 0.10, 0.15)
    life.run(1.6 * HOUR)
    life.command = "1:pause"
    life.run(5 * HOUR)
    assert moves(life)[-1] == ("Paused", "v1:30 v2:70")
    life.command = "2:resume"
    life.run(HOUR)
    assert life.routed == "v1:10 v2:90"
    life.command = "3:abort"
    life.run(60)
    assert (moves(life)[-1], life.champion) == (("Failed", "v1:100"), "v1")


def test_its_settings_may_be_changed_while_it_runs() -> None:
    life = bandit()
    Clicks(life, 0.10, 0.15)
    life.run(4 * HOUR)
    life.document["spec"]["bandit"] = {"floor": 0.2, "every": "6h"}
    life.run(5 * HOUR)
    assert life.routed == "v1:5 v2:95"
    life.run(2 * HOUR)
    assert life.routed == "v1:20 v2:80"


@pytest.mark.slow
def test_the_api_server_takes_its_status_and_it_keeps_a_hundred_epochs_with_their_numbers() -> None:
    crd = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    schema = compile_schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    life = bandit(every="5m", analysis={"interval": "5m"})
    Clicks(life, 0.10, 0.101)
    life.run(10 * HOUR)
    epochs = life.status.epochs or []
    assert (len(epochs), epochs[-1].number - epochs[0].number) == (100, 99)
    assert epochs[0].number > 0
    document = copy.deepcopy(life.document)
    schema.default(document)
    assert schema.validate(document) == []
    assert schema.prune(document) == [], "every field is known"


def test_units_get_no_slots_since_the_weights_go_to_and_fro() -> None:
    life = bandit()
    Clicks(life, 0.10, 0.15)
    life.run(60)
    assert life.status.assignment is not None
    assert (life.status.assignment.slots, life.status.assignment.salt) == ([], "uid-of-ab")
