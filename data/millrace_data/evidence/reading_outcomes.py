"""Outcomes out of the lake, each id once, in the order in which they came about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.evidence import layout
from millrace_core.evidence.columns import fitted
from millrace_core.evidence.outcome_rows import OUTCOME_COLUMNS, OUTCOMES
from millrace_data.evidence import reading
from millrace_data.evidence.lake import Lake


class Question(NamedTuple):
    """Which outcomes are wanted.

    Attributes:
        experiment: None: of all.
        start, end: of ``received``; ``end`` is not included.
        limit: at most so many rows, the newest; None: all.
    """

    namespace: str
    start: datetime
    end: datetime
    experiment: str | None = None
    limit: int | None = None


def read(lake: Lake, question: Question) -> pa.Table:
    """The rows; none where there are none.

    Raises:
        RejectError: the period is none. RetryError: the lake does not answer, or is being changed all the time.
    """
    return reading.while_files_go(lake, question.start, question.end, lambda: _read(lake, question))


def _read(lake: Lake, question: Question) -> pa.Table:
    keep = matches(question)
    parts = [OUTCOME_COLUMNS.empty_table()]
    for hour in hours(lake, question):
        for file, parquet in reading.opened(lake, hour):
            with lake.explained(file.path):
                table = parquet.read()
            parts.append(fitted(table.replace_schema_metadata(), OUTCOME_COLUMNS).filter(keep))
    found = pa.concat_tables(parts).sort_by([("received", "ascending")])
    once = found.append_column("at", pa.array(range(found.num_rows), pa.int64()))
    first = once.group_by(["uid", "id"]).aggregate([("at", "min")]).column("at_min")
    table = found.take(first.combine_chunks()).sort_by([("time", "ascending"), ("id", "ascending")])
    return table if question.limit is None else table.slice(max(0, table.num_rows - question.limit))


def matches(question: Question) -> pc.Expression:
    """Whether a row is of the period and experiment that are asked for."""
    kind = OUTCOME_COLUMNS.field("received").type
    keep = (pc.field("received") >= pa.scalar(question.start, kind)) & (
        pc.field("received") < pa.scalar(question.end, kind)
    )
    return keep if question.experiment is None else keep & (pc.field("experiment") == question.experiment)


def hours(lake: Lake, question: Question) -> Iterator[str]:
    """Folders of hours that may have rows of the period, in the order of time."""
    for folder in lake.folders(f"{OUTCOMES}/{layout.part('namespace', question.namespace)}"):
        day = layout.date_in(folder)
        if day is None:
            continue
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if midnight < question.end and midnight + timedelta(days=1) > question.start:
            yield from lake.folders(folder)
