"""Confidence sequences: tests and intervals that hold at every look together, however often one looks.

The asymptotic mixture sequential probability ratio test. Under the null hypothesis Δ/se behaves over a growing n as a
Brownian motion does, and E, the likelihood ratio mixed over normally distributed effects, is a martingale: it ever
exceeds 1/alpha with probability alpha at most (Ville 1939). So min(1, 1/E) is a p-value at every look, and the effects
that are not rejected are an interval at every look.

Sources: I. Waudby-Smith, D. Arbour, R. Sinha, E. Kennedy, A. Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences", Annals of Statistics 52 (2024); S. Howard, A. Ramdas,
J. McAuliffe, J. Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49
(2021), for ρ and for the one-sided normal mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from millrace_core.stats import arguments
from millrace_core.stats.arguments import Floats, Reals
from millrace_core.stats.results import Effect, Interval

# Halvings of an interval until its ends are neighbours among doubles, nearly.
_HALVINGS: Final = 60
# A z beyond this, whose square is a double still, is no less evidence.
_FARTHEST: Final = 1e150


@dataclass(frozen=True)
class Look:
    """What is known at a look.

    Attributes:
        n: units of both arms so far.
        p: always-valid; it never rises again.
        interval: of the effect, at level 1 − alpha at all looks together.
    """

    n: int
    p: float
    interval: Interval


def mixture(planned: float, alpha: float) -> float:
    """ρ², which makes the interval about as narrow as can be at ``planned`` units of both arms together.

    ρ² = (−2 ln α + ln(1 − 2 ln α)) / N*. It has to be frozen at the start.
    """
    logarithm = math.log(arguments.level(alpha))
    return (-2 * logarithm + math.log(1 - 2 * logarithm)) / arguments.positive(planned, "planned")


def half_width(error: Reals, n: Reals, rho2: float, alpha: float) -> Floats:
    """Half of the interval: se √(2 (nρ² + 1) / (nρ²) · ln(√(nρ² + 1) / α))."""
    scaled = np.asarray(n) * rho2
    return np.asarray(error) * critical(scaled, alpha)


def critical(scaled: Reals, alpha: float) -> Floats:
    """The least |Δ/se| that is significant at nρ² = ``scaled``."""
    scaled = np.asarray(scaled)
    return np.sqrt(2 * (scaled + 1) / scaled * (np.log1p(scaled) / 2 - math.log(alpha)))


def log_evidence(difference: Reals, error: Reals, n: Reals, rho2: float) -> Floats:
    """ln E against no difference: ρ²nΔ² / (2se²(nρ² + 1)) − ½ ln(nρ² + 1). In logarithms, since E soon overflows."""
    scaled = np.asarray(n) * rho2
    evidence: Floats = scaled * _z(difference, error) ** 2 / (2 * (scaled + 1)) - np.log1p(scaled) / 2
    return evidence


def log_evidence_above(difference: Reals, error: Reals, n: Reals, rho2: float) -> Floats:
    """ln E against a difference of 0 or less: mixed over positive effects alone, 2 E Φ(ρ√n Δ / (se √(nρ² + 1)))."""
    scaled = np.asarray(n) * rho2
    positive: Floats = special.log_ndtr(_z(difference, error) * np.sqrt(scaled / (scaled + 1)))
    return log_evidence(difference, error, n, rho2) + math.log(2) + positive


def _z(difference: Reals, error: Reals) -> Floats:
    with np.errstate(over="ignore"):
        z: Floats = np.clip(np.asarray(difference) / np.asarray(error), -_FARTHEST, _FARTHEST)
    return z


class ConfidenceSequence:
    """The two-sided test and interval of one effect.

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
        """Adds a look at all units so far."""
        evidence = float(log_evidence(effect.difference, effect.error, effect.n, self._rho2))
        half = float(half_width(effect.error, effect.n, self._rho2, self._alpha))
        interval = Interval(effect.difference - half, effect.difference + half)
        self._look = Look(effect.n, min(self._look.p, math.exp(-max(evidence, 0.0))), interval)

    def get(self) -> Look:
        """What is known at the last look."""
        return self._look


class OneSidedSequence:
    """The one-sided test of a guardrail: whether the effect is above a margin, at any look.

    ``-effect`` is tested where a fall does harm. The interval has one end: what the effect is at least.

    Args:
        planned: units of both arms together by plan, frozen at the start.
        alpha: one-sided, over all looks together.
        margin: what may be lost without harm (non-inferiority).
        p: what the looks before came to, where the process starts again.
    """

    def __init__(self, planned: float, alpha: float = 0.05, margin: float = 0.0, p: float = 1.0) -> None:
        # ρ² of the two-sided sequence with the same one side.
        self._rho2 = mixture(planned, min(2 * arguments.level(alpha), 0.49))
        self._alpha = alpha
        self._margin = arguments.finite(margin, "margin")
        self._look = Look(0, p, Interval(-math.inf, math.inf))

    def update(self, effect: Effect) -> None:
        """Adds a look at all units so far."""
        beyond = effect.difference - self._margin
        evidence = float(log_evidence_above(beyond, effect.error, effect.n, self._rho2))
        least = effect.difference - effect.error * critical_above(effect.n * self._rho2, self._alpha)
        p = min(self._look.p, math.exp(-max(evidence, 0.0)))
        self._look = Look(effect.n, p, Interval(least, math.inf))

    def get(self) -> Look:
        """What is known at the last look."""
        return self._look


def critical_above(scaled: float, alpha: float) -> float:
    """The least Δ/se that is significant on one side at nρ² = ``scaled``, by halving."""
    low, high = 0.0, float(critical(scaled, alpha)) + 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if log_evidence_above(middle, 1.0, scaled, 1.0) < -math.log(alpha):
            low = middle
        else:
            high = middle
    return high
