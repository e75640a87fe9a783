"""Counts what quality checks ask for, in one pass over a source. Counts are exact; memory is bounded by the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Final, NamedTuple

import duckdb
import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.definition.quality import Check
from millrace_core.features.evaluation.engine import Engine, Session
from millrace_core.features.evaluation.slices import require_short, rows_of, sliced
from millrace_core.features.evaluation.time_limit import BATCH_SECONDS, LIMIT, TimeLimit
from millrace_core.features.expressions.duckdb_settings import ROW_BY_ROW
from millrace_core.features.expressions.expressions import predicate
from millrace_core.features.expressions.sql_writer import literal
from millrace_core.features.history.history import History, HistorySource, TimeRange
from millrace_core.features.offline.quality_verdict import CheckCount
from millrace_core.features.types.conform import conform, conform_key

# Once all rows came, values that are to be unique are still counted.
_LAST_SECONDS: Final = 3600.0


class QualityCounts(NamedTuple):
    """The number of rows of the first range, the newest event time of all ranges, and a count per check."""

    rows: int
    newest: int | None
    counts: list[CheckCount]


def count_checks(
    definition: Definition,
    source: HistorySource,
    time_ranges: Sequence[TimeRange],
    checks: Sequence[Check],
    engine: Engine,
    limit: TimeLimit = LIMIT,
    seconds: float = BATCH_SECONDS,
) -> QualityCounts:
    """Counts over the rows of all ranges, for the checks that count rows.

    A predicate is evaluated as features are: over values that are not too long, a few rows at a time where these need
    much, and each batch within its time.

    Args:
        seconds: how long the checks of a batch may take.

    Raises:
        RejectError: a check does not fit its column, a column is not there, or a predicate takes too long or reads too
            long a value; names the field.
        ReportError: memory or disk do not suffice.
    """
    columns = list(dict.fromkeys(name for check in checks for name in check.columns))
    batches = _batches(definition, source, time_ranges, columns)
    first = next(batches, None)
    if first is None:
        return QualityCounts(0, None, [CheckCount(0, 0) for _ in checks])
    with engine.connection() as session:
        session.run(ROW_BY_ROW)
        session.register("sample", pa.table(first).slice(0, 0))
        counts = [_CheckSql(check, columns, first.schema, len(definition.join_keys)).sql(session) for check in checks]
        wanted = ["count(*) filter (not late)", "max(event)", *chain.from_iterable(counts)]
        named = ", ".join(f"{sql} as f{index}" for index, sql in enumerate(wanted))
        predicates = [check for check in checks if check.predicate is not None]
        parts = _parts(chain([first], batches), columns, predicates)
        with session.within(limit, seconds if predicates else inf) as watched:
            session.feed("history", first.schema, watched.each(parts, _LAST_SECONDS if predicates else inf))
            try:
                found = session.table(f"select {named} from history")  # noqa: S608 written by ourselves
            except duckdb.InterruptException as error:
                raise _too_slow(predicates) from error
    rows, newest, *pairs = (column[0].as_py() for column in found.columns)
    return QualityCounts(rows, newest, [CheckCount(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)])


def _parts(
    batches: Iterable[pa.RecordBatch], columns: Sequence[str], predicates: Sequence[Check]
) -> Iterator[pa.RecordBatch]:
    """The batches as the predicates may be given them."""
    read = [(check.where, check.predicate) for check in predicates if check.predicate is not None]
    grown = [(condition.growth(), condition.longest) for _, condition in read]
    for batch in batches:
        named = batch.select([f"c{index}" for index in range(len(columns))]).rename_columns(list(columns))
        for where, condition in read:
            require_short(condition, named, [name[0] for name in condition.names], f"{where}.predicate")
        yield from sliced(batch, rows_of(named, grown))


def _too_slow(predicates: Sequence[Check]) -> RejectError:
    names = ", ".join(f"{check.where}.predicate" for check in predicates)
    return RejectError(
        f"{names} took too long for a batch of rows, and was stopped",
        hint="Make it simpler, or compute it in the source",
        field="spec.quality",
        reason="ExpressionTooSlow",
    )


def _batches(
    definition: Definition, source: HistorySource, time_ranges: Sequence[TimeRange], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of the ranges: columns as c0, c1, …, event time, whether the row is late, and join keys as k0, k1, …"""
    keys = [key.name for key in definition.join_keys]
    times = [definition.timestamp_field, *([definition.created_field] if definition.created_field else [])]
    names = [f"c{index}" for index in range(len(columns))]
    names += ["event", "late", *(f"k{index}" for index in range(len(keys)))]
    for place, time_range in enumerate(time_ranges):
        history = History(definition, source, time_range)
        for batch in source.scan(list(dict.fromkeys([*keys, *times, *columns])), time_range):
            event, keep = history.within(batch)
            made = [
                *(_plain(batch.column(name), name) for name in columns),
                event,
                pa.array([place > 0] * batch.num_rows, pa.bool_()),
                *(conform_key(batch.column(k.name), k.type, column=k.name) for k in definition.join_keys),
            ]
            yield pa.RecordBatch.from_arrays(made, names).filter(keep)


