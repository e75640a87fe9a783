"""Intervals of event time, each after its start up to and including its end: which are covered, which are missing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from millrace_core.base import timestamps

# The start where a view has no startFrom: everything that the source holds.
BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
MOST: Final = 100


class Interval(NamedTuple):
    """``(start, end]``."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        start = "the beginning" if self.start == BEGINNING else timestamps.render(self.start)
        return f"({start}, {timestamps.render(self.end)}]"


def merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same intervals in order, without overlap, neighbours joined.

    Of more than 100 the oldest are dropped. They would be covered again, which is harmless.
    """
    merged: list[Interval] = []
    for interval in sorted(intervals):
        if interval.start >= interval.end:
            continue
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, interval.end))
        else:
            merged.append(interval)
    return tuple(merged[-MOST:])


def missing(wanted: Interval, covered: Iterable[Interval]) -> tuple[Interval, ...]:
    """The parts of ``wanted`` that ``covered`` leaves out, oldest first."""
    gaps: list[Interval] = []
    position = wanted.start
    for interval in merge(covered):
        if interval.start > position:
            gaps.append(Interval(position, min(interval.start, wanted.end)))
        position = max(position, interval.end)
        if position >= wanted.end:
            break
    gaps.append(Interval(position, wanted.end))
    return tuple(gap for gap in gaps if gap.start < gap.end)


def parse(document: dict[str, Any]) -> Interval:
    """From ``{"start", "end"}``; an absent start is the beginning.

    Raises:
        RejectError: a part is no time. KeyError: there is no end.
    """
    start = document.get("start")
    return Interval(timestamps.parse(start) if start else BEGINNING, timestamps.parse(document["end"]))


def render(interval: Interval) -> dict[str, str]:
    """The form in status; the beginning is left out."""
    start = {} if interval.start == BEGINNING else {"start": timestamps.render(interval.start)}
    return {**start, "end": timestamps.render(interval.end)}
