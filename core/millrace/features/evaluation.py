"""Expressions, evaluated: one DuckDB query computes all that is wanted of a view, for however many rows.

Training, materialization and the gateway run the same query, made by the same code from the same definition, so that a
value is the same bits wherever it is computed.

DuckDB takes several times as long to plan such a query as to run it over 50 rows. So it is prepared once, and reads a
stream that holds other rows at every execution (``benchmarks/on_demand.py``).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from millrace.api.featureview import FeatureType, element_type
from millrace.base.errors import RejectError, ReportError
from millrace.features.computed import Computed, sql_type
from millrace.features.conform import ARROW, conform
from millrace.features.definition import Definition, Feature
from millrace.features.expression_text import Name, quoted
from millrace.features.expressions import REQUEST

_BATCH: Final = 65_536
_VISIBLE: Final = "visible"
_ENTITY: Final = "entity"
_COMPUTE: Final = "execute compute"


_EMBEDDINGS: Final = {ARROW["array<float32>"]: "f", ARROW["array<float64>"]: "d"}


class Input(NamedTuple):
    """A column that goes into the query; ``name`` as in ``expressions``."""

    name: Name
    type: FeatureType


class Program:
    """Computes features of a view from others. Not to be used by two threads at once.

    Args:
        definition: of the view.
        wanted: names of the features to compute, each with an expression.
        given: names of the features that are there; what is wanted is computed from these and from request fields.

    Attributes:
        inputs: what it reads, in the order in which it is to be given.
        wanted: names of what it computes, in this order.
    """

    def __init__(self, definition: Definition, wanted: Iterable[str], given: Iterable[str]) -> None:
        self.wanted = tuple(wanted)
        self._types = tuple(definition.feature[name].type for name in self.wanted)
        steps, read = _steps(definition, self.wanted, frozenset(given))
        request = dict.fromkeys(field for computed in steps.values() for field in computed.request)
        self.inputs = tuple(
            [Input((name,), definition.feature[name].type) for name in read]
            + [Input((REQUEST, field), definition.request[field]) for field in request]
        )
        fields = [(f"i{index}", _naive(ARROW[each.type])) for index, each in enumerate(self.inputs)]
        self._stream = _Stream(pa.schema([*fields, (_VISIBLE, pa.bool_()), (_ENTITY, pa.bool_())]))
        self._cursor = _database().cursor()
        self._cursor.execute("set enable_progress_bar = false")  # it takes a tenth of a small query's time
        self._cursor.register("given", self._stream)
        types = {name: definition.feature[name].type for name in steps}
        self._cursor.execute(f"prepare compute as {_query(self.inputs, self.wanted, steps, types)}")
        # What is prepared is optimized; to optimize its execution takes a third of a small query's time.
        self._cursor.execute("pragma disable_optimizer")
        (self._compute,) = self._cursor.extract_statements(_COMPUTE)

    def arrays(self, columns: Sequence[pa.Array], visible: pa.Array, entity: pa.Array) -> list[pa.Array]:
        """Computes by column.

        Args:
            columns: one Arrow array (``conform.ARROW``) per input.
            visible: per row whether a row of the source is visible.
            entity: per row whether it asks for an entity at all: no join key is null.

        Returns:
            One Arrow array (``conform.ARROW``) per wanted feature.
        """
        given = [_without_zone(column) for column in columns]
        self._stream.hold([*given, visible, entity])
        with self._explained():
            table = self._cursor.sql(_COMPUTE).to_arrow_table(_BATCH)
        return [pc.cast(_whole(table.column(index)), ARROW[kind]) for index, kind in enumerate(self._types)]

    def values(self, columns: Sequence[Sequence[Any]], rows: int) -> list[Sequence[Any]]:
        """Computes by column of Python values, as packed rows have them (times as microseconds), all rows visible."""
        arrays = [_array(column, field.type) for column, field in zip(columns, self._stream.schema, strict=False)]
        there = pa.array([True] * rows)
        self._stream.hold([*arrays, there, there])
        with self._explained():
            found = self._cursor.execute(self._compute).fetchall()
        return list(zip(*found, strict=True)) or [()] * len(self.wanted)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise ReportError(
                f"{', '.join(self.wanted)} cannot be computed: {str(error).splitlines()[0]}", reason="EngineFailed"
            ) from error


class Derivation:
    """The features that are wanted of a view, made from those that are no expressions.

    Args:
        definition: of the view.
        wanted: features in the order wanted.

    Attributes:
        reads: the features to read first, none of them an expression.
    """

    def __init__(self, definition: Definition, wanted: Sequence[Feature]) -> None:
        self._wanted = tuple(wanted)
        self._view = definition.view
        names = [feature.name for feature in wanted if feature.expression is not None]
        self._program = Program(definition, names, ()) if names else None
        read = {feature.name: feature for feature in wanted if feature.expression is None}
        for each in self._program.inputs if self._program else ():
            if len(each.name) == 1:
                read[each.name[0]] = definition.feature[each.name[0]]
        self.reads = tuple(read.values())

    def columns(
        self,
        found: Sequence[pa.Array],
        visible: pa.Array,
        request: Mapping[str, pa.Array] | None = None,
        entity: pa.Array | None = None,
    ) -> list[pa.Array]:
        """The wanted features.

        Args:
            found: values of ``reads``, one Arrow array each.
            visible: per row whether a row of the source is visible.
            request: what on-demand expressions read of the request, by name and equally long.
            entity: per row whether it asks for an entity at all; all do by default.

        Raises:
            RejectError: a request field is missing, or its values are of another type; names it.
        """
        have = {feature.name: column for feature, column in zip(self.reads, found, strict=True)}
        if self._program is not None:
            given = [
                have[each.name[0]] if len(each.name) == 1 else self._requested(each, request or {})
                for each in self._program.inputs
            ]
            asks = pa.repeat(pa.scalar(True), len(visible)) if entity is None else entity
            have |= zip(self._program.wanted, self._program.arrays(given, visible, asks), strict=True)
        return [have[feature.name] for feature in self._wanted]

    def _requested(self, each: Input, request: Mapping[str, pa.Array]) -> pa.Array:
        name = each.name[1]
        if name not in request:
            raise RejectError(
                f"there is no column {name!r}, which the expressions of feature view {self._view!r} read as "
                f"request.{name}",
                hint=f"Add a column of {each.type} with what requests would bring",
                field=f"entity_df.{name}",
            )
        return conform(request[name], each.type, column=name, field=f"entity_df.{name}")


class _Stream:
    """What the prepared query reads: another batch at every execution."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.hold([pa.nulls(0, field.type) for field in schema])

    def hold(self, columns: Sequence[pa.Array]) -> None:
        """What the next execution reads."""
        self._batch = pa.record_batch(list(columns), schema=self.schema)

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.RecordBatchReader.from_batches(self.schema, [self._batch]).__arrow_c_stream__(requested_schema)


