"""What statistics answer: estimates, effects, intervals, and that there is nothing to say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from millrace_core.stats.arguments import finite, positive


@dataclass(frozen=True)
class Inconclusive:
    """Nothing can be said; never a pass and never a failure.

    Attributes:
        reason: a CamelCase constant, such as ``NoUnits`` or ``NoVariance``.
        message: a sentence.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Estimate:
    """A metric of one arm.

    Attributes:
        n: units.
        value: the metric: a share, a mean, a ratio, a quantile.
        variance: so that ``variance / n`` is the variance of ``value``.
    """

    n: int
    value: float
    variance: float

    @property
    def error(self) -> float:
        """The standard error of the value."""
        return math.sqrt(self.variance / self.n)


@dataclass(frozen=True)
class Interval:
    """Both ends of an interval; either may be infinite."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Effect:
    """Treatment minus control.

    Attributes:
        difference: of the two values, or their relative lift.
        error: the standard error of the difference, above 0.
        n: units of both arms together.
        freedom: degrees of freedom of the error; infinite for the normal distribution.
    """

    difference: float
    error: float
    n: int
    freedom: float = math.inf

    def __post_init__(self) -> None:
        finite(self.difference, "difference")
        positive(self.error, "error")


@dataclass(frozen=True)
class Comparison:
    """An effect with the test and the interval of a fixed horizon, which is looked at once.

    Attributes:
        effect: treatment minus control.
        statistic: z or t.
        p: two-sided.
        interval: of the difference, at level 1 − alpha.
    """

    effect: Effect
    statistic: float
    p: float
    interval: Interval


NO_UNITS = Inconclusive("NoUnits", "an arm has no unit yet")
ONE_UNIT = Inconclusive("TooFewUnits", "an arm has one unit; a variance needs two")
NO_VARIANCE = Inconclusive("NoVariance", "within each arm every unit has the same value, so chance cannot be measured")


def difference(control: Estimate, treatment: Estimate) -> Effect | Inconclusive:
    """Treatment minus control, with the standard error of two independent samples and Satterthwaite's freedom.

    Source: B. L. Welch, "The generalization of 'Student's' problem", Biometrika 34 (1947); F. E. Satterthwaite,
    Biometrics Bulletin 2 (1946).
    """
    c, t = control.variance / control.n, treatment.variance / treatment.n
    if not c + t > 0:
        return NO_VARIANCE
    total = c + t
    # Shares of the variance, so that nothing is squared that could overflow or vanish.
    parts = (c / total) ** 2 / max(control.n - 1, 1) + (t / total) ** 2 / max(treatment.n - 1, 1)
    return Effect(treatment.value - control.value, math.sqrt(total), control.n + treatment.n, 1 / parts)
