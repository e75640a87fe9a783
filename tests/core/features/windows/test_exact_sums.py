from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace_core.features.windows import exact_sums, range_queries
from millrace_core.features.windows.exact_sums import RunningMoments, RunningSums, RunningWholes
from millrace_core.features.windows.range_queries import Partition

ANY = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(2.0**-1024, 2.0**-1014),
    st.sampled_from(
        [1 - 2.0**-53, 0.0, 5e-324, 2.0**-1022, 1.7976931348623157e308, -1.7976931348623157e308, 2.0**970, 1.0, 0.1]
    ),
)
# So small that the second limb has only a few bits.
TINY = st.floats(2.0**-1024, 2.0**-1022)
# Numbers of which squares are worked out by column (``_SQUARES``), far apart and close together.
SQUARABLE = st.one_of(
    st.floats(2.0**-400, 2.0**450), st.floats(-(2.0**30), -(2.0**-30)), st.sampled_from([0.0, 1.0, 0.1])
)
# Whole numbers of which few, or one alone, reach an end of int64.
WHOLES = [-(2**63), 1 - 2**63, -(2**62) - 1, -(2**62), -1, 0, 1, 2**62 - 1, 2**62, 2**63 - 1]
# Lengths of columns whose limbs have fewer bits than they may, and as many.
LENGTHS = st.sampled_from([exact_sums._BLOCK + 10, 40, 1])
# Stretches that begin in one block and end in the next, or within one, and all values.
LOW, HIGH = np.array([8185, 8190, 8192, 8180, 3, 5, 0]), np.array([8195, 8193, 8192, 8192, 4, 12, 8202])


def whole(values: list[float]) -> float:
    return nearest(total(values))


def total(values: list[float]) -> Fraction:
    return sum((Fraction(value) * times for value, times in Counter(values).items()), Fraction(0))


def variance(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = total(values) / len(values)
    squares = ((Fraction(value) - mean) ** 2 * times for value, times in Counter(values).items())
    return nearest(sum(squares, Fraction(0)) / (len(values) - 1))


def nearest(value: Fraction) -> float:
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def stretches(values: np.ndarray[Any, Any]) -> list[list[float]]:
    return [values[low:high].tolist() for low, high in zip(LOW, HIGH, strict=True)]


def variances(values: np.ndarray[Any, Any]) -> list[float]:
    """Of the stretches, as the code under test finds them."""
    low, high = np.minimum(LOW, len(values)), np.minimum(HIGH, len(values))
    pieces = Partition(len(values), [low, high])
    with np.errstate(all="ignore"):
        moments = RunningMoments(values, pieces.cuts, RunningSums(values, pieces.cuts))
        found: list[float] = moments.variances(pieces.number(low), pieces.number(high)).tolist()
    return found


@given(st.lists(ANY, min_size=1, max_size=17) | st.lists(TINY, min_size=5, max_size=17), LENGTHS)
@example([1 - 2.0**-53], exact_sums._BLOCK + 10)
@example([1 - 2.0**-53, -1 / 3], 40)
def test_sums_of_stretches_are_exact_at_every_size_of_number(drawn: list[float], length: int) -> None:
    values = np.resize(np.array(drawn), length)
    low, high = np.minimum(LOW, length), np.minimum(HIGH, length)
    pieces = Partition(length, [low, high])
    with np.errstate(all="ignore"):
        found = RunningSums(values, pieces.cuts).between(pieces.number(low), pieces.number(high)).rounded()
    assert found.tolist() == [whole(stretch) for stretch in stretches(values)]


@given(st.lists(SQUARABLE, min_size=1, max_size=17), LENGTHS)
@example([1 - 2.0**-53, 1 / 3], exact_sums._BLOCK + 10)
def test_variances_of_stretches_are_exact(drawn: list[float], length: int) -> None:
    values = np.resize(np.array(drawn), length)
    assert variances(values) == [variance(stretch) for stretch in stretches(values)]


@given(
    st.lists(st.floats(-1, 1).filter(bool), min_size=1, max_size=17),
    st.integers(-410, -390) | st.integers(-540, -505) | st.integers(440, 460) | st.integers(500, 530),
)
@example([0.3, 0.9], -520)
@example([0.3, 0.9], 520)
def test_variances_are_exact_where_squares_begin_to_lose_bits_or_overflow(drawn: list[float], exponent: int) -> None:
    values = np.resize(np.ldexp(np.array(drawn), exponent), 40)
    assert variances(values) == [variance(stretch) for stretch in stretches(values)]


@given(
    st.lists(st.sampled_from(WHOLES), max_size=12)
    | st.lists(st.sampled_from([each for each in WHOLES if each < 0]), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=4),
)
@example([2**62, 2**62], [(0, 2)])
@example([-(2**62)] * 3, [(0, 3)])
def test_sums_of_whole_numbers_are_right_or_told_to_be_beyond_int64(
    drawn: list[int], pairs: list[tuple[int, int]]
) -> None:
    places = np.array([sorted((min(a, len(drawn)), min(b, len(drawn)))) for a, b in pairs], np.int64)
    low, high = places.T
    pieces = Partition(len(drawn), [low, high])
    found, fit = RunningWholes(np.array(drawn, np.int64), pieces.cuts).between(pieces.number(low), pieces.number(high))
    sums = [sum(drawn[a:b]) for a, b in places]
    assert fit == all(-(2**63) <= each < 2**63 for each in sums)
    assert not fit or found.tolist() == sums


@pytest.mark.parametrize("pick", [np.fmin, np.maximum])
@given(data=st.data())
def test_extremes_of_stretches_are_those_of_their_values(pick: np.ufunc, data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(st.floats(-9, 9) | st.just(math.nan), max_size=40)), float)
    ends = st.integers(0, len(values))
    pairs = data.draw(st.lists(st.tuples(ends, ends).map(sorted), max_size=20))
    low, high = np.array(pairs, np.int64).reshape(-1, 2).T
    pieces = range_queries.Partition(len(values), [low, high])
    found = range_queries.extremes(pieces.each(pick, values), pick, pieces.number(low), pieces.number(high))
    assert len(found) == len(pairs)
    for each, (a, b) in zip(found, pairs, strict=True):
        assert a == b or np.array_equal(each, pick.reduce(values[a:b]), equal_nan=True)
