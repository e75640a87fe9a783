"""A metric as it was measured: the value, over how many rows, and between which bounds it may lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Of the standard normal distribution: 95% lie within it.
Z: Final = 1.959963984540054


@dataclass(frozen=True)
class Measured:
    """A value over ``rows`` rows; ``low`` and ``high`` are a 95% interval, None where none is cheap."""

    value: float
    rows: int
    low: float | None = None
    high: float | None = None


def mean(values: Array) -> Measured:
    """The mean of one value a row, with the interval of the normal distribution.

    Args:
        values: [n], n ≥ 1.
    """
    count, value = len(values), float(values.mean(dtype=np.float64))
    if count < 2:  # noqa: PLR2004 one value has no spread
        return Measured(value, count)
    return around(value, float(values.std(ddof=1, dtype=np.float64)) / math.sqrt(count), count)


def around(value: float, error: float, rows: int, *, least: float = -math.inf, most: float = math.inf) -> Measured:
    """A value with its standard error, within what it can be at all."""
    return Measured(value, rows, max(least, value - Z * error), min(most, value + Z * error))


def share(hits: int, of: int, rows: int) -> Measured:
    """``hits / of`` with Wilson's score interval, which holds where shares are near 0 or 1.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927).
    """
    value, z2 = hits / of, Z * Z
    middle = (value + z2 / (2 * of)) / (1 + z2 / of)
    half = Z / (1 + z2 / of) * math.sqrt(value * (1 - value) / of + z2 / (4 * of * of))
    return Measured(value, rows, max(0.0, middle - half), min(1.0, middle + half))


def ratio(above: Array, below: Array) -> Measured:
    """The sum of ``above`` through the sum of ``below``, with the delta method's interval.

    Args:
        above, below: [n] each, of the same rows; the sum of ``below`` is not 0.
    """
    count = len(above)
    value = float(above.sum() / below.sum())
    spread = float((above - value * below).std(ddof=1)) if count > 1 else 0.0
    return around(value, math.sqrt(count) * spread / abs(float(below.sum())), count, least=0.0, most=1.0)
