"""A row filter (``spec.source.where``) over any source: the rows for which the condition is true; null is not true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from millrace_core.features.evaluation.slices import require_short
from millrace_core.features.evaluation.time_limit import BATCH_SECONDS
from millrace_core.features.expressions import expressions
from millrace_core.features.expressions.sql_writer import quoted
from millrace_core.features.history.history import DescribedSource, TimeRange
from millrace_data.sources.columns import WHERE_FIELD
from millrace_data.sources.row_expressions import RowExpressions, failure, row_expressions


class FilteredSource:
    """Implements ``history.HistorySource`` over another, without the rows for which the condition is not true.

    Args:
        source: all rows.
        condition: SQL over the columns of the source.
        schema: of these columns; None where the source learns its types from its rows alone.
        seconds: how long a batch may take.

    Raises:
        RejectError: it is no condition over the columns; names the field and the token.
    """

    def __init__(
        self, source: DescribedSource, condition: str, schema: pa.Schema | None, seconds: float = BATCH_SECONDS
    ) -> None:
        self.columns = source.columns
        self._source = source
        self._seconds = seconds
        parsed = self._parsed = expressions.parse(condition, where=WHERE_FIELD)
        self._columns = [".".join(name) for name in parsed.names]
        self._condition = parsed.over({name: quoted(".".join(name)) for name in parsed.names})
        if schema is not None:
            with row_expressions() as engine:
                types = engine.types(schema)
            expressions.predicate(condition, types, where=WHERE_FIELD, what="columns of the source")

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """The batches of the source, filtered; in its order."""
        read = list(dict.fromkeys([*columns, *self._columns]))
        with row_expressions(self._seconds) as engine:
            for batch in self._source.scan(read, time_range):
                yield batch.filter(self._mask(engine, batch)).select(list(columns))

    def _mask(self, engine: RowExpressions, batch: pa.RecordBatch) -> pa.Array:
        require_short(self._parsed, batch, self._columns, WHERE_FIELD)
        try:
            (found,) = engine.evaluate(batch, self._columns, [f"coalesce({self._condition}, false)"], [self._parsed])
        except duckdb.Error as error:
            raise failure(error, "the filter", WHERE_FIELD) from error
        return found
