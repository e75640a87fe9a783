"""Histories in memory, and the point-in-time join as one would write it down without thinking of speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from millrace.api.featureview import FeatureViewSpec
from millrace.features import definition
from millrace.features.definition import Definition
from millrace.features.history import Window


class TableSource:
    """A table as a source, in batches of a few rows; it prunes nothing."""

    def __init__(self, table: pa.Table, batch_rows: int = 70) -> None:
        self.table = table
        self.batch_rows = batch_rows

    def scan(self, columns: Sequence[str], window: Window) -> Iterator[pa.RecordBatch]:
        yield from self.table.select(list(columns)).to_batches(self.batch_rows)


def view(
    *features: tuple[str, str] | tuple[str, str, str],
    keys: Sequence[tuple[str, str]] = (("id", "int64"),),
    ttl: str | None = None,
    created: str | None = None,
    name: str = "v",
) -> Definition:
    """A definition with features as (name, type) or (name, type, column), of source columns ``id`` and ``at``."""
    spec = FeatureViewSpec.model_validate(
        {
            "entities": [{"name": key, "type": kind} for key, kind in keys],
            "source": {"parquet": {"uri": "file:///nowhere"}, "timestampField": "at", "createdTimestampField": created},
            "features": [dict(zip(("name", "type", "column"), feature, strict=False)) for feature in features],
            "ttl": ttl,
        }
    )
    return definition.compile(name, "default", spec)


def times(values: Sequence[int | None]) -> pa.Array:
    return pa.array(values, pa.timestamp("us", "UTC"))


def visible(
    rows: Sequence[dict[str, Any]], key: Sequence[Any], at: int | None, ttl: int | None, *, cutoff: bool = False
) -> dict[str, Any] | None:
    """The row that is visible at a moment: every rule of the semantics, one line each.

    Rows hold ``key`` (a tuple), ``at`` and ``created`` in microseconds, in the source's order.
    """
    best = None
    for row in rows:
        if at is None or None in key or row["key"] != tuple(key) or row["at"] is None:
            continue
        if row["at"] > at or (ttl is not None and row["at"] < at - ttl):
            continue
        if cutoff and (row["created"] is None or row["created"] > at):
            continue
        if best is None or _rank(row) >= _rank(best):
            best = row
    return best


def _rank(row: dict[str, Any]) -> tuple[int, bool, int]:
    created = row["created"]
    return row["at"], created is not None, created or 0
