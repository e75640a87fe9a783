"""One effect over epochs: a ramp changes the mix of units over time, and time changes the metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from millrace_core.stats.results import NO_UNITS, Effect, Inconclusive


class Flat(NamedTuple):
    """An epoch in which no arm's units vary: its difference, or relative lift, has no error; units of both arms."""

    difference: float
    n: int


def over_epochs(effects: Sequence[Effect], flat: Sequence[Flat] = ()) -> Effect | Inconclusive:
    """Δ = Σ (nₑ/n) Δₑ, with the variance Σ (nₑ/n)² seₑ², over epochs of constant weights.

    Flat epochs count with their difference and an error of 0. To leave them out would be to choose epochs by their
    outcome: of rare events those alone in which one came.

    Satterthwaite's degrees of freedom are made of the epochs' own. Pooling all units instead would compare a control of
    early days with a treatment of late ones (Simpson's paradox).

    Source: post-stratification, W. G. Cochran, "Sampling Techniques", 3rd ed., 5A.9; R. Kohavi, D. Tang, Y. Xu,
    "Trustworthy Online Controlled Experiments", ch. 3 (Simpson's paradox), whose remedy it is.
    """
    if not effects:
        return NO_UNITS
    counted: list[Effect | Flat] = [*effects, *flat]
    n = sum(each.n for each in counted)
    difference = math.fsum(each.n / n * each.difference for each in counted)
    parts = [(each.n / n * each.error) ** 2 for each in effects]
    variance = math.fsum(parts)
    shares = math.fsum((part / variance) ** 2 / each.freedom for part, each in zip(parts, effects, strict=True))
    return Effect(difference, math.sqrt(variance), n, 1 / shares if shares else math.inf)
