"""Group sequential tests: a few looks, whose bounds spend alpha as information grows.

Sources: K. Lan, D. DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70 (1983), for spending as
O'Brien and Fleming do; P. Armitage, C. McPherson, B. Rowe, J. R. Statist. Soc. A 132 (1969), and C. Jennison, B.
Turnbull, "Group Sequential Methods with Applications to Clinical Trials" (2000), ch. 19, for recursive integration,
ch. 9 for repeated intervals and p-values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from scipy import special

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.stats import arguments
from millrace_core.stats.arguments import Floats
from millrace_core.stats.quadrature import integral_points
from millrace_core.stats.results import Effect, Interval
from millrace_core.stats.sequential import Look

# Points of the quadrature over the values that go on to the next look.
_POINTS: Final = 128
# A bound beyond this is never crossed: P(|Z| > 9) is 2e-19.
_FARTHEST: Final = 9.0
_HALVINGS: Final = 55


def spent(fraction: float, alpha: float) -> float:
    """The part of alpha that is spent on one side up to an information fraction: 2 − 2Φ(z_{α/4} / √t)."""
    return 2 * float(special.ndtr(special.ndtri(alpha / 4) / math.sqrt(min(fraction, 1.0))))


def bounds(fractions: Sequence[float], alpha: float = 0.05) -> list[float]:
    """The bound of |z| at each look, two-sided; infinite where so little is spent that nothing crosses it.

    Args:
        fractions: of the planned information at the looks so far, ascending; from 1 on all of alpha is spent.
        alpha: two-sided, over all looks together.

    Raises:
        RejectError: fractions do not ascend from above 0, or more than one is 1 or above.
    """
    arguments.level(alpha)
    _check(fractions)
    found: list[float] = []
    path = _Path(0.0)
    before = 0.0
    for fraction in fractions:
        path.go_on(fraction)
        now = spent(fraction, alpha)
        found.append(_root(path.above, now - before))
        before = now
        path.stop(found[-1])
    return found


def crossing(fractions: Sequence[float], limits: Sequence[float], drift: float) -> float:
    """The probability that |z| reaches its limit at some look, where z has a mean of drift · √fraction."""
    path = _Path(drift)
    total = 0.0
    for fraction, limit in zip(fractions, limits, strict=True):
        path.go_on(fraction)
        total += path.above(limit) + path.below(-limit)
        path.stop(limit)
    return min(total, 1.0)


class GroupSequential:
    """The test and the repeated interval of one effect at a few looks.

    A look that brings no unit is none. Once the planned units are reached all of alpha is spent: later looks change
    neither p nor the interval. Of a process that starts again the interval of its last look is not known: until there
    is another one it is that of the units so far, at the last look's bound.

    Args:
        planned: units of both arms together by plan, frozen at the start.
        alpha: two-sided, over all looks together.
        fractions: of the looks before, where the process starts again.
        p: what they came to.
    """

    def __init__(self, planned: float, alpha: float = 0.05, fractions: Sequence[float] = (), p: float = 1.0) -> None:
        self._planned = arguments.positive(planned, "planned")
        self._alpha = arguments.level(alpha)
        _check(fractions)
        self.fractions = tuple(fractions)
        self._look = Look(0, p, Interval(-math.inf, math.inf))

    def update(self, effect: Effect) -> None:
        """Adds a look at all units so far."""
        fraction = effect.n / self._planned
        none = bool(self.fractions) and (fraction <= self.fractions[-1] or self.fractions[-1] >= 1)
        if none and self._look.n:
            return
        p = self._look.p
        if not none:
            self.fractions += (fraction,)
            p = min(p, repeated_p(abs(effect.difference / effect.error), self.fractions))
        half = effect.error * bounds(self.fractions, self._alpha)[-1]
        self._look = Look(effect.n, p, Interval(effect.difference - half, effect.difference + half))

    def get(self) -> Look:
        """What is known at the last look."""
        return self._look


def repeated_p(z: float, fractions: Sequence[float]) -> float:
    """The least alpha whose bound at the last look |z| reaches; 1 where none below 0.5 does."""
    low, high = -40.0, math.log(0.4999)
    if bounds(fractions, math.exp(high))[-1] > z:
        return 1.0
    while high - low > 1e-4:  # noqa: PLR2004 relative to p
        middle = (low + high) / 2
        if bounds(fractions, math.exp(middle))[-1] > z:
            low = middle
        else:
            high = middle
    return math.exp(high)


class _Path:
    """The density of the score z√t among paths that no look has stopped, from look to look."""

    def __init__(self, drift: float) -> None:
        self._drift = drift
        self._fraction = 0.0
        self._points: Floats = np.zeros(1)
        # Density times the weight of the quadrature.
        self._masses: Floats = np.ones(1)
        self._means: Floats = np.zeros(1)
        self._step = 1.0

    def go_on(self, fraction: float) -> None:
        """To the next look."""
        self._means = self._points + self._drift * (fraction - self._fraction)
        self._step = math.sqrt(fraction - self._fraction)
        self._fraction = fraction

    def above(self, limit: float) -> float:
        """The probability of z at or above the limit at this look, and of none before."""
        return float(self._masses @ special.ndtr((self._means - limit * math.sqrt(self._fraction)) / self._step))

    def below(self, limit: float) -> float:
        """The same at or below."""
        return float(self._masses @ special.ndtr((limit * math.sqrt(self._fraction) - self._means) / self._step))

    def stop(self, limit: float) -> None:
        """Paths that are at the limit or beyond, on either side, end here."""
        root = math.sqrt(self._fraction)
        centre = self._drift * self._fraction
        low = max(-limit * root, centre - _FARTHEST * root)
        high = min(limit * root, centre + _FARTHEST * root)
        self._points, weights = integral_points(low, high, _POINTS)
        density = np.exp(-(((self._points[:, None] - self._means) / self._step) ** 2) / 2) @ self._masses
        self._masses = density / (self._step * math.sqrt(2 * math.pi)) * weights


def _root(tail: Callable[[float], float], target: float) -> float:
    """Where a falling tail is ``target``, by halving."""
    low, high = 0.0, _FARTHEST
    if tail(high) >= target:
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if tail(middle) > target:
            low = middle
        else:
            high = middle
    return high


def _check(fractions: Sequence[float]) -> None:
    ascending = all(a < b for a, b in zip((0.0, *fractions), fractions, strict=False))
    if not ascending or not all(map(math.isfinite, fractions)) or sum(each >= 1 for each in fractions) > 1:
        raise RejectError(
            f"ascending fractions above 0 are expected, at most one of them 1 or more; {shown(list(fractions))} came",
            field="fractions",
        )
