"""Tests and intervals at a fixed horizon: published values, scipy, and what went wrong elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from millrace_core.base.errors import RejectError
from millrace_core.stats import lift, mean, proportion, quantile
from millrace_core.stats.epochs import over_epochs
from millrace_core.stats.multiple import benjamini_hochberg, holm
from millrace_core.stats.results import Comparison, Effect, Estimate, Inconclusive
from millrace_core.stats.sample_ratio import SampleRatio
from millrace_core.stats.sums import Counts, Moments, Pairs, RunningMoments, RunningPairs
from tests.examples import examples


def moments(values: object) -> Moments:
    running = RunningMoments()
    running.update(values)
    return running.get()


def pairs(y: object, x: object) -> Pairs:
    running = RunningPairs()
    running.update(y, x)
    return running.get()


def test_two_proportions_have_the_published_z_p_and_chance_to_be_better() -> None:
    control, treatment = Counts(1000, 120), Counts(1000, 145)
    found = proportion.two_proportions(control, treatment)
    assert isinstance(found, Comparison)
    assert (found.statistic, found.p) == pytest.approx((1.64885, 0.09918), abs=1e-5)
    assert proportion.probability_better(control, treatment) == pytest.approx(0.950197, abs=1e-6)
    # statsmodels 0.15.0, run once: proportions_ztest([145, 120], [1000, 1000]) and
    # confint_proportions_2indep(145, 1000, 120, 1000, method="wald").
    assert (found.statistic, found.p) == pytest.approx((1.648854485267929, 0.09917744952840564), rel=1e-12)
    peer = (-0.00469685014880963, 0.05469685014880962)
    assert (found.interval.low, found.interval.high) == pytest.approx(peer, rel=1e-10)


def test_welch_has_the_published_interval_and_p() -> None:
    control = mean.mean(Moments(3407, Fraction("1396.87"), Fraction("52377.9767")))
    treatment = mean.mean(Moments(3461, Fraction("2422.7"), Fraction("134698.29")))
    assert isinstance(control, Estimate)
    assert isinstance(treatment, Estimate)
    found = mean.welch(control, treatment)
    assert isinstance(found, Comparison)
    assert found.effect.difference == pytest.approx(0.29, abs=1e-6)
    assert (found.interval.low, found.interval.high, found.p) == pytest.approx((0.04538, 0.53462, 0.02016), abs=1e-5)


def test_welch_is_that_of_scipy_down_to_two_units() -> None:
    random = np.random.default_rng(3)
    for sizes in ((2, 2), (2, 50), (40, 9)):
        a, b = (random.normal(side, 1 + side, size) for side, size in enumerate(sizes))
        found = mean.welch(mean.mean(moments(a)), mean.mean(moments(b)), 0.1)  # type: ignore[arg-type]
        peer = stats.ttest_ind(b, a, equal_var=False)
        assert isinstance(found, Comparison)
        assert (found.statistic, found.p) == pytest.approx((peer.statistic, peer.pvalue), rel=1e-10)
        interval = peer.confidence_interval(0.9)
        assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-10)


def test_the_variance_of_a_ratio_is_that_of_resampled_units() -> None:
    random = np.random.default_rng(4)
    visits = random.poisson(4, 2000) + 1.0
    clicks = random.binomial(visits.astype(int), 0.3).astype(float)
    found = mean.ratio(pairs(clicks, visits))
    assert isinstance(found, Estimate)
    units = random.integers(0, 2000, (4000, 2000))
    resampled = (clicks[units].sum(axis=1) / visits[units].sum(axis=1)).std()
    assert found.value == pytest.approx(clicks.sum() / visits.sum())
    assert found.error == pytest.approx(resampled, rel=0.05)


def test_cuped_removes_what_the_covariate_explains_and_leaves_the_effect() -> None:
    random = np.random.default_rng(5)
    before = random.normal(10, 2, (2, 5000))
    after = before + random.normal(0, 1, (2, 5000)) + np.array([[0.0], [0.2]])
    arms = [pairs(after[arm], before[arm]) for arm in (0, 1)]
    adjusted = mean.cuped(arms)
    assert not isinstance(adjusted, Inconclusive)
    theta = sum(np.cov(after[arm], before[arm])[0, 1] for arm in (0, 1)) / sum(
        before[arm].var(ddof=1) for arm in (0, 1)
    )
    for arm, found in enumerate(adjusted):
        assert found.value == pytest.approx(after[arm].mean() - theta * (before[arm].mean() - before.mean()))
        assert found.variance == pytest.approx((after[arm] - theta * before[arm]).var(ddof=1))
        assert found.variance == pytest.approx(1, rel=0.1)
    assert adjusted[1].value - adjusted[0].value == pytest.approx(0.2, abs=0.08)


def test_a_covariate_that_does_not_vary_adjusts_nothing() -> None:
    arms = [pairs([1.0, 2.0, 4.0], [7.0, 7.0, 7.0]), pairs([1.0, 3.0], [7.0, 7.0])]
    assert mean.cuped(arms) == tuple(mean.mean(arm.y) for arm in arms)


def test_a_covariate_that_reaches_to_the_exposure_is_refused() -> None:
    mean.require_pre_exposure([1, 4], [2, 5])
    with pytest.raises(RejectError, match=r"covariates of 1 units .* at index 1") as refused:
        mean.require_pre_exposure([1, 5], [2, 5])
    assert refused.value.field == "covariate"


@pytest.mark.parametrize(("control", "treatment", "sign"), [(-10, -9, 1), (-10, -11, -1), (10, 11, 1), (10, 9, -1)])
def test_a_lift_has_the_sign_of_its_difference_over_a_negative_baseline_too(
    control: float, treatment: float, sign: int
) -> None:
    # growthbook/growthbook#6658
    found = lift.relative(Estimate(1000, control, 4.0), Estimate(1000, treatment, 4.0))
    assert isinstance(found, Effect)
    assert found.difference == pytest.approx(sign * 0.1)


def test_the_error_of_a_lift_is_that_of_simulated_lifts() -> None:
    random = np.random.default_rng(6)
    control, treatment = random.normal(-5, 0.2, 200_000), random.normal(-4, 0.3, 200_000)
    found = lift.relative(Estimate(100, -5, 4.0), Estimate(100, -4, 9.0))
    assert isinstance(found, Effect)
    assert found.error == pytest.approx(((treatment - control) / np.abs(control)).std(), rel=0.02)


def test_a_lift_over_a_baseline_that_may_be_0_says_nothing() -> None:
    assert lift.relative(Estimate(100, 0.1, 1.0), Estimate(100, 5, 1.0)) == lift.NEAR_ZERO
    assert lift.relative(Estimate(100, 0.0, 1.0), Estimate(100, 5, 1.0)) == lift.NEAR_ZERO


@pytest.mark.parametrize(("n", "q"), [(30, 0.5), (400, 0.9), (5000, 0.99)])
def test_an_interval_of_ranks_holds_the_quantile_as_often_as_it_says(n: int, q: float) -> None:
    found = quantile.ranks(n, q)
    assert not isinstance(found, Inconclusive)
    low, high = found
    # The quantile is at or above the order statistic `low` and below `high` when low < units below it <= high.
    covered = stats.binom.cdf(high, n, q) - stats.binom.cdf(low, n, q)
    assert 0.95 <= covered < 0.98


def test_the_error_of_a_quantile_is_that_of_simulated_ones() -> None:
    random = np.random.default_rng(7)
    values = random.exponential(1, (400, 2000))
    found = [quantile.quantile(each, 0.9) for each in values[:40]]
    errors = [each.error for each in found if isinstance(each, Estimate)]
    assert np.mean(errors) == pytest.approx(np.quantile(values, 0.9, axis=1).std(), rel=0.15)


def test_a_quantile_among_tied_values_is_no_certainty() -> None:
    # growthbook/growthbook#6250
    assert quantile.quantile(np.repeat([1.0, 2.0], [900, 100]), 0.5) == quantile.COLLAPSED
    few = quantile.quantile([1.0, 2.0, 3.0], 0.99)
    assert isinstance(few, Inconclusive)
    assert few.reason == "TooFewUnits"


def test_an_extreme_z_is_a_p_of_0_and_no_overflow() -> None:
    # growthbook/growthbook#5911
    found = proportion.two_proportions(Counts(10**9, 1), Counts(10**9, 10**9 - 1))
    assert isinstance(found, Comparison)
    assert found.p == 0
    assert found.statistic > 1e4
    assert proportion.probability_better(Counts(10**9, 1), Counts(10**9, 10**9 - 1)) == 1


def test_all_of_one_arm_and_none_of_the_other_differ_by_the_pooled_error() -> None:
    # R: prop.test(c(100, 0), c(100, 100), correct = FALSE) has a chi-squared of 200.
    found = proportion.two_proportions(Counts(100, 100), Counts(100, 0))
    assert isinstance(found, Comparison)
    assert found.statistic == pytest.approx(-math.sqrt(200))
    assert found.interval.low == -1
    assert -1 < found.interval.high < -0.8


COUNTS = st.integers(0, 50).flatmap(lambda n: st.builds(Counts, st.just(n), st.integers(0, n)))


@settings(max_examples=examples(2))
@given(COUNTS, COUNTS)
def test_no_counts_make_a_number_that_is_none(control: Counts, treatment: Counts) -> None:
    found = proportion.two_proportions(control, treatment)
    if isinstance(found, Comparison):
        assert 0 <= found.p <= 1
        assert -1 <= found.interval.low <= found.interval.high <= 1
    else:
        assert found.reason == ("NoUnits" if 0 in (control.n, treatment.n) else "NoVariance")
        assert control.successes * treatment.n == treatment.successes * control.n
    assert 0 <= proportion.probability_better(control, treatment) <= 1


@settings(max_examples=examples(2))
@given(*[st.lists(st.floats(-1e100, 1e100), max_size=5)] * 2)
def test_no_values_make_a_number_that_is_none(control: list[float], treatment: list[float]) -> None:
    estimates = [mean.mean(moments(each)) for each in (control, treatment)]
    for values, found in zip((control, treatment), estimates, strict=True):
        if isinstance(found, Inconclusive):
            assert found.reason == ("TooFewUnits" if values else "NoUnits")
            return
    compared = mean.welch(*estimates)  # type: ignore[arg-type]
    if isinstance(compared, Comparison):
        assert 0 <= compared.p <= 1
        assert math.isfinite(compared.interval.low + compared.interval.high)
    else:
        assert compared.reason == "NoVariance"


def test_a_ratio_without_denominators_says_nothing() -> None:
    assert mean.ratio(pairs([1.0, 2.0], [1.0, -1.0])) == mean.NO_DENOMINATOR


def test_epochs_are_weighted_by_their_units_so_that_a_ramp_confounds_nothing() -> None:
    # Ten times the units came in the second epoch, in which everybody buys less; within each the effect is 1.
    early, late = Effect(1.0, 0.5, 1000), Effect(1.0, 0.1, 10_000)
    found = over_epochs([early, late])
    assert isinstance(found, Effect)
    assert found.difference == pytest.approx(1.0)
    assert found.error == pytest.approx(math.hypot(0.5 / 11, 0.1 * 10 / 11))
    assert found.n == 11_000
    uneven = over_epochs([Effect(3.0, 0.5, 1000), Effect(1.0, 0.1, 3000)])
    assert isinstance(uneven, Effect)
    assert uneven.difference == pytest.approx(1.5)
    assert over_epochs([early]) == pytest.approx(early)
    assert isinstance(over_epochs([]), Inconclusive)


def test_holm_and_benjamini_hochberg_have_the_published_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg([0.01, 0.02, 0.03, 0.04, 0.9]) == pytest.approx([0.05] * 4 + [0.9])
    assert holm([]) == []
    with pytest.raises(RejectError, match="from 0 to 1"):
        holm([0.5, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_benjamini_hochberg_is_that_of_scipy(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_a_sample_ratio_has_the_published_p_and_epochs_add_up() -> None:
    found = SampleRatio()
    found.update({"a": 821588, "b": 815482}, {"a": 1, "b": 1})
    assert found.get() == pytest.approx(1.82e-6, rel=0.002)
    both = SampleRatio()
    both.update({"a": 480, "b": 520}, {"a": 50, "b": 50})
    both.update({"a": 610, "b": 390, "off": 3}, {"a": 60, "b": 40, "off": 0})
    assert both.get() == pytest.approx(stats.chi2.sf(20**2 / 500 * 2 + 10**2 / 600 + 10**2 / 400, 2))


def test_a_sample_ratio_of_no_units_or_of_one_arm_says_nothing_and_units_without_a_weight_are_refused() -> None:
    found = SampleRatio()
    found.update({}, {"a": 1, "b": 1})
    found.update({"a": 10}, {"a": 1, "b": 0})
    assert isinstance(found.get(), Inconclusive)
    with pytest.raises(RejectError) as refused:
        found.update({"c": 1}, {"a": 1})
    assert refused.value.field == "weights.c"
