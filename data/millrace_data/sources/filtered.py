"""A row filter (``spec.source.where``) over any source: the rows for which the condition is true; null is not true.

DuckDB evaluates it for every kind of source, over batches as they come, so that one condition means one thing
wherever the rows are kept. It sees times as they are in UTC, without a zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.features.expressions import expressions
from millrace_core.features.expressions.sql_writer import quoted
from millrace_core.features.history.history import DescribedSource, TimeRange
from millrace_data.sources.columns import WHERE_FIELD

_SETTINGS: Final[dict[str, Any]] = {
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


class FilteredSource:
    """Implements ``history.HistorySource`` over another, without the rows for which the condition is not true.

    Args:
        source: all rows.
        condition: SQL over the columns of the source.
        schema: of these columns; None where the source learns its types from its rows alone.

    Raises:
        RejectError: it is no condition over the columns; names the field and the token.
    """

    def __init__(self, source: DescribedSource, condition: str, schema: pa.Schema | None) -> None:
        self.columns = source.columns
        self._source = source
        parsed = expressions.parse(condition, where=WHERE_FIELD)
        self._columns = [".".join(name) for name in parsed.names]
        self._condition = parsed.over({name: quoted(".".join(name)) for name in parsed.names})
        if schema is not None:
            self._check(condition, schema)

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """The batches of the source, filtered; in its order."""
        read = list(dict.fromkeys([*columns, *self._columns]))
        with duckdb.connect(":memory:", config=_SETTINGS) as engine:
            engine.execute("set TimeZone = 'UTC'")
            for batch in self._source.scan(read, time_range):
                yield batch.filter(self._mask(engine, batch)).select(list(columns))

    def _mask(self, engine: duckdb.DuckDBPyConnection, batch: pa.RecordBatch) -> pa.Array:
        rows = pa.table([_zoneless(batch.column(name)) for name in self._columns], names=self._columns)
        if not self._columns:
            rows = pa.table({"": pa.nulls(batch.num_rows)})
        engine.register("rows", rows)
        try:
            found = engine.sql(f"select coalesce({self._condition}, false) from rows").to_arrow_table()  # noqa: S608
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            raise RejectError(
                f"the filter fails on a row: {said}",
                hint="Guard it, for example with try_cast or nullif",
                field=WHERE_FIELD,
                reason="BadExpression",
            ) from error
        return found.column(0).combine_chunks()

    def _check(self, condition: str, schema: pa.Schema) -> None:
        with duckdb.connect(":memory:", config=_SETTINGS) as engine:
            empty = schema.empty_table()
            engine.register("rows", pa.table([_zoneless(column) for column in empty.columns], names=schema.names))
            types = {row[0]: row[1] for row in engine.execute("describe select * from rows").fetchall()}
        expressions.predicate(condition, types, where=WHERE_FIELD, what="columns of the source")


def _zoneless(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(pa.int64()).cast(pa.timestamp(kind.unit))
    return column
