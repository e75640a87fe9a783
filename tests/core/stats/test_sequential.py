"""Tests at many looks, and the sizes that are planned for them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from millrace_core.base.errors import RejectError
from millrace_core.stats import group_sequential, power, sequential
from millrace_core.stats.group_sequential import GroupSequential
from millrace_core.stats.results import Effect
from millrace_core.stats.sequential import ConfidenceSequence, OneSidedSequence

PUBLISHED = [4.8769, 3.3570, 2.6803, 2.2898, 2.0310]
FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]


def paths(count: int, looks: int, drift: float = 0.0) -> np.ndarray:
    """z at equally spaced looks of so many experiments, with a mean of ``drift`` at the last."""
    steps = np.random.default_rng(8).normal(drift / looks, 1 / math.sqrt(looks), (count, looks))
    return np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, looks + 1) / looks)


def test_evidence_is_the_likelihood_ratio_mixed_over_normal_effects() -> None:
    n, rho2, difference, error = 400, 0.01, 0.3, 0.12
    # Effects of standard deviation ρ, in units of the standard deviation of n^-1/2 observations.
    unit = error * math.sqrt(n)

    def ratio(size: float) -> float:
        density = stats.norm.pdf(size, 0, math.sqrt(rho2) * unit)
        return density * stats.norm.pdf(difference, size, error) / stats.norm.pdf(difference, 0, error)

    both = integrate.quad(ratio, -3, 3, points=[0, 0.3])[0]
    above = 2 * integrate.quad(ratio, 0, 3, points=[0.3])[0]
    assert math.exp(sequential.log_evidence(difference, error, n, rho2)) == pytest.approx(both, rel=1e-6)
    assert math.exp(sequential.log_evidence_above(difference, error, n, rho2)) == pytest.approx(above, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.4])
def test_the_interval_ends_where_p_is_alpha(alpha: float) -> None:
    rho2 = sequential.mixture(10_000, alpha)
    half = sequential.half_width(0.2, 3000, rho2, alpha)
    assert sequential.log_evidence(half, 0.2, 3000, rho2) == pytest.approx(-math.log(alpha))
    limit = sequential.critical_above(3000 * rho2, alpha)
    assert sequential.log_evidence_above(limit * 0.2, 0.2, 3000, rho2) == pytest.approx(-math.log(alpha))
    assert limit < half / 0.2


def test_the_interval_is_about_the_narrowest_at_the_planned_units() -> None:
    widths = {
        planned: sequential.half_width(1.0, 10_000, sequential.mixture(planned, 0.05), 0.05)
        for planned in (2_000, 5_000, 10_000, 20_000, 50_000)
    }
    assert min(widths, key=lambda planned: widths[planned]) == 10_000


def test_p_never_rises_and_survives_a_restart() -> None:
    sequence = ConfidenceSequence(1000)
    sequence.update(Effect(1.0, 0.2, 500))
    first = sequence.get()
    assert first.p < 0.05
    assert first.interval.low > 0
    sequence.update(Effect(0.1, 0.2, 600))
    assert sequence.get().p == first.p
    assert sequence.get().interval.low < 0
    again = ConfidenceSequence(1000, p=first.p)
    again.update(Effect(0.1, 0.2, 600))
    assert again.get() == sequence.get()


def test_extreme_effects_overflow_nothing() -> None:
    for sequence in (ConfidenceSequence(10), OneSidedSequence(10), GroupSequential(10)):
        sequence.update(Effect(1e300, 1e-300, 10))
        assert sequence.get().p == pytest.approx(0, abs=1e-12)
        other = type(sequence)(10)
        other.update(Effect(-1e300, 1e-3, 10))
        assert other.get().p == (1 if isinstance(sequence, OneSidedSequence) else pytest.approx(0, abs=1e-12))


def test_a_guardrail_is_breached_by_harm_beyond_its_margin_alone() -> None:
    def p(difference: float, margin: float) -> float:
        guardrail = OneSidedSequence(1000, margin=margin)
        guardrail.update(Effect(difference, 0.1, 1000))
        return guardrail.get().p

    assert p(0.5, 0.0) < 0.05 < p(0.5, 0.4)
    assert p(-0.5, 0.0) == 1
    assert p(0.3, 0.0) < p(-0.3, -0.1)


def test_peeking_keeps_alpha_on_both_sides_and_on_one() -> None:
    looks = 200
    z = paths(4000, looks)
    n = np.arange(1, looks + 1) / looks
    error = 1 / np.sqrt(n)
    for evidence, alpha in ((sequential.log_evidence, 0.05), (sequential.log_evidence_above, 0.05)):
        found = evidence(z * error, error, n, sequential.mixture(1.0, alpha)).max(axis=1) >= -math.log(alpha)
        room = 3 * math.sqrt(alpha * (1 - alpha) / len(z))
        assert 0.005 < found.mean() <= alpha + room


def test_bounds_of_five_looks_are_the_published_ones() -> None:
    assert group_sequential.bounds(FIFTHS, 0.05) == pytest.approx(PUBLISHED, abs=5e-5)
    # gsDesign: gsDesign(k = 3, test.type = 2, alpha = 0.025, sfu = sfLDOF)$upper$bound, as printed in its manual.
    assert group_sequential.bounds([1 / 3, 2 / 3, 1], 0.05) == pytest.approx([3.7103, 2.5114, 1.9930], abs=5e-4)


def test_one_look_is_the_fixed_horizon() -> None:
    assert group_sequential.bounds([1.0], 0.05) == pytest.approx([1.959964], abs=1e-6)
    assert group_sequential.repeated_p(1.959964, [1.0]) == pytest.approx(0.05, rel=1e-3)


def test_bounds_spend_alpha_at_looks_of_any_spacing() -> None:
    for fractions in ([0.5, 0.51, 0.9, 1.2], [0.01, 0.02, 1.0], [(look + 1) / 40 for look in range(40)]):
        bounds = group_sequential.bounds(fractions, 0.05)
        assert group_sequential.crossing(fractions, bounds, 0.0) == pytest.approx(0.05, abs=1e-6)


def test_a_crossing_is_as_probable_as_among_simulated_paths() -> None:
    z = paths(40_000, 5, drift=2.5)
    simulated = (np.abs(z) >= PUBLISHED).any(axis=1).mean()
    assert group_sequential.crossing(FIFTHS, PUBLISHED, 2.5) == pytest.approx(simulated, abs=0.008)


def test_a_group_sequential_test_decides_where_z_is_beyond_its_bound() -> None:
    test = GroupSequential(1000)
    for fraction, bound in zip(FIFTHS, PUBLISHED, strict=True):
        n = round(1000 * fraction)
        for z, significant in ((bound - 0.01, False), (bound + 0.01, True)):
            here = GroupSequential(1000, fractions=test.fractions)
            here.update(Effect(z, 1.0, n))
            assert (here.get().p <= 0.05) is significant
            assert (here.get().interval.low > 0) is significant
        test.update(Effect(0.0, 1.0, n))
    test.update(Effect(9.0, 1.0, 2000))
    assert test.get().p == 1
    assert test.fractions == pytest.approx(FIFTHS)


@pytest.mark.parametrize("fractions", [[0.5, 0.5], [0.0], [1.0, 1.1], [math.nan], [-1.0]])
def test_looks_that_do_not_ascend_are_refused(fractions: list[float]) -> None:
    with pytest.raises(RejectError) as refused:
        group_sequential.bounds(fractions)
    assert refused.value.field == "fractions"


VARIANCES = (0.1 * 0.9, 0.11 * 0.89)


def test_from_10_to_11_percent_takes_the_published_units() -> None:
    fixed = power.size(VARIANCES, 0.01, method="fixed")
    assert (fixed.control, fixed.treatment) == (14_749, 14_749)
    # statsmodels 0.15.0, run once: NormalIndPower().solve_power(0.25, alpha=0.05, power=0.8) is 251.16.
    assert power.size((1.0, 1.0), 0.25, method="fixed").control == 252
    sequential_size = power.size(VARIANCES, 0.01)
    assert sequential_size.control == pytest.approx(28_300, rel=0.005)
    group = power.size(VARIANCES, 0.01, method="groupSequential")
    # Jennison and Turnbull, table 2.4 lists 1.028 for O'Brien and Fleming's own bounds at five looks.
    assert group.control / fixed.control == pytest.approx(1.026, abs=0.004)


@pytest.mark.parametrize("method", power.METHODS)
@pytest.mark.parametrize(("alpha", "wanted", "share"), [(0.05, 0.8, 0.5), (0.01, 0.95, 0.2)])
def test_the_planned_size_has_the_planned_power(
    method: power.Method, alpha: float, wanted: float, share: float
) -> None:
    found = power.size(VARIANCES, 0.01, alpha=alpha, power=wanted, method=method, share=share)
    assert found.treatment / found.total == pytest.approx(share, abs=1e-3)
    reached = power.power_of(found, VARIANCES, 0.01, alpha=alpha, method=method)
    assert wanted <= reached < wanted + 0.03


def test_the_computed_power_of_a_sequence_is_that_of_simulated_ones() -> None:
    looks, alpha = 20, 0.05
    end = power.drift("sequential", alpha, 0.8)
    limits = sequential.critical(np.arange(1, looks + 1) / looks * sequential.mixture(1.0, alpha), alpha)
    simulated = (np.abs(paths(40_000, looks, end)) >= limits).any(axis=1).mean()
    found = power.size((1.0, 1.0), 0.05)
    assert power.power_of(found, (1.0, 1.0), 0.05, looks=looks) == pytest.approx(simulated, abs=0.008)


def test_the_fixed_size_has_half_the_power_or_less_under_a_sequence() -> None:
    fixed = power.size(VARIANCES, 0.01, method="fixed")
    assert (
        0.4 < power.power_of(fixed, VARIANCES, 0.01, looks=1) < power.power_of(fixed, VARIANCES, 0.01, looks=14) < 0.5
    )


def test_weeks_are_whole() -> None:
    assert [power.whole_weeks(units, 100) for units in (1, 700, 701)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"effect": 0}, "effect"),
        ({"effect": math.nan}, "effect"),
        ({"effect": 1e-300}, "effect"),
        ({"variances": (0.0, 1.0)}, "variance"),
        ({"alpha": 0.5}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"power": 1.0}, "power"),
        ({"power": 0.01}, "power"),
        ({"share": 1.0}, "share"),
        ({"method": "bayes"}, "method"),
        ({"method": "groupSequential", "looks": 0}, "looks"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(RejectError) as refused:
        power.size(**{"variances": (1.0, 1.0), "effect": 0.1} | change)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_one_sided_evidence_is_mixed_over_positive_effects_by_the_plan_at_twice_alpha() -> None:
    planned, n, error, difference = 1000, 400, 0.05, 0.12
    logarithm = math.log(2 * 0.05)
    rho2 = (-2 * logarithm + math.log(1 - 2 * logarithm)) / planned
    spread = math.sqrt(rho2 * n) * error

    def likelihood(effect: float) -> float:
        return math.exp(-(((difference - effect) / error) ** 2) / 2)

    def prior(effect: float) -> float:
        return 2 * math.exp(-((effect / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))

    mixed, _ = integrate.quad(lambda effect: likelihood(effect) * prior(effect), 0, 1)
    sequence = OneSidedSequence(planned, 0.05)
    sequence.update(Effect(difference, error, n))
    assert sequence.get().p == pytest.approx(likelihood(0) / mixed)


def test_a_group_sequential_test_that_starts_again_without_a_new_unit_shows_its_last_look() -> None:
    for n in (400, 1000, 1300):
        effect = Effect(0.3, 0.1, n)
        first = GroupSequential(1000)
        first.update(effect)
        again = GroupSequential(1000, fractions=first.fractions, p=first.get().p)
        again.update(effect)
        assert again.get() == first.get()
        assert again.fractions == first.fractions
        again.update(Effect(0.9, 0.1, n))
        assert again.get() == first.get()
        # Outcomes that came since, of no new unit, are no look: p stays.
        later = GroupSequential(1000, fractions=first.fractions, p=first.get().p)
        later.update(Effect(0.9, 0.1, n))
        assert later.get().p == first.get().p
