"""Columns that a definition computes from the source's own (``spec.source.columns``), over any source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from millrace_core.features.definition.definition import Definition
from millrace_core.features.definition.source_columns import ComputedColumn
from millrace_core.features.evaluation.slices import require_short
from millrace_core.features.expressions import expressions
from millrace_core.features.expressions.sql_writer import Name, quoted
from millrace_core.features.history.history import DescribedSource, TimeRange
from millrace_core.features.types.conform import require_fit
from millrace_data.sources.columns import uses
from millrace_data.sources.row_expressions import RowExpressions, failure, row_expressions


class ComputedSource:
    """Implements ``history.HistorySource`` over another, with computed columns before those of the same names.

    Args:
        source: with the columns that are read; ``schema`` is theirs.
        definition: of the view.

    Raises:
        RejectError: the types of an expression do not go together, or what it gives cannot be read as declared.
    """

    def __init__(self, source: DescribedSource, schema: pa.Schema, definition: Definition) -> None:
        self._source = source
        self._computed = definition.computed
        kinds = self._kinds(schema, definition)
        self.columns: Mapping[str, str] = {**source.columns, **{name: str(kind) for name, kind in kinds.items()}}
        own = [field for field in schema if field.name not in kinds]
        self.schema = pa.schema([*own, *kinds.items()])

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """The batches of the source, with what is computed of them; in its order."""
        made = {name: self._computed[name] for name in columns if name in self._computed}
        reads = list(dict.fromkeys(own for each in made.values() for own in each.reads))
        read = dict.fromkeys([*(name for name in columns if name not in made), *reads])
        # A source is asked for one column at least, so that it can tell how many rows there are.
        asked = list(read) or list(self._own())
        with row_expressions() as engine:
            for batch in self._source.scan(asked, time_range):
                found = self._values(engine, batch, reads, made)
                arrays = [found[name] if name in made else batch.column(name) for name in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _own(self) -> Sequence[str]:
        return list(self._source.columns)[:1]

    def _values(
        self, engine: RowExpressions, batch: pa.RecordBatch, reads: Sequence[str], made: Mapping[str, ComputedColumn]
    ) -> dict[str, pa.Array]:
        if not made:
            return {}
        for each in made.values():
            require_short(each.expression, batch, each.reads, each.where)
        try:
            written, trees = [_sql(each) for each in made.values()], [each.expression for each in made.values()]
            return dict(zip(made, engine.evaluate(batch, reads, written, trees), strict=True))
        except duckdb.Error as error:
            failed = None
            if not isinstance(error, duckdb.InterruptException):  # it would take as long again
                failed = next((each for each in made.values() if _fails(engine, batch, reads, each)), None)
            raise failure(error, "the expression", failed.where if failed else "spec.source.columns") from error

    def _kinds(self, schema: pa.Schema, definition: Definition) -> dict[str, pa.DataType]:
        """The Arrow types of the computed columns."""
        kinds = {}
        with row_expressions() as engine:
            types = engine.types(schema)
            nothing = pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in schema.types], schema.names)
            for name, column in self._computed.items():
                known: dict[Name, str] = {(own,): types[own] for own in column.reads if own in types}
                if len(known) < len(column.reads):  # it is not used, and was not looked for
                    continue
                expressions.type_of(column.expression, known, where=column.where)
                (found,) = engine.evaluate(nothing, column.reads, [_sql(column)])
                kinds[name] = found.type
                for use in uses(definition).get(name, ()):
                    require_fit(found.type, use.declared, column=name, field=use.field)
        return kinds


def _sql(column: ComputedColumn) -> str:
    return column.expression.over({(name,): quoted(name) for name in column.reads})


def _fails(engine: RowExpressions, batch: pa.RecordBatch, reads: Sequence[str], column: ComputedColumn) -> bool:
    try:
        engine.evaluate(batch, reads, [_sql(column)], [column.expression])
    except duckdb.Error:
        return True
    return False
