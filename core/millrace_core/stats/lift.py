"""The relative lift: the difference over the size of the baseline."""

from __future__ import annotations

import math

from scipy import special

from millrace_core.stats import arguments
from millrace_core.stats.results import Effect, Estimate, Inconclusive, difference

NEAR_ZERO = Inconclusive("BaselineNearZero", "the control may be 0, so a difference relative to it says nothing")


def relative(control: Estimate, treatment: Estimate, alpha: float = 0.05) -> Effect | Inconclusive:
    """(treatment − control) / |control|, with its error by the delta method.

    It is divided by the size: more is a positive lift over a negative baseline, too, as from −10 to −9, which is +10%
    (growthbook/growthbook#6658). The delta method is taken and not Fieller's interval, because an effect with a
    standard error is what confidence sequences and group sequential bounds take; Fieller's would be unbounded, or two
    pieces, where the baseline's own interval holds 0, and there this answers ``BaselineNearZero``.

    Source: A. Deng, U. Knoblich, J. Lu, "Applying the delta method in metric analytics", KDD 2018.
    """
    arguments.level(alpha)
    plain = difference(control, treatment)
    if isinstance(plain, Inconclusive):
        return plain
    size = abs(control.value)
    if not size > -float(special.ndtri(alpha / 2)) * control.error:
        return NEAR_ZERO
    share = treatment.value / control.value
    error = math.hypot(treatment.error, share * control.error) / size
    if not (error > 0 and math.isfinite(error) and math.isfinite(plain.difference / size)):
        return NEAR_ZERO
    return Effect(plain.difference / size, error, plain.n, plain.freedom)
