"""Means, ratios and adjusted means of units: estimates per arm, and Welch's test of two of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
from scipy import special

from millrace_core.base.errors import RejectError
from millrace_core.stats import arguments
from millrace_core.stats.results import NO_UNITS, ONE_UNIT, Comparison, Estimate, Inconclusive, Interval, difference
from millrace_core.stats.sums import Moments, Pairs

# Units that a variance needs.
_FEWEST: Final = 2

NO_DENOMINATOR = Inconclusive("NoDenominator", "the denominators of an arm sum to 0 or nearly so, so it has no ratio")


def mean(moments: Moments) -> Estimate | Inconclusive:
    """The mean and the sample variance."""
    if moments.n < _FEWEST:
        return ONE_UNIT if moments.n else NO_UNITS
    return Estimate(moments.n, float(moments.mean), float(moments.variance))


def ratio(pairs: Pairs) -> Estimate | Inconclusive:
    """Σy / Σx over units, with the variance of y − R x, divided by the squared mean of x (the delta method).

    Source: A. Deng, U. Knoblich, J. Lu, "Applying the delta method in metric analytics", KDD 2018.
    """
    if pairs.n < _FEWEST:
        return ONE_UNIT if pairs.n else NO_UNITS
    if pairs.x.sum == 0:
        return NO_DENOMINATOR
    share = pairs.y.sum / pairs.x.sum
    spread = pairs.y.variance - 2 * share * pairs.covariance + share**2 * pairs.x.variance
    try:
        return Estimate(pairs.n, float(share), float(max(spread, Fraction(0)) / pairs.x.mean**2))
    except OverflowError:
        return NO_DENOMINATOR


def cuped(arms: Sequence[Pairs]) -> tuple[Estimate, ...] | Inconclusive:
    """Means of y adjusted by a covariate x: mean(y) − θ (mean(x) − mean of all x), with θ = cov / var over all arms.

    θ is pooled within arms, so that an effect is no part of it; one θ for all arms keeps their difference unbiased. The
    covariate has to be from before a unit's exposure (``require_pre_exposure``). Where it does not vary, nothing is
    adjusted.

    Source: A. Deng, Y. Xu, R. Kohavi, T. Walker, "Improving the sensitivity of online controlled experiments by
    utilizing pre-experiment data", WSDM 2013.

    Returns:
        One estimate per arm, in their order.
    """
    if any(arm.n < _FEWEST for arm in arms):
        return NO_UNITS if any(arm.n == 0 for arm in arms) else ONE_UNIT
    spread = sum((arm.x.variance * (arm.n - 1) for arm in arms), start=Fraction(0))
    together = sum((arm.covariance * (arm.n - 1) for arm in arms), start=Fraction(0))
    theta = together / spread if spread else spread
    grand = sum((arm.x.sum for arm in arms), start=Fraction(0)) / sum(arm.n for arm in arms)
    return tuple(
        Estimate(
            arm.n,
            float(arm.y.mean - theta * (arm.x.mean - grand)),
            float(max(arm.y.variance - 2 * theta * arm.covariance + theta**2 * arm.x.variance, Fraction(0))),
        )
        for arm in arms
    )


def require_pre_exposure(measured_until: Sequence[int], exposed_at: Sequence[int]) -> None:
    """Refuses a covariate that was measured at or after the exposure of its unit: it may be an effect of the arm.

    Args:
        measured_until: per unit, the time of the last event in its covariate.
        exposed_at: per unit, the time at which it was first given its arm; both in one unit of time.

    Raises:
        RejectError: field ``covariate``.
    """
    if len(measured_until) != len(exposed_at):
        raise RejectError(f"{len(measured_until)} times for {len(exposed_at)} units came", field="covariate")
    late = np.flatnonzero(np.asarray(measured_until) >= np.asarray(exposed_at))
    if len(late):
        raise RejectError(
            f"the covariates of {len(late)} units reach to their exposure or beyond it, first at index {late[0]}",
            hint="End the covariate's window before the experiment starts",
            field="covariate",
        )


def welch(control: Estimate, treatment: Estimate, alpha: float = 0.05) -> Comparison | Inconclusive:
    """Welch's t test of treatment minus control, with Satterthwaite's degrees of freedom (``results.difference``)."""
    arguments.level(alpha)
    effect = difference(control, treatment)
    if isinstance(effect, Inconclusive):
        return effect
    t = effect.difference / effect.error
    half = -float(special.stdtrit(effect.freedom, alpha / 2)) * effect.error
    interval = Interval(effect.difference - half, effect.difference + half)
    return Comparison(effect, t, 2 * float(special.stdtr(effect.freedom, -abs(t))), interval)
