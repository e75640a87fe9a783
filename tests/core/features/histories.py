"""Histories in memory, and the point-in-time join as one would write it down without thinking of speed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import TimeRange


class TableSource:
    """A table as a source, in batches of a few rows; it prunes nothing."""

    def __init__(self, table: pa.Table, batch_rows: int = 70) -> None:
        self.table = table
        self.batch_rows = batch_rows

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        yield from self.table.select(list(columns)).to_batches(self.batch_rows)


def view(
    *features: tuple[str, str] | tuple[str, str, str] | dict[str, Any],
    keys: Sequence[tuple[str, str]] = (("id", "int64"),),
    ttl: str | None = None,
    created: str | None = None,
    name: str = "v",
    every: str | None = None,
) -> Definition:
    """A definition of source columns ``id`` and ``at``; features are (name, type), (name, type, column) or whole."""
    named = [
        feature if isinstance(feature, dict) else dict(zip(("name", "type", "column"), feature, strict=False))
        for feature in features
    ]
    document = {
        "entities": [{"name": key, "type": kind} for key, kind in keys],
        "source": {"parquet": {"uri": "file:///nowhere"}, "timestampField": "at", "createdTimestampField": created},
        "features": named,
        "ttl": ttl,
    }
    if every is not None:
        document["aggregation"] = {"every": every}
    return definition.compile(name, "default", FeatureViewSpec.model_validate(document))


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


def aggregated(values: Sequence[Any], function: str, kind: str, quantile: float | None = None) -> Any:
    """An aggregate as one would write it down: of a window's values, in the order of event and created time."""
    there = [value for value in values if value is not None]
    if function in ("count", "count_distinct", "sum"):
        return _total(there, function, kind)
    if not there:
        return None
    if function in ("first", "last"):
        return there[0 if function == "first" else -1]
    if function in ("mean", "var", "stddev"):
        return _moment(there, function, kind)
    ordered = sorted(there, key=lambda value: (math.isnan(value), 0 if math.isnan(value) else value))
    if function == "approx_percentile":
        return narrowed(ordered[max(math.ceil(Fraction(repr(quantile)) * len(there)), 1) - 1] + 0.0, kind)
    found = ordered[0 if function == "min" else -1]
    return found + 0.0 if isinstance(found, float) else found


def narrowed(value: float, kind: str) -> float:
    """As the type holds it."""
    with np.errstate(over="ignore"):
        return float(np.float32(value)) if kind == "float32" else float(value)


def _total(values: Sequence[Any], function: str, kind: str) -> Any:
    if function == "count":
        return len(values)
    if function == "count_distinct":
        return len({"NaN" if isinstance(value, float) and math.isnan(value) else value for value in values})
    return sum(values) if kind == "int64" else narrowed(_sum([float(value) for value in values]), kind)


def _moment(values: Sequence[float], function: str, kind: str) -> float | None:
    if function == "mean":
        return narrowed(_sum(values) / len(values), kind)
    n = len(values)
    if n == 1:
        return None
    if any(not math.isfinite(value) for value in values):
        return math.nan
    exact = [Fraction(value) for value in values]
    variance = _float((n * sum(each * each for each in exact) - sum(exact) ** 2) / (n * (n - 1)))
    return narrowed(math.sqrt(variance) if function == "stddev" else variance, kind)


def _sum(values: Sequence[float]) -> float:
    odd = [value for value in values if not math.isfinite(value)]
    return sum(odd) if odd else _float(sum(map(Fraction, values)))


def _float(value: Fraction | float) -> float:
    """Rounded once, to infinity beyond the range."""
    try:
        return Fraction(value).numerator / Fraction(value).denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf
