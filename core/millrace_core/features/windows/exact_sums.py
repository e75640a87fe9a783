"""Exact sums, rounded once at the end, so that they depend on the values alone and not on their order.

A column of floats is written, without loss, as a few columns of integers (limbs) times powers of two: the highest bits
of all values, the next ones, and so on. Integers add up exactly. So a running total of each limb gives the exact sum of
any range of the column as the difference of two totals, whatever its length.

Rounding to the nearest double (ties to even) uses error-free sums and products of doubles (T. J. Dekker, "A
floating-point technique for extending the available precision", 1971; D. E. Knuth, TAOCP 2, 4.2.2), and Python's
integers for the few results that 106 bits do not decide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np

from millrace_core.features.types.arrow_numpy import Numbers

Floats = np.ndarray[Any, np.dtype[np.float64]]

# Exponent of the least positive double.
_LEAST: Final = -1074
# Bits of a limb, so that one and a half of its integer, added to 1.5 * 2^52, stays between 2^52 and 2^53.
_WIDEST: Final = 50
# Above this exponent an anchor (``_split``) would be no double.
_HIGHEST: Final = 900
# Values that are processed together: few enough for their intermediate results to stay in the processor's cache.
_BLOCK: Final = 8192
# Between these magnitudes squares, and products of their sums, neither overflow nor lose bits.
_SQUARES: Final = (2.0**-400, 2.0**450)
# n (n - 1) is a double up to so many values.
_MOST: Final = 2**26
_VELTKAMP: Final = 2.0**27 + 1


class Sums(NamedTuple):
    """Exact sums, one per element: the total of the limbs times 2 to the power of their exponents, highest first."""

    exponents: list[int]
    limbs: list[Numbers]

    def whole(self, index: int) -> int:
        """One sum, in units of 2 to the power of the lowest exponent."""
        low = self.exponents[-1]
        return sum(int(limb[index]) << (e - low) for e, limb in zip(self.exponents, self.limbs, strict=True))

    def rounded(self) -> Floats:
        """The sums, each rounded once; infinite beyond the range of doubles."""
        high, _, exact = self.doubles()
        for index in np.flatnonzero(~exact):
            high[index] = _ratio(self.whole(int(index)), self.exponents[-1], 1)
        return high

    def doubles(self) -> tuple[Floats, Floats, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Pairs of doubles whose sums are the exact ones up to a relative error of 2^-100, and where they are exact."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._doubles(self._parts())

    def _doubles(self, parts: Sequence[Floats]) -> tuple[Floats, Floats, np.ndarray[Any, np.dtype[np.bool_]]]:
        total = parts[0]
        errors = []
        for part in parts[1:]:
            total, error = two_sum(total, part)
            errors.append(error)
        low = errors[0]
        exact = np.isfinite(total)
        for error in errors[1:]:
            low, lost = two_sum(low, error)
            exact &= lost == 0
        high, low = two_sum(total, low)
        return high, low, exact

    def _parts(self) -> list[Floats]:
        """The limbs as doubles, after carries to the next higher limb."""
        exponents = [self.exponents[0] + _WIDEST, *self.exponents]
        limbs = [np.zeros_like(self.limbs[0]), *self.limbs]
        for index in range(len(limbs) - 1, 0, -1):
            width = exponents[index - 1] - exponents[index]
            carry = (limbs[index] + (1 << width >> 1)) >> width
            limbs[index] = limbs[index] - (carry << width)
            limbs[index - 1] = limbs[index - 1] + carry
        return [_scaled(limb.astype(np.float64), e) for limb, e in zip(limbs, exponents, strict=True)]


class RunningSums:
    """Exact running totals over a column, or over its squares, at some places.

    Args:
        values: the column, finite doubles.
        cuts: the places, ascending, from 0 to the end of the column.
        squares: whether to sum the squares; these must neither overflow nor lose bits.
    """

    def __init__(self, values: Floats, cuts: Numbers, *, squares: bool = False) -> None:
        count = len(values)
        # The total of all limbs, and a carry, fit into 63 bits. A square is the sum of two doubles.
        width = min(_WIDEST, 61 - (count << squares).bit_length())
        largest = max(float(values.max()), -float(values.min())) if count else 0.0
        above = math.frexp(largest * largest if squares else largest)[1]
        totals = [np.zeros(len(cuts), np.int64)]
        for first in range(0, count, _BLOCK):
            block = values[first : first + _BLOCK]
            # The pieces that overlap the block.
            begin, end = np.searchsorted(cuts, first, "right"), np.searchsorted(cuts, first + len(block))
            places = np.maximum(cuts[begin - 1 : end] - first, 0)
            for place, limb in enumerate(_limbs(two_square(block) if squares else (block,), above, width)):
                if place == len(totals):
                    totals.append(np.zeros(len(cuts), np.int64))
                totals[place][begin : end + 1] += np.add.reduceat(limb, places)
        self._exponents = [_exponent(above, width, place) for place in range(len(totals))]
        self._totals = [np.cumsum(total, out=total) for total in totals]

    def between(self, low: Numbers, high: Numbers) -> Sums:
        """The sums from one place to another (exclusive), both given by their index in the cuts."""
        return Sums(self._exponents, [total[high] - total[low] for total in self._totals])


class RunningWholes:
    """Exact running totals over a column of int64, at some places (``RunningSums``)."""

    def __init__(self, values: Numbers, cuts: Numbers) -> None:
        largest = max(-int(values.min()), int(values.max())) if len(values) else 0
        self._total = _running(values, cuts)
        self._halves = None
        if largest * len(values) >= 2**63:
            self._halves = _running(values >> 32, cuts), _running(values & 0xFFFFFFFF, cuts)

    def between(self, low: Numbers, high: Numbers) -> tuple[Numbers, bool]:
        """The sums from one place to another (exclusive), and whether all of them fit into int64."""
        sums = self._total[high] - self._total[low]  # right in the lowest 64 bits, whatever was lost above
        if self._halves is None:
            return sums, True
        upper, lower = (half[high] - half[low] for half in self._halves)
        upper += lower >> 32
        return sums, bool(np.all((upper >= -(2**31)) & (upper < 2**31)))


class RunningMoments:
    """Exact running totals of a column and of its squares, for variances.

    Args:
        values: finite doubles.
        cuts: the places, as in ``RunningSums``.
        sums: of the values, at these places.
    """

    def __init__(self, values: Floats, cuts: Numbers, sums: RunningSums) -> None:
        sizes = np.abs(values)
        least = sizes.min(initial=math.inf, where=sizes > 0)
        self._values = values
        self._cuts = cuts
        self._sums = sums
        self._squares = None
        if least >= _SQUARES[0] and sizes.max(initial=0.0) <= _SQUARES[1]:
            self._squares = RunningSums(values, cuts, squares=True)

    def variances(self, low: Numbers, high: Numbers) -> Floats:
        """Sample variances from one place to another (exclusive), both given by their index, each rounded once.

        The variance of fewer than two values is 0.
        """
        begin, end = self._cuts[low], self._cuts[high]
        several = np.flatnonzero(end - begin > 1)
        variances = np.zeros(len(low))
        low, high, begin, end = low[several], high[several], begin[several], end[several]
        if self._squares is None:
            found = np.array([_variance(self._values[a:b].tolist()) for a, b in zip(begin, end, strict=True)])
        else:
            found = _variances(end - begin, self._sums.between(low, high), self._squares.between(low, high))
        variances[several] = found
        return variances


def _variances(count: Numbers, sums: Sums, squares: Sums) -> Floats:
    """(n sum(x²) - sum(x)²) / (n (n - 1)), in pairs of doubles where these decide the result, else in integers."""
    n = count.astype(np.float64)
    s, s_low, _ = sums.doubles()
    q, q_low, _ = squares.doubles()
    left, left_low = two_product(n, q)
    right, right_low = two_product(s, s)
    total, error = two_sum(left, -right)
    error += (left_low + n * q_low) - (right_low + 2 * (s * s_low))
    total, error = two_sum(total, error)
    pairs = n * (n - 1)
    high = total / pairs
    product, product_low = two_product(high, pairs)
    low = ((total - product) - product_low + error) / pairs
    high, low = two_sum(high, low)
    doubt = (2.0**-96 * left) / pairs + 2.0**-98 * np.abs(high)
    sure = (high + (low - doubt) == high) & (high + (low + doubt) == high) & (high > 0) & (count <= _MOST)
    for index in np.flatnonzero(~sure):
        high[index] = _exact_variance(int(count[index]), sums, squares, int(index))
    return high


def _exact_variance(count: int, sums: Sums, squares: Sums, index: int) -> float:
    low, low_square = sums.exponents[-1], squares.exponents[-1]
    unit = min(2 * low, low_square)
    total = count * squares.whole(index) << (low_square - unit)
    total -= sums.whole(index) ** 2 << (2 * low - unit)
    return _ratio(total, unit, count * (count - 1))


def _variance(values: Sequence[float]) -> float:
    """In fractions, slowly: for magnitudes whose squares are no doubles."""
    fractions = [Fraction(value) for value in values]
    n = len(fractions)
    total, squares = sum(fractions, Fraction(0)), sum((each * each for each in fractions), Fraction(0))
    variance = (n * squares - total * total) / (n * (n - 1))
    return _divided(variance.numerator, variance.denominator)


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded sum, and the rounding error."""
    total = a + b
    from_b = total - a
    return total, (a - (total - from_b)) + (b - from_b)