def _plain(values: pa.Array, name: str) -> pa.Array:
    """Values in the form that expressions need: decoded, times in UTC without a zone."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_timestamp(values.type):
        return conform(values, "timestamp", column=name).cast(pa.int64()).cast(pa.timestamp("us"))
    return values


@dataclass(frozen=True)
class _CheckSql:
    """A check as SQL; ``columns`` are the source's, which the engine has as c0, c1, …"""

    check: Check
    columns: Sequence[str]
    schema: pa.Schema
    keys: int

    def sql(self, session: Session) -> tuple[str, str]:
        """SQL aggregates: how many values or rows the check looks at, and how many of them fail."""
        rule = self.check.rule
        if self.check.predicate is not None:
            return "count(*)", self._violations(session)
        if rule.column is None:
            keys = [f"k{index}" for index in range(self.keys)]
            there = " and ".join(f"{key} is not null" for key in keys)
            rows = f"count(*) filter ({there})"
            return rows, f"{rows} - count(distinct row({', '.join(keys)}, event)) filter ({there})"
        column = self._place(rule.column)
        match self.check.kind:
            case "maxNullRate":
                return "count(*)", f"count(*) filter ({column} is null)"
            case "unique":
                return f"count({column})", f"count({column}) - count(distinct {column})"
            case "range":
                fails = self._outside(column)
            case "allowed":
                fails = f"{column} is not null and not {self._among(column)}"
            case _:
                self._require(_is_text(self._kind), "a pattern needs texts")
                fails = f"not regexp_matches({column}, {literal(rule.pattern or '')})"
        return f"count({column})", f"count(*) filter ({fails})"

    def _place(self, column: str) -> str:
        return f"c{self.columns.index(column)}"

    @property
    def _kind(self) -> pa.DataType:
        return self.schema.field(self._place(self.check.rule.column or "")).type

    def _violations(self, session: Session) -> str:
        """Counts rows that do not fulfil the condition. A row for which it cannot be computed does not fulfil it."""
        described = session.table("select column_name, column_type from (describe sample)")
        types = dict(zip(*(column.to_pylist() for column in described.columns), strict=True))
        mine = {name: types[self._place(name)] for name in self.columns}
        where = f"{self.check.where}.predicate"
        condition = predicate(self.check.rule.predicate or "", mine, where=where, what="columns of the source")
        sql = condition.over({(name,): self._place(name) for name in self.columns})
        return f"count(*) filter (not coalesce(try(coalesce({sql}, true)), false))"

    def _outside(self, column: str) -> str:
        self._require(_is_number(self._kind), "a range needs numbers")
        rule = self.check.rule
        bounds = [f"{column} < {rule.min!r}"] if rule.min is not None else []
        bounds += [f"{column} > {rule.max!r}"] if rule.max is not None else []
        bounds += [f"isnan({column})"] if pa.types.is_floating(self._kind) else []
        return " or ".join(bounds)

    def _among(self, column: str) -> str:
        allowed = [str(value) for value in self.check.rule.allowed or ()]
        if not (pa.types.is_floating(self._kind) or pa.types.is_decimal(self._kind)):
            return f"cast({column} as varchar) in ({', '.join(map(literal, allowed))})"
        numbers = [_number(value) for value in allowed]
        self._require(None not in numbers, "not all that is allowed are numbers")
        return f"{column} in ({', '.join(map(repr, numbers))})"

    def _require(self, fits: bool, what: str) -> None:
        if not fits:
            raise RejectError(
                f"column {self.check.rule.column!r} has the type {self._kind}, and {what}",
                hint="Name another column, or write a predicate",
                field=self.check.where,
                reason="WrongColumnType",
            )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
