"""Exact sums of doubles and of products of two doubles, as fractions.

The variance of n values is (n Σx² − (Σx)²) / (n (n − 1)). In doubles the difference loses all its digits where the mean
is large beside the spread: of values near 10⁹ with a spread of 1 nothing is left. Here nothing is rounded before the
end, so the result depends neither on the order of the values nor on how they were divided and merged, and the same log
gives the same verdict to the last bit.

A double is m · 2ᵉ with an integer m of 53 bits. The integers of equal exponents are added in two halves, which cannot
overflow below 2³¹ values; a product is three products of halves.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import numpy as np

from millrace_core.stats.arguments import Floats

Wholes = np.ndarray[Any, np.dtype[np.int64]]

_MANTISSA: Final = 53
_HALF: Final = 27
# Bits of the lower part of a term.
_LOWER: Final = 32
# Values that are processed together, so that intermediate results stay in the processor's cache.
_BLOCK: Final = 1 << 16
# Every exponent of a double is between these.
_LEAST: Final = -1074
_MOST: Final = 1024


class _Buckets:
    """Sums of integers by the power of two that they are to be multiplied by."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._upper = np.zeros(most - least + 1, np.int64)
        self._lower = np.zeros(most - least + 1, np.int64)

    def add(self, terms: Wholes, exponents: Wholes) -> None:
        """Adds ``terms · 2^exponents``."""
        places = exponents - self._least
        np.add.at(self._upper, places, terms >> _LOWER)
        np.add.at(self._lower, places, terms & ((1 << _LOWER) - 1))

    def total(self) -> Fraction:
        """The sum of all."""
        whole = 0
        for place in np.flatnonzero(self._upper | self._lower):
            whole += ((int(self._upper[place]) << _LOWER) + int(self._lower[place])) << int(place)
        return Fraction(whole) * Fraction(2) ** self._least


def exact_sum(values: Floats) -> Fraction:
    """The sum of finite doubles."""
    buckets = _Buckets(_LEAST - _MANTISSA, _MOST)
    for first in range(0, len(values), _BLOCK):
        buckets.add(*_parts(values[first : first + _BLOCK]))
    return buckets.total()


def exact_products(x: Floats, y: Floats) -> Fraction:
    """The sum of x · y, element by element, of finite doubles."""
    buckets = _Buckets(2 * (_LEAST - _MANTISSA), 2 * _MOST)
    for first in range(0, len(x), _BLOCK):
        x_whole, x_exponent = _parts(x[first : first + _BLOCK])
        y_whole, y_exponent = _parts(y[first : first + _BLOCK])
        x_high, x_low = x_whole >> _HALF, x_whole & ((1 << _HALF) - 1)
        y_high, y_low = y_whole >> _HALF, y_whole & ((1 << _HALF) - 1)
        exponent = x_exponent + y_exponent
        buckets.add(x_high * y_high, exponent + 2 * _HALF)
        buckets.add(x_high * y_low + x_low * y_high, exponent + _HALF)
        buckets.add(x_low * y_low, exponent)
    return buckets.total()


def _parts(values: Floats) -> tuple[Wholes, Wholes]:
    """Integers of 53 bits and exponents, so that each value is one times 2 to the power of the other."""
    mantissas, exponents = np.frexp(values)
    return (mantissas * 2.0**_MANTISSA).astype(np.int64), exponents.astype(np.int64) - _MANTISSA
