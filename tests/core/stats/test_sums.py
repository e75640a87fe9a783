"""Sufficient statistics: exact, mergeable, and no others than real units have."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.stats.exact import exact_products, exact_sum
from millrace_core.stats.sums import Counts, Moments, Pairs, RunningCounts, RunningMoments, RunningPairs

FINITE = st.floats(-1e140, 1e140, allow_nan=False)


@given(st.lists(st.tuples(FINITE, FINITE), max_size=12))
def test_sums_of_values_and_of_products_are_exact(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array([pair[side] for pair in pairs], np.float64) for side in (0, 1))
    assert exact_sum(x) == sum(map(Fraction, x.tolist()), Fraction(0))
    assert exact_products(x, y) == sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


def test_subnormal_numbers_and_blocks_of_many_values_are_exact_too() -> None:
    tiny = np.full(200_000, 5e-324)
    assert exact_sum(tiny) == Fraction(5e-324) * 200_000
    assert exact_products(tiny, -tiny) == -(Fraction(5e-324) ** 2) * 200_000


@given(st.lists(FINITE, min_size=2, max_size=12), st.integers(0, 12))
def test_parts_of_an_arm_merge_to_the_same_sums_whatever_the_parts(values: list[float], cut: int) -> None:
    whole, first, second = RunningMoments(), RunningMoments(), RunningMoments()
    whole.update(values)
    for part, units in ((first, values[:cut]), (second, values[cut:])):
        for unit in units:
            part.update(unit)
    assert second.get() + first.get() == whole.get()


def test_a_spread_of_1_beside_a_mean_of_a_billion_is_kept() -> None:
    values = 1e9 + np.random.default_rng(1).normal(0, 1, 10_000)
    running = RunningMoments()
    running.update(values)
    assert float(running.get().variance) == pytest.approx(statistics.variance(values.tolist()), rel=1e-12)
    naive = ((values**2).sum() - values.sum() ** 2 / len(values)) / (len(values) - 1)
    assert naive != pytest.approx(1, rel=0.5)


def test_covariances_are_those_of_numpy() -> None:
    random = np.random.default_rng(2)
    x = random.normal(3, 1, 1000)
    y = x + random.normal(0, 1, 1000)
    running = RunningPairs()
    running.update(y[:400], x[:400])
    running.update(y[400:], x[400:])
    assert float(running.get().covariance) == pytest.approx(np.cov(x, y)[0, 1], rel=1e-12)


def test_a_sum_of_squares_that_its_sender_rounded_makes_a_variance_of_0() -> None:
    assert Moments(3, 0.3, 3 * 0.1**2 * (1 - 1e-12)).variance == 0


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (lambda: Counts(10, 11), "successes"),
        (lambda: Counts(-1, 0), "n"),
        (lambda: Counts(1.5, 0), "n"),  # type: ignore[arg-type]
        (lambda: Counts(10**400, 0), "n"),
        (lambda: Moments(0, Fraction(1)), "n"),
        (lambda: Moments(2, math.nan, 1.0), "sum"),  # type: ignore[arg-type]
        (lambda: Moments(2, 1.0, math.inf), "sumOfSquares"),  # type: ignore[arg-type]
        (lambda: Moments(2, Fraction(10), Fraction(1)), "sumOfSquares"),
        (lambda: Moments(2, Fraction(0), Fraction(-1)), "sumOfSquares"),
        (lambda: Moments(True, Fraction(0)), "n"),
        (lambda: Moments(1, Fraction(0), Fraction(10) ** 301), "sumOfSquares"),
        (lambda: Pairs(Moments(1, Fraction(1), Fraction(1)), Moments(2)), "n"),
        (lambda: Pairs(Moments(3, Fraction(3), Fraction(5)), Moments(3, Fraction(3), Fraction(5)), 9), "sumOfProducts"),  # type: ignore[arg-type]
        (lambda: RunningCounts().update([0, 2]), "values"),
        (lambda: RunningMoments().update([0.0, math.nan]), "values"),
        (lambda: RunningMoments().update(["a"]), "values"),
        (lambda: RunningMoments().update(1e200), "values"),
        (lambda: RunningPairs().update([1.0, 2.0], [1.0]), "x"),
    ],
)
def test_numbers_that_no_units_have_are_refused_by_field(made: object, field: str) -> None:
    with pytest.raises(RejectError) as refused:
        made()  # type: ignore[operator]
    assert refused.value.field == field
