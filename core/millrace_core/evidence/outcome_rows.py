"""Exposures and outcomes as rows of the evidence lake, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from millrace_core.evidence import layout
from millrace_core.evidence.columns import TIME
from millrace_core.evidence.outcome import Exposure, Outcome

OUTCOMES: Final = "outcomes"
EXPOSURES: Final = "exposures"

EXPOSURE_COLUMNS: Final = pa.schema(
    [
        ("namespace", pa.string()),
        ("experiment", pa.string()),
        ("uid", pa.string()),
        ("unit", pa.string()),
        ("arm", pa.string()),
        ("epoch", pa.int32()),
        ("bucket", pa.int32()),
        ("time", TIME),
    ]
)
OUTCOME_COLUMNS: Final = pa.schema(
    [
        ("namespace", pa.string()),
        ("experiment", pa.string()),
        ("uid", pa.string()),
        ("unit", pa.string()),
        ("outcome", pa.string()),
        ("value", pa.float64()),
        ("time", TIME),
        ("id", pa.string()),
        ("received", TIME),
    ]
)


def exposure_table(records: Sequence[Exposure]) -> pa.Table:
    """Rows of records."""
    return _table(records, EXPOSURE_COLUMNS)


def outcome_table(records: Sequence[Outcome]) -> pa.Table:
    """Rows of records."""
    return _table(records, OUTCOME_COLUMNS)


def exposures(table: pa.Table) -> Iterator[Exposure]:
    """The records of rows."""
    return map(Exposure._make, _rows(table, EXPOSURE_COLUMNS))


def outcomes(table: pa.Table) -> Iterator[Outcome]:
    """The records of rows."""
    return map(Outcome._make, _rows(table, OUTCOME_COLUMNS))


def outcome_folder(namespace: str, hour: int) -> str:
    """Where outcomes of a namespace lie that were received in an hour since 1970."""
    start = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{OUTCOMES}/{layout.part('namespace', namespace)}/date={start:%Y-%m-%d}/hour={start:%H}"


def exposure_folder(namespace: str, experiment: str, hour: int) -> str:
    """Where exposures of an experiment lie whose day has this hour since 1970."""
    start = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{experiment_folder(namespace, experiment)}/date={start:%Y-%m-%d}"


def experiment_folder(namespace: str, experiment: str) -> str:
    """Where all exposures of experiments of this name lie."""
    return f"{EXPOSURES}/{layout.part('namespace', namespace)}/{layout.part('experiment', experiment)}"


def _table(records: Sequence[Exposure] | Sequence[Outcome], schema: pa.Schema) -> pa.Table:
    columns = zip(*records, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _rows(table: pa.Table, schema: pa.Schema) -> Iterator[tuple[object, ...]]:
    plain = [
        table.column(field.name).cast(pa.int64()) if field.type == TIME else table.column(field.name)
        for field in schema
    ]
    return zip(*(column.to_pylist() for column in plain), strict=True)
