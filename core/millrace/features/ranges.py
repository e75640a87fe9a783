"""Questions about stretches of a column, answered without walking through them, for many stretches at once.

Stretches are given by where they begin and where they end (exclusive).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Values = np.ndarray[Any, Any]


def first_above(values: Numbers, low: Numbers, high: Numbers, bound: Numbers) -> Numbers:
    """Where the first value above the bound stands in each ascending stretch; its end where there is none."""
    low, high = low.copy(), high.copy()
    longest = int((high - low).max()) if len(low) else 0
    for _ in range(longest.bit_length()):
        middle = (low + high) >> 1
        above = values.take(middle, mode="clip") > bound
        searching = low < high
        np.copyto(high, middle, where=above & searching)
        np.copyto(low, middle + 1, where=~above & searching)
    return low


def extremes(values: Values, pick: np.ufunc, low: Numbers, high: Numbers) -> Values:
    """The extreme of each stretch; of an empty one any value.

    Args:
        values: the column.
        pick: chooses of two values: ``np.fmin``, ``np.maximum`` or the like.
        low: where stretches begin.
        high: where they end.
    """
    edge = np.zeros(len(values) + 1, bool)
    edge[low] = edge[high] = True
    # The column in pieces, between which no stretch begins or ends.
    begins = np.flatnonzero(edge[:-1])
    if not len(begins):
        return np.zeros(len(low), values.dtype)
    number = np.empty(len(values) + 1, np.int64)
    number[begins], number[-1] = np.arange(len(begins)), len(begins)
    first, end = number[low], number[high]
    # Of 1, 2, 4, … pieces, by the first of them; two such cover a stretch.
    picked, together = pick.reduceat(values, begins), 1
    found: Values = picked[np.minimum(first, len(begins) - 1)]
    longest = int((end - first).max())
    while 2 * together <= longest:
        picked, together = pick(picked[:-together], picked[together:]), 2 * together
        here = np.flatnonzero((end - first >= together) & (end - first < 2 * together))
        found[here] = pick(picked[first[here]], picked[end[here] - together])
    return found


def count_below(values: Numbers, low: Numbers, high: Numbers, bound: Numbers) -> Numbers:
    """How many values of each stretch are below its bound; values and bounds are from 0 to the column's length.

    The column is sorted bit by bit, from the highest (a wavelet matrix: F. Claude, G. Navarro, A. Ordóñez, "The wavelet
    matrix", 2015), and every stretch is followed through it.
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
    """The value of that rank (0 is the least) of each stretch, which must be longer; values as in ``count_below``."""
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
    """The values without the bit and then those with it, and how many without it stand before each place."""
    without = (values >> bit & 1) == 0
    zeros = np.zeros(len(values) + 1, np.int64)
    np.cumsum(without, out=zeros[1:])
    return np.concatenate([values[without], values[~without]]), zeros


def earlier_equal(values: Numbers) -> Numbers:
    """Per value one more than where the last equal one before it stands; 0 where there is none."""
    order = np.argsort(values, kind="stable")
    earlier = np.zeros(len(values), np.int64)
    equal = values[order[1:]] == values[order[:-1]]
    earlier[order[1:][equal]] = order[:-1][equal] + 1
    return earlier
