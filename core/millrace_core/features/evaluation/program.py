"""Evaluation of expressions: one DuckDB query computes all wanted features of a view, for any number of rows.

Training, materialization and the gateway run the same query, made by the same code from the same definition. So a value
has the same bits wherever it is computed. Training and materialization start the query for each batch. For the rows of
requests it is started once and goes on running (``standing_query``).

A row for which an expression fails is null, and is counted. Each expression is evaluated once, inside a struct inside
``try``: where it fails the struct is null, and where its value is null the struct is not. Where it reads a value that
is longer than it may be it is not evaluated, and the struct is null.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from itertools import accumulate, chain
from math import inf
from typing import Any, Final, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.feature import FeatureType, element_type
from millrace_core.base.errors import RejectError, ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.slices import rows_at_once, sliced
from millrace_core.features.evaluation.standing_query import GIVEN, REAL, StandingQuery
from millrace_core.features.evaluation.time_limit import BATCH_SECONDS, LIGHT_STEPS, LIMIT, READ_SECONDS, TimeLimit
from millrace_core.features.expressions.compiled import CompiledExpression, sql_type
from millrace_core.features.expressions.duckdb_settings import IN_MEMORY, NO_DOWNLOADS, ROW_BY_ROW
from millrace_core.features.expressions.expressions import REQUEST
from millrace_core.features.expressions.growth import work
from millrace_core.features.expressions.sql_writer import Name, quoted
from millrace_core.features.types.arrow_numpy import one_array
from millrace_core.features.types.conform import ARROW

_BATCH: Final = 65_536
# Expressions whose failures one 32-bit integer of a row tells: a constant of 64 bits is cast for each vector.
_MASK: Final = 30
_VISIBLE: Final = "visible"
_ENTITY: Final = "entity"


# Types whose bytes are the same in Arrow and in Python's ``array``, with their type codes.
_CODES: Final = {
    ARROW["float64"]: "d",
    ARROW["float32"]: "f",
    ARROW["int64"]: "q",
    ARROW["int32"]: "i",
    pa.timestamp("us"): "q",
}


class Computed(NamedTuple):
    """What was computed.

    Attributes:
        values: one column per wanted feature, in order.
        errors: for how many rows the expression of a feature failed, by feature; those that failed for none are not
            there. Features that are computed on the way count, too.
    """

    values: list[Any]
    errors: dict[str, int]


class ProgramInput(NamedTuple):
    """An input column of the query; ``name`` as in ``expressions``."""

    name: Name
    type: FeatureType


class Program:
    """Computes features of a view from its other features. For one thread at a time.

    Args:
        definition: of the view.
        wanted: names of the features to compute, each with an expression.
        given: names of features with an expression that are inputs here, because they are stored.
        limit: stops what takes too long.
        seconds: how long ``arrays`` may take.

    Attributes:
        inputs: the columns that it reads, in order.
        wanted: names of the features that it computes, in order.
    """

    def __init__(
        self,
        definition: Definition,
        wanted: Iterable[str],
        given: Iterable[str],
        limit: TimeLimit = LIMIT,
        seconds: float = BATCH_SECONDS,
    ) -> None:
        self.wanted = tuple(wanted)
        self._limit = limit
        self._seconds = seconds
        self._view = definition.view
        self._types = tuple(definition.feature[name].type for name in self.wanted)
        steps, read = _steps(definition, self.wanted, frozenset(given))
        request = dict.fromkeys(field for computed in steps.values() for field in computed.request)
        self.inputs = tuple(
            [ProgramInput((name,), definition.feature[name].type) for name in read]
            + [ProgramInput((REQUEST, field), definition.request[field]) for field in request]
        )
        fields = [pa.field(f"i{index}", _naive(ARROW[each.type])) for index, each in enumerate(self.inputs)]
        self._schema = pa.schema([*fields, (_VISIBLE, pa.bool_()), (_ENTITY, pa.bool_())])
        types = {name: definition.feature[name].type for name in steps}
        self._slice = rows_at_once((each.growth, each.longest) for each in steps.values())
        self._fixed_steps, self._steps_each = work((each.growth, each.longest) for each in steps.values())
        self._steps = tuple(steps)
        self._masks = -(-len(steps) // _MASK)
        self._query = partial(_query, self.inputs, self.wanted, steps, types)
        self._standing: StandingQuery | None = None

    def work(self, rows: int, size: int) -> float:
        """Steps at most of ``values`` for so many rows whose values have so many bytes; 10 million take some 0.1 s.

        Infinite where the query does not stand yet, which takes longer.
        """
        if self._standing is None:
            return inf
        return rows * self._fixed_steps + size * self._steps_each

    def arrays(self, columns: Sequence[pa.Array], visible: pa.Array, entity: pa.Array) -> Computed:
        """Computes from Arrow columns.

        Args:
            columns: one Arrow array (``conform.ARROW``) per input.
            visible: per row whether a row of the source is visible.
            entity: per row whether it is of an entity: no join key is null.

        Returns:
            Its columns are Arrow arrays (``conform.ARROW``).
        """
        given = [_without_zone(column) for column in columns]
        batch = pa.record_batch([*given, visible, entity], schema=self._schema)
        with self._explained(len(visible)), _database().cursor() as cursor:
            cursor.register(GIVEN, pa.Table.from_batches(sliced(batch, self._slice), batch.schema))
            with self._limit.over(cursor, self._seconds):
                table = cursor.sql(self._query(GIVEN)).to_arrow_table(_BATCH)
        masks = [one_array(column).to_numpy(zero_copy_only=False) for column in table.columns[: self._masks]]
        found = table.columns[self._masks :]
        values = [pc.cast(one_array(each), ARROW[kind]) for each, kind in zip(found, self._types, strict=True)]
        return Computed(values, self._errors(masks))

    def values(self, columns: Sequence[Sequence[Any]], rows: int) -> Computed:
        """Computes from columns of Python values as in packed rows: times are microseconds. All rows are visible."""
        if not rows:
            return Computed([()] * len(self.wanted), {})
        fields = list(self._schema)[: len(self.inputs)]
        arrays = [_array(column, field.type) for column, field in zip(columns, fields, strict=True)]
        with self._explained(rows):
            if self._standing is None:
                all_there = f"(select *, true as {_VISIBLE}, true as {_ENTITY} from {GIVEN})"  # noqa: S608
                query = self._query(all_there, REAL)
                self._cursor = _database().cursor()
                # A process's first query also imports what DuckDB knows tables of, which may take seconds.
                with self._limit.over(self._cursor, BATCH_SECONDS):
                    self._standing = StandingQuery(self._cursor, fields, query, self._slice)
            try:
                light = self._light(arrays, rows)
                with nullcontext() if light else self._limit.over(self._cursor, READ_SECONDS) as watched:
                    found = self._standing.rows(arrays, rows)
                if watched is not None and watched.interrupted:
                    self._standing = None  # the next rows of the same query would be stopped instead
            except BaseException:
                # Rows that were not fetched would become the answer to the next request.
                self._standing = None
                raise
        _, *values = zip(*found, strict=True)
        masks, values = values[: self._masks], values[self._masks :]
        return Computed(values, self._errors([np.array(mask) for mask in masks]) if any(map(any, masks)) else {})

    def _light(self, arrays: Sequence[pa.Array], rows: int) -> bool:
        """Whether the rows are surely computed at once, so that nobody need watch."""
        size = sum(each.nbytes for each in arrays) if self._steps_each else 0
        return rows * self._fixed_steps + size * self._steps_each <= LIGHT_STEPS

    def _errors(self, masks: Sequence[np.ndarray[Any, Any]]) -> dict[str, int]:
        found: dict[str, int] = {}
        for first, mask in enumerate(masks):
            if not mask.any():
                continue
            for bit, name in enumerate(self._steps[first * _MASK : (first + 1) * _MASK]):
                if count := int(np.count_nonzero(mask & (1 << bit))):
                    found[name] = count
        return found

    @contextmanager
    def _explained(self, rows: int) -> Iterator[None]:
        try:
            yield
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            slow = isinstance(error, duckdb.InterruptException)
            names = f"{', '.join(self.wanted)} of feature view {self._view!r}"
            raise RejectError(
                f"{names} {'took too long' if slow else 'need too much memory'} for {rows} rows, and was stopped",
                hint="Ask for fewer rows at once, or make the expressions simpler",
                field="spec.features",
                reason="ExpressionTooSlow" if slow else "ExpressionTooLarge",
            ) from error
        except duckdb.Error as error:
            raise ReportError(
                f"{', '.join(self.wanted)} cannot be computed: {str(error).splitlines()[0]}", reason="EngineFailed"
            ) from error


@lru_cache(maxsize=1)
def _database() -> Any:
    database = duckdb.connect(":memory:", config={"threads": 1, **IN_MEMORY, **NO_DOWNLOADS})
    database.execute("set global TimeZone = 'UTC'")
    database.execute(ROW_BY_ROW)
    return database


def _steps(
    definition: Definition, wanted: Iterable[str], given: frozenset[str]
) -> tuple[dict[str, CompiledExpression], list[str]]:
    """The expressions to compute, each after those that it reads, and the features to read."""
    steps: dict[str, CompiledExpression] = {}
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
    inputs: Sequence[ProgramInput],
    wanted: Sequence[str],
    steps: Mapping[str, CompiledExpression],
    types: Mapping[str, FeatureType],
    table: str,
    *first: str,
) -> str:
    """The query that computes the wanted features from a table of the inputs.

    ``first`` are columns of the table that come first in the result; masks of what failed follow, then the features.
    Each expression is a column of its own subquery around the one before, so that it is computed once.
    """
    columns = {each.name: quoted(f"i{index}") for index, each in enumerate(inputs)}
    read: dict[Name, FeatureType] = {each.name: each.type for each in inputs} | {(name,): types[name] for name in steps}
    query = table
    failed = []
    for index, (name, computed) in enumerate(steps.items()):
        column = quoted(f"e{index}")
        value = f"try({{'v': {_cast(computed.expression.over(columns), computed.came, types[name])}}})"
        if too_long := _too_long(computed, columns, read):
            value = f"case when {too_long} then null else {value} end"
        fails = f"{column} is null"
        if not computed.on_demand:
            # An expression over aggregates alone has a value for every entity. Without an entity it is null, as online.
            there = _VISIBLE if computed.row_bound else _ENTITY
            value, fails = f"case when {there} then {value} end", f"{there} and {fails}"
        query = f"(select *, {value} as {column} from {query})"  # noqa: S608 written anew
        columns[name,] = f"struct_extract({column}, 'v')"
        if types[name] == "timestamp":
            # What is no moment of the calendar is null in every row and answer.
            fails = f"({fails}) or isinf({columns[name,]})"
        failed.append(f"case when {fails} then {1 << index % _MASK} else 0 end")
    masks = [" + ".join(failed[begin : begin + _MASK]) for begin in range(0, len(failed), _MASK)]
    outputs = ", ".join([*first, *masks, *(_out(columns[name,], types[name]) for name in wanted)])
    return f"select {outputs} from {query}"  # noqa: S608 written anew


def _too_long(computed: CompiledExpression, columns: Mapping[Name, str], read: Mapping[Name, FeatureType]) -> str:
    """SQL that is true where a value that an expression reads is longer than it may be; empty where all may be."""
    if computed.longest is None:
        return ""
    lengths = (_length(columns[name], read[name]) for name in computed.expression.names)
    return " or ".join(f"{length} > {computed.longest}" for length in lengths if length)


def _length(column: str, declared: FeatureType) -> str:
    if element_type(declared) == "string":
        texts = f"coalesce(list_sum(list_transform({column}, lambda x: strlen(x))), 0)"
        return f"(8 * len({column}) + {texts})"
    if element_type(declared) is not None:
        return f"(8 * len({column}))"
    return {"string": f"strlen({column})", "bytes": f"octet_length({column})"}.get(declared, "")


def _cast(value: str, came: str, declared: FeatureType) -> str:
    if declared == "bytes" and came == "VARCHAR":
        return f"encode({value})"
    if declared == "string" and came == "BLOB":
        return f"decode({value})"
    return f"cast({value} as {sql_type(declared)})"


def _out(column: str, declared: FeatureType) -> str:
    """The column as the result has it: times as microseconds."""
    if declared == "timestamp":
        return f"try(epoch_us({column}))"
    if element_type(declared) == "timestamp":
        return f"try(list_transform({column}, lambda x: epoch_us(x)))"
    return column


def _array(column: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The column as an Arrow array. Numbers without nulls take a way that is several times as fast as ``pa.array``."""
    embeddings = pa.types.is_list(kind)
    code = _CODES.get(kind.value_type if embeddings else kind)
    if code is not None:
        with suppress(TypeError, OverflowError):
            if not embeddings:
                return _flat(array(code, column), kind)
            ends = array("i", accumulate(map(len, column), initial=0))
            values = _flat(array(code, chain.from_iterable(column)), kind.value_type)
            return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(ends)], children=[values])
    return pa.array(column, kind)


def _flat(values: array[Any], kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _naive(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_naive(kind.value_type))
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else kind


def _without_zone(column: pa.Array) -> pa.Array:
    """Times without their zone (UTC), so that they are ``TIMESTAMP`` in DuckDB; nothing is copied."""
    naive = _naive(column.type)
    return column if naive == column.type else column.view(naive)
