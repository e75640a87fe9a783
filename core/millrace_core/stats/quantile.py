"""Quantiles of units, with an interval of ranks.

Each unit has one value, so the number of values below the true quantile is binomial, and two order statistics make an
interval whatever the distribution is. Its width is also the standard error. Where values are tied, as counts and
rounded times are, the two may be equal: the interval has collapsed, says that chance cannot be measured, and not that
there is none (growthbook/growthbook#6250).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from millrace_core.stats import arguments
from millrace_core.stats.results import NO_UNITS, Estimate, Inconclusive

COLLAPSED = Inconclusive(
    "TiedValues", "so many units share the value at the quantile that its interval has no width; use the share above it"
)


def ranks(n: int, q: float, alpha: float = 0.05) -> tuple[int, int] | Inconclusive:
    """The order statistics, counted from 0, between which the q-quantile lies with probability 1 − alpha or more.

    Source: W. J. Conover, "Practical Nonparametric Statistics", 3rd ed., 3.2; ranks of the exact binomial.
    """
    arguments.level(alpha)
    arguments.within(q, 0.0, 1.0, "q")
    if n == 0:
        return NO_UNITS
    below = special.bdtr(np.arange(n + 1), n, q) if n <= 1000 else None  # noqa: PLR2004 exact while it is small
    if below is not None:
        low = int(np.searchsorted(below, alpha / 2, side="right"))
        high = int(np.searchsorted(below, 1 - alpha / 2, side="left")) + 1
    else:
        half = -float(special.ndtri(alpha / 2)) * math.sqrt(n * q * (1 - q))
        low, high = math.floor(n * q - half), math.ceil(n * q + half) + 1
    # Rank 0 is below the first value, rank n + 1 above the last.
    if low < 1 or high > n:
        return Inconclusive("TooFewUnits", f"{n} units are too few for an interval of the {q:g}-quantile")
    return low - 1, high - 1


def quantile(values: Any, q: float, alpha: float = 0.05) -> Estimate | Inconclusive:
    """The q-quantile of the units' values, with a variance from the width of its interval of ranks.

    Source: A. Deng, U. Knoblich, J. Lu, "Applying the delta method in metric analytics", KDD 2018, on quantiles.
    """
    array = np.sort(arguments.finite_array(values, "values"))
    found = ranks(len(array), q, alpha)
    if isinstance(found, Inconclusive):
        return found
    low, high = float(array[found[0]]), float(array[found[1]])
    if not high > low:
        return COLLAPSED
    error = (high - low) / (-2 * float(special.ndtri(alpha / 2)))
    return Estimate(len(array), float(np.quantile(array, q)), error**2 * len(array))
