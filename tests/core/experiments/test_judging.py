"""Verdicts: the order of the rules, each by the least that makes it hold."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_core.experiments.judging import Judgement, PastLooks, Rules, judge
from millrace_core.experiments.metric import Epoch, Pair, Sums
from millrace_core.stats.power import METHODS, Method
from millrace_core.stats.results import Effect, Inconclusive
from millrace_core.stats.sequential import ConfidenceSequence
from millrace_core.stats.sums import Counts, Moments, Pairs

EVEN = {"control": 50.0, "v2": 50.0}


def epoch(weights: Mapping[str, float] = EVEN, **counts: tuple[int, int]) -> Epoch:
    return Epoch({arm: Counts(*each) for arm, each in counts.items()}, weights)


def rules(**changes: Any) -> Rules:
    return Rules(**{"kind": "proportion", "planned": 20_000} | changes)


def judged(*epochs: Epoch, **changes: Any) -> Judgement:
    return judge(epochs, "control", rules(**changes))


@pytest.mark.parametrize("method", ["sequential", "groupSequential", "fixed"])
@pytest.mark.parametrize(
    ("successes", "direction", "verdict", "reason"),
    [
        (1400, "increase", "Promote", "PrimaryBetter"),
        (700, "increase", "Rollback", "PrimaryWorse"),
        (700, "decrease", "Promote", "PrimaryBetter"),
        (1400, "decrease", "Rollback", "PrimaryWorse"),
        (1001, "increase", "Inconclusive", "NoDifference"),
    ],
)
def test_a_difference_decides_by_its_direction(
    method: str, successes: int, direction: str, verdict: str, reason: str
) -> None:
    found = judged(epoch(control=(10_000, 1000), v2=(10_000, successes)), method=method, direction=direction)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert found.arm == ("v2" if verdict == "Promote" else "")


def test_while_nothing_is_decided_it_goes_on() -> None:
    found = judged(epoch(control=(5000, 500), v2=(5000, 510)))
    assert (found.verdict, found.reason) == ("Continue", "NotDecided")
    assert "10,000 of 20,000" in found.message


def test_a_fixed_horizon_is_not_judged_before_its_end() -> None:
    before = judged(epoch(control=(5000, 500), v2=(5000, 900)), method="fixed")
    assert (before.verdict, before.reason) == ("Continue", "BeforeHorizon")
    assert judged(epoch(control=(5000, 500), v2=(5000, 900)), method="fixed", planned=0).verdict == "Promote"


def test_a_split_that_is_not_the_wanted_one_comes_before_any_result() -> None:
    found = judged(epoch(control=(10_000, 1000), v2=(9000, 1800)))
    assert (found.verdict, found.reason) == ("Inconclusive", "SampleRatioMismatch")
    assert judged(epoch({"control": 10, "v2": 9}, control=(10_000, 1000), v2=(9000, 1800))).verdict == "Promote"


def test_an_arm_without_units_is_no_pass() -> None:
    found = judged(epoch({"control": 0.999, "v2": 0.001}, control=(300, 30), v2=(0, 0)))
    assert (found.verdict, found.reason) == ("Inconclusive", "NoData")


def test_few_units_are_waited_for() -> None:
    found = judged(epoch(control=(99, 1), v2=(101, 100)))
    assert (found.verdict, found.reason) == ("Continue", "TooFewUnits")
    assert judged(epoch(control=(99, 1), v2=(101, 100)), min_units=50).verdict == "Promote"


def test_units_without_any_difference_among_them_say_nothing() -> None:
    found = judged(epoch(control=(1000, 0), v2=(1000, 0)))
    assert (found.verdict, found.reason) == ("Inconclusive", "NoVariance")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("control", "v2", "verdict"), [(1000, 0, "Rollback"), (0, 1000, "Promote")])
def test_the_largest_difference_that_there_is_decides(method: Method, control: int, v2: int, verdict: str) -> None:
    found = judged(epoch(control=(1000, control), v2=(1000, v2)), method=method, planned=2000)
    assert found.verdict == verdict


def test_a_ramp_confounds_nothing() -> None:
    # Within both epochs v2 is as good as the control; pooled it looks a third worse, because it came later.
    ramp = (
        epoch({"control": 95, "v2": 5}, control=(9500, 1900), v2=(500, 100)),
        epoch(control=(5000, 500), v2=(5000, 500)),
    )
    found = judged(*ramp, planned=100_000)
    assert found.reason == "NotDecided"
    pair = found.challengers["v2"].pair
    assert isinstance(pair, Pair)
    assert pair.effect.difference == pytest.approx(0)
    assert pair.treatment.value < 0.7 * pair.control.value


def test_an_epoch_in_which_no_rare_event_came_counts_with_its_units() -> None:
    none, few = epoch(control=(9000, 0), v2=(9000, 0)), epoch(control=(1000, 5), v2=(1000, 15))
    found = judged(none, few).challengers["v2"].pair
    assert isinstance(found, Pair)
    assert found.effect.n == 20_000
    assert found.effect.difference == pytest.approx(0.001)
    assert isinstance(found.lift, Inconclusive)  # of the first epoch there is none


def test_epochs_of_constant_means_have_a_lift() -> None:
    flat = Epoch({"control": Moments(10, 20, 40), "v2": Moments(10, 30, 90)}, EVEN)
    varied = Epoch({"control": Moments(30, 60, 121), "v2": Moments(30, 60, 121)}, EVEN)
    found = judged(flat, varied, kind="mean").challengers["v2"].pair
    assert isinstance(found, Pair)
    assert isinstance(found.lift, Effect)
    assert (found.effect.difference, found.lift.difference) == (0.25, 0.125)


def test_epochs_without_any_difference_among_units_say_so() -> None:
    found = judged(*[epoch(control=(500, 0), v2=(500, 0))] * 2)
    assert (found.verdict, found.reason) == ("Inconclusive", "NoVariance")


def test_of_several_challengers_each_has_a_part_of_alpha() -> None:
    weights = {"control": 1.0, "v2": 1.0, "v3": 1.0}
    alone = judged(epoch(control=(10_000, 1000), v2=(10_000, 1088)), method="fixed").challengers["v2"]
    three = judged(epoch(weights, control=(10_000, 1000), v2=(10_000, 1088), v3=(10_000, 1000)), method="fixed")
    assert alone.adjusted < 0.05 < three.challengers["v2"].adjusted == pytest.approx(2 * alone.adjusted)
    assert three.reason == "NoDifference"
    best = judged(epoch(weights, control=(10_000, 1000), v2=(10_000, 1300), v3=(10_000, 1400)))
    assert (best.verdict, best.arm) == ("Promote", "v3")
    both = judged(epoch(weights, control=(10_000, 1000), v2=(10_000, 700), v3=(10_000, 1000)), planned=10**6)
    assert both.verdict == "Continue"


def test_the_interval_of_one_of_several_challengers_is_that_of_its_part_of_alpha() -> None:
    weights = {"control": 1.0, "v2": 1.0, "v3": 1.0}
    found = judged(epoch(weights, control=(10_000, 1000), v2=(10_000, 1088), v3=(10_000, 1000))).challengers["v2"]
    assert isinstance(found.pair, Pair)
    assert found.look is not None
    sequence = ConfidenceSequence(20_000, 0.05 / 2)
    sequence.update(found.pair.effect)
    assert found.look.interval == sequence.get().interval


def test_no_interval_of_a_difference_of_shares_reaches_beyond_what_shares_can_be() -> None:
    for method in METHODS:
        look = judged(epoch(control=(3, 0), v2=(3, 3)), method=method, planned=6, min_units=1).challengers["v2"].look
        assert look is not None
        assert -1 <= look.interval.low < look.interval.high == 1


def test_what_was_significant_at_a_look_stays_so() -> None:
    weak = epoch(control=(10_000, 1000), v2=(10_000, 1050))
    assert judge([weak], "control", rules(planned=10**5)).verdict == "Continue"
    assert judge([weak], "control", rules(planned=10**5), {"v2": PastLooks(p=0.001)}).verdict == "Promote"


def test_p_of_two_proportions_at_a_fixed_horizon_is_the_pooled_one() -> None:
    found = judged(epoch(control=(1000, 120), v2=(1000, 145)), method="fixed", planned=2000).challengers["v2"]
    assert found.look is not None
    assert found.look.p == pytest.approx(0.09918, abs=1e-5)


def pairs(n: int, *sums: float) -> Pairs:
    y, yy, x, xx, xy = map(Fraction, sums)
    return Pairs(Moments(n, y, yy), Moments(n, x, xx), xy)


def test_means_ratios_and_covariates_are_judged_by_their_own_estimates() -> None:
    def of(kind: str, control: Sums, treatment: Sums) -> Pair:
        found = judge([Epoch({"control": control, "v2": treatment}, EVEN)], "control", rules(kind=kind))
        pair = found.challengers["v2"].pair
        assert isinstance(pair, Pair)
        return pair

    control, treatment = pairs(200, 400, 1000, 800, 4000, 1900), pairs(200, 440, 1200, 800, 4000, 2000)
    assert of("mean", control.y, treatment.y).effect.difference == pytest.approx(0.2)
    assert of("ratio", control, treatment).effect.difference == pytest.approx(0.05)
    adjusted = of("mean", control, treatment)
    assert adjusted.effect.difference == pytest.approx(0.2)
    assert adjusted.effect.error < of("mean", control.y, treatment.y).effect.error


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 0.5}, "alpha"),
        ({"planned": 0}, "plannedUnits"),
        ({"method": "guess"}, "method"),
        ({"direction": "up"}, "direction"),
        ({"sample_ratio": 0.0}, "srm"),
        ({"min_units": -1}, "minUnits"),
    ],
)
def test_rules_that_cannot_be_are_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RejectError) as refused:
        rules(**change)
    assert refused.value.field == field


def test_arms_that_cannot_be_are_refused_by_field() -> None:
    one = Epoch({"control": Counts()}, {"control": 1.0})
    two = epoch(control=(1, 1), v2=(1, 1))
    other = Epoch({"control": Counts(), "v3": Counts()}, {"control": 1.0, "v3": 1.0})
    for epochs, control, field in (
        ([one], "control", "arms"),
        ([two], "v1", "control"),
        ([two, other], "v2", "epochs[1].arms"),
    ):
        with pytest.raises(RejectError) as refused:
            judge(epochs, control, rules())
        assert refused.value.field == field
