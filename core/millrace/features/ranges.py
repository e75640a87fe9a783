"""Questions about stretches of a column, answered without walking through them, for many stretches at once.

Stretches are given by where they begin and where they end (exclusive).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Values = np.ndarray[Any, Any]

_BLOCK: Final = 16


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


class Extremes:
    """The extreme of any stretch.

    Args:
        values: the column.
        pick: chooses of two values: ``np.fmin``, ``np.maximum`` or the like.
    """

    def __init__(self, values: Values, pick: np.ufunc) -> None:
        self._pick = pick
        self._values = values
        blocks = np.concatenate([values, np.repeat(values[-1:], -len(values) % _BLOCK)]).reshape(-1, _BLOCK)
        # Up to each value from the beginning of its block, and from each value to the end of its block.
        self._until = pick.accumulate(blocks, axis=1).reshape(-1)
        self._since = pick.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].reshape(-1)
        # Of 1, 2, 4, … blocks, by the first of them.
        self._blocks = [self._until[_BLOCK - 1 :: _BLOCK]]
        while len(self._blocks[-1]) > (step := 1 << (len(self._blocks) - 1)):
            self._blocks.append(pick(self._blocks[-1][:-step], self._blocks[-1][step:]))

    def between(self, low: Numbers, high: Numbers) -> Values:
        """The extremes; of an empty stretch any value."""
        if not len(self._values):
            return np.zeros(len(low), self._values.dtype)
        last = np.maximum(high - 1, 0)
        low = np.minimum(low, len(self._values) - 1)
        first_block, last_block = low // _BLOCK, last // _BLOCK
        found: Values = self._pick(self._since[low], self._until[last])
        between = last_block - first_block - 1
        for level, blocks in enumerate(self._blocks):
            here = np.flatnonzero((between >= 1 << level) & (between < 2 << level))
            ends = last_block[here] - (1 << level)
            both = self._pick(blocks[first_block[here] + 1], blocks[ends])
            found[here] = self._pick(found[here], both)
        inside = np.flatnonzero(between < 0)
        found[inside] = self._inside(low[inside], last[inside])
        return found

    def _inside(self, low: Numbers, last: Numbers) -> Values:
        """Of stretches within one block."""
        found = self._values[low]
        for step in range(1, _BLOCK):
            found = self._pick(found, self._values[np.minimum(low + step, np.maximum(last, low))])
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