@lru_cache(maxsize=1)
def _database() -> Any:
    settings: dict[str, Any] = {
        "threads": 1,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    database = duckdb.connect(":memory:", config=settings)
    database.execute("set global TimeZone = 'UTC'")
    return database


def _steps(
    definition: Definition, wanted: Iterable[str], given: frozenset[str]
) -> tuple[dict[str, Computed], list[str]]:
    """The expressions to compute, each after those that it reads; and the features to read."""
    steps: dict[str, Computed] = {}
    read: dict[str, None] = {}

    def visit(name: str) -> None:
        computed = definition.feature[name].expression
        if computed is None or name in given:
            read[name] = None
            return
        for use in computed.uses:
            if use not in steps:
                visit(use)
        steps[name] = computed

    for name in wanted:
        visit(name)
    return steps, list(read)


def _query(
    inputs: Sequence[Input], wanted: Sequence[str], steps: Mapping[str, Computed], types: Mapping[str, FeatureType]
) -> str:
    """Each expression is a column of a query of its own around the one before, so that it is computed once."""
    columns = {each.name: quoted(f"i{index}") for index, each in enumerate(inputs)}
    query = "given"
    for index, (name, computed) in enumerate(steps.items()):
        column = quoted(f"e{index}")
        value = f"try({_cast(computed.expression.over(columns), computed.came, types[name])})"
        if not computed.on_demand:
            # What reads aggregates alone has a value of every entity; of none it has none, as online.
            value = f"case when {_VISIBLE if computed.row_bound else _ENTITY} then {value} end"
        query = f"(select *, {value} as {column} from {query})"  # noqa: S608 written anew
        columns[name,] = column
    outputs = ", ".join(_out(columns[name,], types[name]) for name in wanted)
    return f"select {outputs} from {query}"  # noqa: S608 written anew


def _cast(value: str, came: str, declared: FeatureType) -> str:
    if declared == "bytes" and came == "VARCHAR":
        return f"encode({value})"
    if declared == "string" and came == "BLOB":
        return f"decode({value})"
    return f"cast({value} as {sql_type(declared)})"


def _out(column: str, declared: FeatureType) -> str:
    """The value as the engine is to hand it over: times as microseconds."""
    if declared == "timestamp":
        return f"try(epoch_us({column}))"
    if element_type(declared) == "timestamp":
        return f"try(list_transform({column}, lambda x: epoch_us(x)))"
    return column


def _array(column: Sequence[Any], kind: pa.DataType) -> pa.Array:
    code = _EMBEDDINGS.get(kind)
    if code is not None:
        # Several times as fast as Arrow's own way from nested lists; it knows no nulls.
        with suppress(TypeError):
            ends = array("i", accumulate(map(len, column), initial=0))
            flat = array(code, chain.from_iterable(column))
            values = pa.Array.from_buffers(kind.value_type, len(flat), [None, pa.py_buffer(flat)])
            return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(ends)], children=[values])
    return pa.array(column, kind)


def _naive(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_naive(kind.value_type))
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else kind


def _without_zone(column: pa.Array) -> pa.Array:
    """Times without their zone, which is UTC, so that DuckDB takes them for ``TIMESTAMP``; nothing is copied."""
    naive = _naive(column.type)
    return column if naive == column.type else column.view(naive)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
