"""Stretches of event time."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from millrace_operators.featureview import intervals
from millrace_operators.featureview.intervals import BEGINNING, MOST, Interval, merge, missing

DAY = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 40


def hour(number: int) -> datetime:
    return DAY + timedelta(hours=number)


many = st.lists(
    st.tuples(st.integers(0, HOURS), st.integers(0, HOURS)).map(lambda pair: Interval(hour(pair[0]), hour(pair[1])))
)


def covered(parts: list[Interval] | tuple[Interval, ...]) -> set[int]:
    """The hours whose end lies in one of the intervals: the meaning of (start, end], brute force."""
    return {number for number in range(HOURS + 1) if any(part.start < hour(number) <= part.end for part in parts)}


@given(many)
def test_merging_keeps_what_is_covered_and_nothing_more(parts: list[Interval]) -> None:
    assert covered(merge(parts)) == covered(parts)


@given(many)
def test_merged_stretches_are_in_order_and_apart(parts: list[Interval]) -> None:
    merged = merge(parts)
    assert all(left.end < right.start for left, right in itertools.pairwise(merged))
    assert all(part.start < part.end for part in merged)


@given(many)
def test_merging_is_idempotent_and_knows_no_order(parts: list[Interval]) -> None:
    assert merge(merge(parts)) == merge(parts) == merge(reversed(parts))


@given(many, st.integers(0, HOURS), st.integers(0, HOURS))
def test_missing_is_exactly_what_is_wanted_and_not_covered(parts: list[Interval], start: int, end: int) -> None:
    wanted = Interval(hour(start), hour(end))
    assert covered(missing(wanted, parts)) == covered([wanted]) - covered(parts)


def test_of_too_many_stretches_the_oldest_are_forgotten() -> None:
    parts = [Interval(hour(2 * number), hour(2 * number + 1)) for number in range(MOST + 7)]
    assert merge(parts) == tuple(parts[7:])


def test_the_beginning_is_written_and_read_back() -> None:
    whole = Interval(BEGINNING, DAY)
    assert intervals.parse(intervals.render(whole)) == whole
    assert intervals.parse({"end": "2026-01-01T00:00:00Z"}) == whole
    assert str(whole) == "(the beginning, 2026-01-01T00:00:00Z]"
