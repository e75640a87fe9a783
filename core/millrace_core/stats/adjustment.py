"""Regression adjustment that holds at every look: a covariate and peeking together.

The effect of the arm in the regression y ~ arm + x by least squares, and the F-test's likelihood ratio, mixed over
effects and invariant to the errors' scale. With normal errors it is exact at every n, from the fourth unit on; with
others it is asymptotic, as ``sequential`` is, whose evidence it becomes for many degrees of freedom. Both need errors
that spread alike in both arms, or arms of the same size: the regression has one error for all. With a treatment of 100
units that spreads four times as far as its control of 900, one look alone finds a difference that is none in a fifth of
all experiments. There ``mean.cuped`` and ``sequential`` are for, whose errors are each arm's own.

Source: M. Lindon, D. Ham, M. Tingley, I. Bojinov, "Anytime-valid linear models and regression adjusted causal inference
in randomized experiments", arXiv 2210.08589, for one coefficient, with r = g / (g + n), g = 1/ρ².
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

from millrace_core.stats.results import NO_UNITS, NO_VARIANCE, ONE_UNIT, Effect, Inconclusive, Interval
from millrace_core.stats.sequential import Look, mixture
from millrace_core.stats.sums import Pairs

# Coefficients: a mean, the arm, the covariate.
_COEFFICIENTS: Final = 3
_FEWEST: Final = 2
# A t² beyond this is no less evidence, and its products are doubles.
_FARTHEST: Final = 1e150


def adjusted(control: Pairs, treatment: Pairs) -> Effect | Inconclusive:
    """The least-squares effect of the arm, adjusted by the covariate x, with n − 3 degrees of freedom.

    The covariate has to be from before the exposure (``mean.require_pre_exposure``).
    """
    arms = (control, treatment)
    n = control.n + treatment.n
    if min(arm.n for arm in arms) < _FEWEST or n <= _COEFFICIENTS:
        return ONE_UNIT if control.n and treatment.n else NO_UNITS
    spread = sum((arm.x.variance * (arm.n - 1) for arm in arms), Fraction(0))
    together = sum((arm.covariance * (arm.n - 1) for arm in arms), Fraction(0))
    if spread == 0:
        return Inconclusive("NoCovariate", "within each arm every unit has the same covariate, so it adjusts nothing")
    slope = together / spread
    rest = sum((arm.y.variance * (arm.n - 1) for arm in arms), Fraction(0)) - slope * together
    apart = treatment.x.mean - control.x.mean
    share = Fraction(1, control.n) + Fraction(1, treatment.n) + apart**2 / spread
    variance = float(rest / (n - _COEFFICIENTS) * share)
    if not variance > 0:
        return NO_VARIANCE
    difference = treatment.y.mean - control.y.mean - slope * apart
    return Effect(float(difference), math.sqrt(variance), n, float(n - _COEFFICIENTS))


class AdjustedSequence:
    """The two-sided test and interval of an adjusted effect.

    Args:
        planned: units of both arms together by plan, frozen at the start.
        alpha: two-sided, over all looks together.
        p: what the looks before came to, where the process starts again.
    """

    def __init__(self, planned: float, alpha: float = 0.05, p: float = 1.0) -> None:
        self._rho2 = mixture(planned, alpha)
        self._alpha = alpha
        self._look = Look(0, p, Interval(-math.inf, math.inf))

    def update(self, effect: Effect) -> None:
        """Adds a look at all units so far (``adjusted``)."""
        r = 1 / (1 + effect.n * self._rho2)
        z = max(-_FARTHEST, min(effect.difference / effect.error, _FARTHEST)) if effect.difference else 0.0
        evidence = log_evidence(z, effect.freedom, r)
        half = effect.error * critical(effect.freedom, r, self._alpha)
        interval = Interval(effect.difference - half, effect.difference + half)
        self._look = Look(effect.n, min(self._look.p, math.exp(-max(evidence, 0.0))), interval)

    def get(self) -> Look:
        """What is known at the last look."""
        return self._look


def log_evidence(t: float, freedom: float, r: float) -> float:
    """ln E against no effect: ½ ln r + ½ (ν + 1) ln((1 + t²/ν) / (1 + r t²/ν))."""
    squared = t * t / freedom
    return (math.log(r) + (freedom + 1) * (math.log1p(squared) - math.log1p(r * squared))) / 2


def critical(freedom: float, r: float, alpha: float) -> float:
    """The least |t| that is significant; infinite where no t is, as with few units."""
    power = math.exp(math.log(alpha * alpha * r) / (freedom + 1))
    return math.sqrt(freedom * (1 - power) / (power - r)) if power > r else math.inf
