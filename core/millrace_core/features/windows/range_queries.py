"""Range queries: extremes, ranks and counts of ranges of a column, for many ranges at once and without a walk through
their values.

A range is given by its first place (``low``) and its end (``high``, exclusive).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from millrace_core.features.types.arrow_numpy import Numbers

Values = np.ndarray[Any, Any]


def first_above(values: Numbers, low: Numbers, high: Numbers, bound: Numbers) -> Numbers:
    """The place of the first value above the bound in each ascending range; the range's end where there is none."""
    low, high = low.copy(), high.copy()
    longest = int((high - low).max()) if len(low) else 0
    for _ in range(longest.bit_length()):
        middle = (low + high) >> 1
        above = values.take(middle, mode="clip") > bound
        searching = low < high
        np.copyto(high, middle, where=above & searching)
        np.copyto(low, middle + 1, where=~above & searching)
    return low


class Partition:
    """A column, cut into pieces so that each of some ranges consists of whole pieces.

    Args:
        count: number of values in the column.
        places: beginnings and ends of the ranges.

    Attributes:
        cuts: the beginnings of the pieces, and the end of the column.
    """

    def __init__(self, count: int, places: Iterable[Numbers]) -> None:
        cut = np.zeros(count + 1, bool)
        cut[0] = cut[-1] = True
        for each in places:
            cut[each] = True
        self.cuts = np.flatnonzero(cut)
        self._number = np.empty(count + 1, np.int64)
        self._number[self.cuts] = np.arange(len(self.cuts))

    def number(self, places: Numbers) -> Numbers:
        """The number of the piece that begins at each of the places."""
        return self._number[places]

    def each(self, pick: np.ufunc, values: Values) -> Values:
        """Each piece of the column as one value."""
        picked: Values = pick.reduceat(values, self.cuts[:-1])
        return picked


def extremes(values: Values, pick: np.ufunc, low: Numbers, high: Numbers) -> Values:
    """The extreme of each range; arbitrary for an empty one.

    Args:
        values: the column.
        pick: chooses one of two values: ``np.fmin``, ``np.maximum`` or the like.
        low: the beginnings.
        high: the ends, exclusive.
    """
    if not len(values):
        return np.zeros(len(low), values.dtype)
    # A sparse table: extremes of 1, 2, 4, … values from each place on. Two of them cover a range.
    picked, together, size = values, 1, high - low
    found = picked[np.minimum(low, len(values) - 1)]
    longest = int(size.max(initial=0))
    while together < longest:
        here = np.flatnonzero((size > together) & (size <= 2 * together))
        found[here] = pick(picked[low[here]], picked[high[here] - together])
        picked, together = pick(picked[:-together], picked[together:]), 2 * together
    return found


def count_below(values: Numbers, low: Numbers, high: Numbers, bound: Numbers) -> Numbers:
    """The number of values below a bound in each range; values and bounds are from 0 to the column's length.

    The column is sorted bit by bit, from the highest bit on, and every range is followed through it (a wavelet matrix:
    F. Claude, G. Navarro, A. Ordóñez, "The wavelet matrix", 2015).
    """
    count = np.zeros(len(low), np.int64)
    for bit in range(len(values).bit_length() - 1, -1, -1):
        values, zeros = _split(values, bit)
        low_zeros, high_zeros = zeros[low], zeros[high]
        one = (bound >> bit & 1).astype(bool)
        count += np.where(one, high_zeros - low_zeros, 0)
        low = np.where(one, zeros[-1] + low - low_zeros, low_zeros)
        high = np.where(one, zeros[-1] + high - high_zeros, high_zeros)
    return count


def smallest(values: Numbers, low: Numbers, high: Numbers, rank: Numbers) -> Numbers:
    """The value of a rank (0 is the least) in each range, which must be longer than the rank; see ``count_below``."""
    found = np.zeros(len(low), np.int64)
    for bit in range(len(values).bit_length() - 1, -1, -1):
        values, zeros = _split(values, bit)
        low_zeros, high_zeros = zeros[low], zeros[high]
        one = rank >= high_zeros - low_zeros
        rank = np.where(one, rank - (high_zeros - low_zeros), rank)
        found |= one.astype(np.int64) << bit
        low = np.where(one, zeros[-1] + low - low_zeros, low_zeros)
        high = np.where(one, zeros[-1] + high - high_zeros, high_zeros)
    return found


def _split(values: Numbers, bit: int) -> tuple[Numbers, Numbers]:
    """The values without the bit, then those with it; and per place how many values before it are without."""
    without = (values >> bit & 1) == 0
    zeros = np.zeros(len(values) + 1, np.int64)
    np.cumsum(without, out=zeros[1:])
    return np.concatenate([values[without], values[~without]]), zeros


def earlier_equal(values: Numbers) -> Numbers:
    """Per value the place of the last equal value before it, plus 1; 0 where there is none."""
    order = np.argsort(values, kind="stable")
    earlier = np.zeros(len(values), np.int64)
    equal = values[order[1:]] == values[order[:-1]]
    earlier[order[1:][equal]] = order[:-1][equal] + 1
    return earlier
