"""Two proportions: the pooled z test, the interval with the unpooled error, and the chance that one is higher.

Where all units of one arm did and none of the other, the unpooled error is 0, although nothing could differ more; the
pooled one, which is larger, stands in for it.

Sources: J. L. Fleiss, "Statistical Methods for Rates and Proportions", 3rd ed.; neither is corrected for
continuity.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy import special

from millrace_core.stats import arguments
from millrace_core.stats.quadrature import integral_points
from millrace_core.stats.results import NO_UNITS, NO_VARIANCE, Comparison, Effect, Estimate, Inconclusive, Interval
from millrace_core.stats.sums import Counts

# Points of the quadrature in ``probability_better``.
_POINTS: Final = 256


def estimate(counts: Counts) -> Estimate | Inconclusive:
    """The share of units that did, and p (1 − p)."""
    if counts.n == 0:
        return NO_UNITS
    share = counts.successes / counts.n
    return Estimate(counts.n, share, share * (1 - share))


def effect(control: Estimate, treatment: Estimate) -> Effect | Inconclusive:
    """Difference of two shares with the unpooled error; with the pooled one where that is 0 and the shares differ."""
    variance = control.variance / control.n + treatment.variance / treatment.n or _pooled(control, treatment)
    if not variance > 0:
        return NO_VARIANCE
    return Effect(treatment.value - control.value, math.sqrt(variance), control.n + treatment.n)


def two_proportions(control: Counts, treatment: Counts, alpha: float = 0.05) -> Comparison | Inconclusive:
    """Pooled z test and unpooled interval of treatment minus control."""
    arguments.level(alpha)
    a, b = estimate(control), estimate(treatment)
    if isinstance(a, Inconclusive) or isinstance(b, Inconclusive):
        return NO_UNITS
    found = effect(a, b)
    if isinstance(found, Inconclusive):
        return found
    z = found.difference / math.sqrt(_pooled(a, b))
    half = -float(special.ndtri(alpha / 2)) * found.error
    interval = Interval(max(found.difference - half, -1.0), min(found.difference + half, 1.0))
    return Comparison(found, z, 2 * float(special.ndtr(-abs(z))), interval)


def _pooled(a: Estimate, b: Estimate) -> float:
    """The variance of the difference of two shares, were both the share of all units together."""
    share = (a.n * a.value + b.n * b.value) / (a.n + b.n)
    return share * (1 - share) * (1 / a.n + 1 / b.n)


def probability_better(control: Counts, treatment: Counts) -> float:
    """P(B > A) for independent Beta(1 + successes, 1 + failures), that is, uniform priors; exact but for quadrature.

    Source: E. Miller, "Formulas for Bayesian A/B Testing" (2015): the integral ∫ F_A(q) dF_B(q), here over quantiles
    of B by Gauss and Legendre.
    """
    points, weights = integral_points(0.0, 1.0, _POINTS)
    quantiles = special.betaincinv(1 + treatment.successes, 1 + treatment.n - treatment.successes, points)
    below = special.betainc(1 + control.successes, 1 + control.n - control.successes, quantiles)
    return float(np.clip(below @ weights, 0.0, 1.0))