def two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded product, and the rounding error."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def two_square(a: Floats) -> tuple[Floats, Floats]:
    """The rounded square, and the rounding error."""
    square = a * a
    high, low = _halves(a)
    return square, ((high * high - square) + 2 * (high * low)) + low * low


def _halves(a: Floats) -> tuple[Floats, Floats]:
    large = _VELTKAMP * a
    high = large - (large - a)
    return high, a - high


def _limbs(terms: Sequence[Floats], above: int, width: int) -> Iterator[Numbers]:
    """The sum of the terms, each below ``2**above``, as limbs of ``width`` bits; at least one limb."""
    rests = list(terms)
    for place in itertools.count():
        exponent = _exponent(above, width, place)
        limb, rests[0] = _split(rests[0], exponent)
        for index in range(1, len(rests)):
            more, rests[index] = _split(rests[index], exponent)
            limb += more
        yield limb
        rests = [rest for rest in rests if rest.any()]
        if not rests:
            return


def _exponent(above: int, width: int, place: int) -> int:
    """Exponent of the limb at a place, counted from the highest."""
    return max(above - width * (place + 1), _LEAST)


def _split(values: Floats, exponent: int) -> tuple[Numbers, Floats]:
    """The multiple of ``2**exponent`` in each value (``_WIDEST`` bits at most), and the rest."""
    if exponent > _HIGHEST:
        whole = np.trunc(_scaled(values, -exponent))
        return whole.astype(np.int64), values - _scaled(whole, exponent)
    # Between 2^52 and 2^53 doubles are the integers, and their bits increase by 1 from one to the next. So they do at
    # every other scale.
    anchor = np.float64(math.ldexp(1.5, 52 + exponent))
    near = values + anchor
    return near.view(np.int64) - anchor.view(np.int64), values - (near - anchor)


def _running(values: Numbers, cuts: Numbers) -> Numbers:
    total = np.zeros(len(cuts), np.int64)
    np.cumsum(np.add.reduceat(values, cuts[:-1]), out=total[1:])
    return total


def _scaled(values: Floats, exponent: int) -> Floats:
    """The values times ``2**exponent``, which may itself be no double."""
    half = exponent // 2
    if abs(exponent) < -_LEAST // 2:
        return values * 2.0**exponent
    scaled: Floats = values * 2.0**half * 2.0 ** (exponent - half)
    return scaled


def _ratio(whole: int, exponent: int, divisor: int) -> float:
    return _divided(whole << max(exponent, 0), divisor << max(-exponent, 0))


def _divided(a: int, b: int) -> float:
    try:
        return a / b
    except OverflowError:
        return math.inf if a > 0 else -math.inf
