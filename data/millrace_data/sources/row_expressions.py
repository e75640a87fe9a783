"""Expressions over the rows of a source, evaluated by DuckDB over batches as they come, whatever the kind of source.

They see times as they are in UTC, without a zone. Memory, time and the length of what they read are limited as those of
features (``program``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.features.evaluation.slices import rows_of, sliced
from millrace_core.features.evaluation.time_limit import BATCH_SECONDS, LIMIT, TimeLimit
from millrace_core.features.expressions.duckdb_settings import IN_MEMORY, NO_DOWNLOADS
from millrace_core.features.expressions.expressions import Expression

_SETTINGS: Final[dict[str, Any]] = {"threads": 1, **IN_MEMORY, **NO_DOWNLOADS}


class RowExpressions:
    """A DuckDB session. What it cannot compute, or not in time, it raises as ``duckdb.Error``.

    Args:
        seconds: how long a batch may take.
    """

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, limit: TimeLimit = LIMIT, seconds: float = BATCH_SECONDS
    ) -> None:
        self._engine = engine
        self._limit = limit
        self._seconds = seconds

    def evaluate(
        self,
        batch: pa.RecordBatch,
        columns: Sequence[str],
        selected: Sequence[str],
        expressions: Sequence[Expression] = (),
    ) -> list[pa.Array]:
        """The value of each selected SQL for each row; it sees the named columns of the batch.

        Args:
            expressions: those that are selected, by which the rows are given to DuckDB a few at a time.
        """
        read = batch.select(list(columns))
        rows = rows_of(read, [(each.growth(), each.longest) for each in expressions])
        slices = pa.Table.from_batches(sliced(read, rows), read.schema)
        self._register(columns, slices.columns, batch.num_rows)
        named = ", ".join(f"{sql} as f{index}" for index, sql in enumerate(selected))
        with self._limit.over(self._engine, self._seconds):
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
def row_expressions(seconds: float = BATCH_SECONDS) -> Iterator[RowExpressions]:
    """A session of its own, in which a batch may take so many seconds."""
    with duckdb.connect(":memory:", config=_SETTINGS) as engine:
        engine.execute("set TimeZone = 'UTC'")
        yield RowExpressions(engine, seconds=seconds)


def failure(error: duckdb.Error, what: str, where: str) -> RejectError:
    """The refusal of a batch that cannot be computed; ``what`` is computed, such as "the filter"."""
    hint = "Make it simpler, or compute it in the source"
    if isinstance(error, duckdb.InterruptException):
        return RejectError(
            f"{what} took too long for a batch of rows, and was stopped",
            hint=hint,
            field=where,
            reason="ExpressionTooSlow",
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return RejectError(
            f"{what} needs more than {IN_MEMORY['memory_limit']} for a batch of rows",
            hint=hint,
            field=where,
            reason="ExpressionTooLarge",
        )
    said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return RejectError(
        f"{what} fails on a row: {said}",
        hint="Guard it, for example with try_cast or nullif",
        field=where,
        reason="BadExpression",
    )


def _none(column: pa.ChunkedArray) -> pa.Array:
    return pa.nulls(0, column.type)


def _zoneless(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(pa.int64()).cast(pa.timestamp(kind.unit))
    return column
