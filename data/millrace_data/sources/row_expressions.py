"""Expressions over the rows of a source, evaluated by DuckDB over batches as they come, whatever the kind of source.

They see times as they are in UTC, without a zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa

from millrace_core.features.evaluation.time_limit import BATCH_SECONDS, LIMIT, TimeLimit
from millrace_core.features.expressions.duckdb_settings import NO_DOWNLOADS

_SETTINGS: Final[dict[str, Any]] = {"threads": 1, **NO_DOWNLOADS}


class RowExpressions:
    """A DuckDB session. What it cannot compute, or not in time, it raises as ``duckdb.Error``."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, limit: TimeLimit = LIMIT) -> None:
        self._engine = engine
        self._limit = limit

    def evaluate(self, batch: pa.RecordBatch, columns: Sequence[str], selected: Sequence[str]) -> list[pa.Array]:
        """The value of each selected SQL for each row; it sees the named columns of the batch."""
        self._register(columns, [batch.column(name) for name in columns], batch.num_rows)
        named = ", ".join(f"{sql} as f{index}" for index, sql in enumerate(selected))
        with self._limit.over(self._engine, BATCH_SECONDS):
            found = self._engine.sql(f"select {named} from rows").to_arrow_table()  # noqa: S608 written anew
        return [pa.concat_arrays(column.chunks) if column.num_chunks else _none(column) for column in found.columns]

    def types(self, schema: pa.Schema) -> dict[str, str]:
        """The SQL types of columns."""
        self._register(schema.names, schema.empty_table().columns, 0)
        return {row[0]: row[1] for row in self._engine.execute("describe select * from rows").fetchall()}

    def _register(self, names: Sequence[str], columns: Sequence[Any], rows: int) -> None:
        made: Mapping[str, Any] = {name: _zoneless(column) for name, column in zip(names, columns, strict=True)}
        self._engine.register("rows", pa.table(made or {"": pa.nulls(rows)}))


@contextmanager
def row_expressions() -> Iterator[RowExpressions]:
    """A session of its own."""
    with duckdb.connect(":memory:", config=_SETTINGS) as engine:
        engine.execute("set TimeZone = 'UTC'")
        yield RowExpressions(engine)


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _none(column: pa.ChunkedArray) -> pa.Array:
    return pa.nulls(0, column.type)


def _zoneless(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(pa.int64()).cast(pa.timestamp(kind.unit))
    return column
