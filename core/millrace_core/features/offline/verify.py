"""The skew check: compares rows of the online store with the same features computed from the view's history.

Both are taken as of the same moment. For a row at or before the view's watermark this is the watermark, up to which the
store claims to be complete. For a later row (pushed, or written by a run that has not ended) it is its own event time.
Two kinds of difference are no skew: the store and the source are only not equally far. They are counted separately.

- *ahead*: the row is later than the watermark, and the source does not hold it yet.
- *waiting*: the source's row came after the last run, by its created time or, where there is none, within ``lateness``.
  The next run takes it.

Rows that are later than now by more than pushes may be are a fault of their own: nobody sees them, and they come into
sight one day. They were written before there was a rule, or with a clock or a tolerance that was wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.online import keys, stored_value
from millrace_core.features.online.generation import TOLERANCE
from millrace_core.features.online.row_reader import Layouts, RowReader
from millrace_core.features.types.conform import KEY_ARROW

SHOWN = 100


class StoredRow(NamedTuple):
    """One row of the online store."""

    key: bytes
    row: bytes


class LaterRow(NamedTuple):
    """An entity with a row that is later than now, and that row's event time, microseconds."""

    entity: Mapping[str, Any]
    event_time: int


class Mismatch(NamedTuple):
    """One value that differs; times are microseconds."""

    entity: Mapping[str, Any]
    feature: str
    online: Any
    offline: Any
    as_of: int


class OfflineValues(NamedTuple):
    """Features computed from history, one entry per entity and moment.

    Beside the values there are the event and created times, in microseconds, of the row that they come from; None where
    there is no row, or where they are unknown.
    """

    values: Mapping[str, Sequence[Any]]
    event_times: Sequence[int | None]
    created_times: Sequence[int | None]


@dataclass
class VerifyReport:
    """The result of a skew check.

    Attributes:
        rows: number of rows compared.
        values: number of values compared.
        mismatches: the first ``SHOWN`` of ``different``.
        different: number of values that differ.
        ahead: number of rows that the source does not hold yet.
        waiting: number of rows that the next run brings.
        later: number of entities with a row that is too much later than now, of all that were looked at.
        later_rows: the first ``SHOWN`` of them.
    """

    rows: int = 0
    values: int = 0
    different: int = 0
    ahead: int = 0
    waiting: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    later: int = 0
    later_rows: list[LaterRow] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether no value differs, and no row is later than it may be."""
        return self.different == 0 and self.later == 0


Recompute = Callable[[Sequence[str], EntityFrame], OfflineValues]


def check(
    definition: Definition,
    stored: Sequence[StoredRow],
    watermark: int | None,
    recompute: Recompute,
    *,
    now: int,
    created: int | None = None,
    layouts: Layouts | None = None,
    as_of: int | None = None,
) -> VerifyReport:
    """Compares rows with their history.

    Args:
        definition: the view's.
        stored: rows of the view, in any order.
        watermark: the event time up to which the store is complete, microseconds; None where it never was.
        recompute: computes features, by name, for a frame of entities and moments.
        now: the present moment, microseconds.
        created: the created time up to which runs have read the source, microseconds; None where unknown.
        layouts: layouts of rows of earlier definitions.
        as_of: the moment to compare at, instead of the watermark; later rows are left out.

    Raises:
        ReportError: a key or a row is not of the view.
    """
    names = [feature.name for feature in definition.stored if not feature.name.startswith("$")]
    reader = RowReader(definition, names)
    report = VerifyReport()
    rows = _comparable(definition, stored, watermark, now=now, as_of=as_of)
    if not rows:
        return report
    offline = recompute(names, _frame(definition, rows))
    progress = _Progress(definition.windowed, watermark, created, definition.lateness)
    for index, row in enumerate(rows):
        read = reader.read([row.stored], row.as_of, layouts)
        online = [column.values[0] for column in read.features]
        there = [offline.values[name][index] for name in names]
        report.rows += 1
        report.values += len(names)
        wrong = _mismatches(row, names, online, there)
        if not wrong:
            continue
        event, written = offline.event_times[index], offline.created_times[index]
        if progress.ahead(row.event_time, event):
            report.ahead += 1
        elif progress.waiting(row.event_time, event, written):
            report.waiting += 1
        else:
            report.different += len(wrong)
            report.mismatches += wrong[: SHOWN - len(report.mismatches)]
    return report


def _mismatches(row: _Row, names: Sequence[str], online: Sequence[Any], offline: Sequence[Any]) -> list[Mismatch]:
    return [
        Mismatch(row.entity, name, mine, theirs, row.as_of)
        for name, mine, theirs in zip(names, online, offline, strict=True)
        if not same(mine, theirs)
    ]


def same(online: Any, offline: Any) -> bool:
    """Whether two values have the same bits, where all NaN count as the same."""
    if isinstance(online, float) and isinstance(offline, float):
        if math.isnan(online) or math.isnan(offline):
            return math.isnan(online) and math.isnan(offline)
        return online == offline and math.copysign(1, online) == math.copysign(1, offline)
    if isinstance(online, list | tuple) and isinstance(offline, list | tuple):
        return len(online) == len(offline) and all(map(same, online, offline))
    return type(online) is type(offline) and bool(online == offline)


class _Progress(NamedTuple):
    """How far runs have come, to tell differences that follow from that alone."""

    windowed: bool
    watermark: int | None
    created: int | None
    lateness: int

    def ahead(self, online: int, offline: int | None) -> bool:
        """Whether the source does not hold the stored row yet, by the event times of both."""
        if self.windowed:
            return False  # snapshots come from runs alone, and their time is the run's end
        return (self.watermark is None or online > self.watermark) and (offline is None or offline < online)

    def waiting(self, online: int, offline: int | None, written: int | None) -> bool:
        """Whether the source's row came after the last run, and the next run will read it."""
        if self.watermark is None or offline is None:
            return False
        if written is not None and self.created is not None:
            return written > self.created
        return offline > online and offline > self.watermark - self.lateness


class _Row(NamedTuple):
    """A row that is compared, its entity and event time, and the moment at which it is."""

    stored: bytes
    entity: Mapping[str, Any]
    event_time: int
    as_of: int


def _comparable(
    definition: Definition, stored: Sequence[StoredRow], watermark: int | None, *, now: int, as_of: int | None
) -> list[_Row]:
    """The rows that are not later than they may be, and with ``as_of`` not later than that."""
    latest = now + TOLERANCE if as_of is None else min(as_of, now + TOLERANCE)
    found = []
    for each in stored:
        row = stored_value.visible(each.row, now)
        event_time = stored_value.event_time(row)
        if event_time > latest:
            continue
        complete = event_time if watermark is None else max(event_time, watermark)
        entity = keys.entity(definition, each.key)
        found.append(_Row(row, entity, event_time, complete if as_of is None else as_of))
    return found


def _frame(definition: Definition, rows: Sequence[_Row]) -> EntityFrame:
    columns = {
        key.name: pa.array([row.entity[key.name] for row in rows], KEY_ARROW[key.type]) for key in definition.entities
    }
    return EntityFrame(columns, pa.array([row.as_of for row in rows], pa.int64()))
