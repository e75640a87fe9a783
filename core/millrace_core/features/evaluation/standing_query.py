"""A query that never ends: it computes rows as they come, without a query being started for them.

To start and end a query takes DuckDB several times as long as to compute 50 rows (``benchmarks/on_demand.py``). So one
query reads an endless stream. The stream holds the rows to compute next, and a padding row whenever the engine reads on
before there are others. The result is streamed, too, and rows come out in the order in which they went in.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import duckdb
import pyarrow as pa

# The query's table, and its column that is true for real rows and false for padding.
GIVEN: Final = "given"
REAL: Final = "real"


class StandingQuery:
    """For one thread at a time.

    Args:
        cursor: for this query alone; closed with it.
        fields: the columns of ``given``, after ``real``.
        query: over ``given``, row by row and in its order; its first column is ``real``.
        at_once: how many rows the engine may be given at once.
    """

    def __init__(self, cursor: Any, fields: Sequence[pa.Field], query: str, at_once: int) -> None:
        self._input = _EndlessStream(pa.schema([(REAL, pa.bool_()), *fields]), at_once)
        self._cursor = cursor
        weakref.finalize(self, _close, cursor)
        cursor.execute("set enable_progress_bar = false")
        # Otherwise the engine computes padding rows until a megabyte is full.
        cursor.execute("set streaming_buffer_size = '1B'")
        cursor.register(GIVEN, self._input)
        cursor.execute(query)

    def rows(self, columns: Sequence[pa.Array], count: int) -> list[tuple[Any, ...]]:
        """Computes rows.

        Args:
            columns: of ``given``, after ``real``, in order.
            count: number of rows.

        Returns:
            The rows, each with True before its outputs.

        Raises:
            duckdb.Error: the engine fails on a row; the query is no longer of use.
        """
        self._input.hold(columns, count)
        found: list[tuple[Any, ...]] = []
        while len(found) < count:
            # One row more than is missing, because a padding row may come before them.
            came = self._cursor.fetchmany(count - len(found) + 1)
            if not came:
                raise duckdb.Error("the standing query has ended")
            found += [row for row in came if row[0]]
        return found


def _close(cursor: Any) -> None:
    with suppress(duckdb.Error):
        cursor.close()


class _EndlessStream:
    """The stream that the query reads."""

    def __init__(self, schema: pa.Schema, at_once: int) -> None:
        self._schema = schema
        self._at_once = at_once
        self._none = pa.record_batch(
            [pa.array([False]), *(pa.nulls(1, field.type) for field in list(schema)[1:])], schema=schema
        )
        self._next: pa.RecordBatch | None = None
        self._true = pa.array([], pa.bool_())

    def hold(self, columns: Sequence[pa.Array], count: int) -> None:
        if len(self._true) < count:
            self._true = pa.array([True] * count)
        self._next = pa.RecordBatch.from_arrays([self._true.slice(0, count), *columns], schema=self._schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while True:
            batch, self._next = self._next, None
            if batch is None:
                yield self._none
            elif len(batch) <= self._at_once:
                yield batch
            else:
                yield from (batch.slice(first, self._at_once) for first in range(0, len(batch), self._at_once))

    def __arrow_c_schema__(self) -> Any:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.RecordBatchReader.from_batches(self._schema, self._batches()).__arrow_c_stream__(requested_schema)
