"""Regression adjustment at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest

from millrace_core.stats import adjustment, sequential
from millrace_core.stats.adjustment import AdjustedSequence, adjusted
from millrace_core.stats.results import Effect, Inconclusive
from millrace_core.stats.sums import RunningPairs


def arms(y: np.ndarray, x: np.ndarray, arm: np.ndarray) -> Effect | Inconclusive:
    found = []
    for side in (0, 1):
        running = RunningPairs()
        running.update(y[arm == side], x[arm == side])
        found.append(running.get())
    return adjusted(*found)


def test_the_effect_is_that_of_least_squares() -> None:
    random = np.random.default_rng(21)
    arm, x = np.arange(60) % 3 % 2, random.normal(5, 2, 60)
    y = 0.7 * x + 0.5 * arm + random.normal(0, 1, 60)
    design = np.column_stack([np.ones(60), arm, x])
    coefficients, [squares], *_ = np.linalg.lstsq(design, y)
    error = math.sqrt(squares / 57 * np.linalg.inv(design.T @ design)[1, 1])
    found = arms(y, x, arm)
    assert isinstance(found, Effect)
    assert (found.difference, found.error, found.n, found.freedom) == pytest.approx((coefficients[1], error, 60, 57))


def test_with_many_units_the_evidence_is_that_of_the_confidence_sequence() -> None:
    rho2 = sequential.mixture(10_000, 0.05)
    expected = float(sequential.log_evidence(2.9, 1.0, 5000, rho2))
    assert adjustment.log_evidence(2.9, 1e9, 1 / (1 + 5000 * rho2)) == pytest.approx(expected, rel=1e-6)


def test_the_interval_ends_where_p_is_alpha_and_few_units_have_none() -> None:
    for freedom, r in ((3.0, 0.4), (50.0, 0.1), (5000.0, 0.01)):
        limit = adjustment.critical(freedom, r, 0.05)
        if math.isfinite(limit):
            assert adjustment.log_evidence(limit, freedom, r) == pytest.approx(-math.log(0.05))
    assert adjustment.critical(3.0, 0.4, 0.05) == math.inf
    assert adjustment.log_evidence(1e140, 3.0, 0.4) < -math.log(0.05)


def test_peeking_from_the_first_units_on_keeps_alpha_with_a_covariate() -> None:
    random = np.random.default_rng(22)
    count, units, alpha = 2000, 200, 0.1
    x = random.normal(0, 1, (count, 2, units))
    y = x + random.normal(0, 1, (count, 2, units))
    n = np.arange(1, units + 1)

    def within(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a * b).cumsum(axis=2) - a.cumsum(axis=2) * b.cumsum(axis=2) / n).sum(axis=1)

    def apart(a: np.ndarray) -> np.ndarray:
        return (a[:, 1].cumsum(axis=1) - a[:, 0].cumsum(axis=1)) / n

    looks = slice(2, None)
    slope = within(x, y)[:, looks] / within(x, x)[:, looks]
    rest = within(y, y)[:, looks] - slope * within(x, y)[:, looks]
    freedom = (2 * n - 3)[looks]
    error = np.sqrt(rest / freedom * (2 / n[looks] + apart(x)[:, looks] ** 2 / within(x, x)[:, looks]))
    t = (apart(y)[:, looks] - slope * apart(x)[:, looks]) / error
    r = 1 / (1 + 2 * n[looks] * sequential.mixture(2 * units, alpha))
    limits = np.array([adjustment.critical(float(a), float(b), alpha) for a, b in zip(freedom, r, strict=True)])
    found = (np.abs(t) >= limits).any(axis=1).mean()
    assert 0.01 < found <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / count)


def test_p_never_rises_and_nothing_overflows() -> None:
    sequence = AdjustedSequence(1000)
    sequence.update(Effect(1.0, 0.2, 500, 497.0))
    first = sequence.get().p
    assert first < 0.05 < AdjustedSequence(1000).get().p
    sequence.update(Effect(0.0, 0.2, 600, 597.0))
    assert sequence.get().p == first
    sequence.update(Effect(1e300, 1e-300, 700, 697.0))
    assert sequence.get().p == pytest.approx(0, abs=1e-12)


def test_units_that_say_nothing_are_inconclusive() -> None:
    y, arm = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0, 0, 1, 1])
    assert isinstance(arms(y, np.ones(4), arm), Inconclusive)
    assert isinstance(arms(y, y, arm), Inconclusive)
    assert isinstance(arms(y, y * y, np.array([0, 0, 0, 1])), Inconclusive)
    assert adjusted(RunningPairs().get(), RunningPairs().get()) == adjustment.NO_UNITS
