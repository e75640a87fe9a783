"""A batch of pushed rows, checked row by row: the rows that fit the view, and why the others do not.

Pushed rows have the columns of the view's source: its join keys, its time columns, and the columns that features and
the row filter read. Other columns are refused, but for those of Feast's clients, whose own server ignores them. A
missing created time is null. ``json_values`` has the forms of values in JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.feature import FeatureType
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import cut, listed, shown
from millrace_core.features.definition.definition import GLOBAL, Definition, JoinKey
from millrace_core.features.definition.global_key import global_key
from millrace_core.features.evaluation.derivation import Derivation
from millrace_core.features.evaluation.time_limit import READ_SECONDS
from millrace_core.features.expressions import expressions
from millrace_core.features.history.history import Rows
from millrace_core.features.online import key_columns
from millrace_core.features.online.generation import TOLERANCE
from millrace_core.features.online.json_values import EXPECTED, converter
from millrace_core.features.online.stored_value import MOST_LATER
from millrace_core.features.types import times
from millrace_core.features.types.arrow_numpy import integers, one_array
from millrace_core.features.types.conform import ARROW, conform, conform_key, microseconds

# With more bad rows than these the whole batch is refused: then more is wrong than single rows.
MOST_REJECTED: Final = 10_000

_FIELD: Final = "df"
_NAMES_SHOWN: Final = 20


class RejectedRow(NamedTuple):
    """A row that does not fit: its index in the batch (from 0), the column at fault, and why."""

    row: int
    column: str
    reason: str


class PushBatch(NamedTuple):
    """A checked batch: the rows that fit, in their order and of the declared types, and those that do not."""

    table: pa.Table
    rejected: list[RejectedRow]


class PushClock(NamedTuple):
    """The present moment of a push, and how much later than it an event time may be; microseconds.

    ``setting`` names what sets the tolerance, for whoever is refused.
    """

    now: int
    tolerance: int = TOLERANCE
    setting: str = ""


class _PushColumn(NamedTuple):
    """A column of the source: its type (None: any), and why it may not be null (empty: it may)."""

    name: str
    type: Any
    null: str


def require_online(definition: Definition) -> None:
    """Refuses a view whose rows cannot be pushed to the online store.

    Raises:
        RejectError: it has aggregates, or no online part.
    """
    if definition.windowed:
        raise RejectError(
            f"feature view {definition.view!r} has aggregates, which a single row cannot update",
            hint="Push to offline; the next run brings the rows online",
            field="to",
        )
    if not definition.online:
        raise RejectError(
            f"feature view {definition.view!r} has no online part (spec.online.enabled is false)", field="to"
        )


def refuse_unknown(definition: Definition, came: Iterable[str]) -> None:
    """Refuses columns that the view's source does not have, whose values would be lost.

    Raises:
        RejectError: names them, and the column that may be meant.
    """
    known = list(reversed(column_types(definition)))
    unknown = [name for name in came if name not in known]
    if not unknown:
        return
    # Of the few that are told: each is compared with all columns.
    told = [cut(name, 100) for name in unknown[:_NAMES_SHOWN]]
    meant = {name: get_close_matches(name, known, 1) for name in told}
    close = ", ".join(f"{found[0]!r} for {name!r}" for name, found in meant.items() if found)
    more = f" and {len(unknown) - _NAMES_SHOWN} more" if len(unknown) > _NAMES_SHOWN else ""
    raise RejectError(
        f"feature view {definition.view!r} has no {'column' if len(unknown) == 1 else 'columns'} "
        f"{', '.join(map(repr, told))}{more}",
        hint=(f"Did you mean {close}? " if close else "Leave them out. ") + f"Its columns are: {', '.join(known)}",
        field=f"{_FIELD}.{told[0]}",
    )


def from_json(definition: Definition, columns: Mapping[str, Sequence[Any]], clock: PushClock) -> PushBatch:
    """Checks equally long columns of JSON values. A row that is too much later than now does not fit.

    Raises:
        RejectError: a column is missing or unknown, columns differ in length, or too many rows are bad.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        counted = ", ".join(f"{name} has {len(column)}" for name, column in columns.items())
        raise RejectError(f"the columns differ in length: {counted}", field=_FIELD)
    return _checked(definition, columns, max(lengths, default=0), _from_values, clock)


def from_arrow(definition: Definition, table: pa.Table, clock: PushClock) -> PushBatch:
    """Checks a table. Raises as ``from_json``, and where a column's type cannot be read as declared."""
    names = Counter(table.column_names)
    columns = {name: column for name, column in zip(table.column_names, table.columns, strict=True) if names[name] == 1}
    return _checked(definition, columns, table.num_rows, _from_column, clock)


def newest(definition: Definition, table: pa.Table, now: int) -> list[pa.Table]:
    """The rows that a reader will be told of, now or when their time comes: the newest row of each entity that is not
    later than now, and those that are. Of equal times the later row counts.

    Returns:
        Tables with at most one row per entity each, as writers take them.
    """
    keys = key_columns.store_keys(definition, {key.name: _key(table, key) for key in definition.join_keys})
    events = integers(microseconds(_whole(table, definition.timestamp_field), column=""))
    created = [None] * len(events)
    if definition.created_field:
        created = microseconds(_whole(table, definition.created_field), column="").to_pylist()
    best: dict[tuple[bytes, int], tuple[int, int, int]] = {}
    for index, (key, event, written) in enumerate(zip(keys.to_pylist(), events.tolist(), created, strict=True)):
        at = (event, -(2**63) if written is None else written, index)
        # All that is visible competes; what is later, only with rows of its own time.
        place = (key, max(event, now))
        if place not in best or at > best[place]:
            best[place] = at
    rounds: list[list[int]] = []
    times: dict[bytes, int] = {}
    for (key, _), (*_, index) in sorted(best.items(), key=itemgetter(0)):
        turn = times[key] = times.get(key, -1) + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(index)
    if len(rounds) == 1 and len(rounds[0]) == len(events):
        return [table]
    return [table.take(pa.array(sorted(indices))) for indices in rounds[: MOST_LATER + 1]]


def rows(definition: Definition, table: pa.Table) -> Rows:
    """Checked rows in the form that the store's writers take."""
    created = definition.created_field
    derivation = Derivation(definition, [definition.feature[each.name] for each in definition.stored], READ_SECONDS)
    reads = [read for feature in derivation.reads if (read := feature.source_column) is not None]
    found = [conform(_whole(table, read.column), read.type, column=read.column) for read in reads if read.type]
    features, errors = derivation.columns(found, pa.array([True] * table.num_rows))
    return Rows(
        [conform_key(_key(table, key), key.type, column=key.name) for key in definition.join_keys],
        microseconds(_whole(table, definition.timestamp_field), column=definition.timestamp_field),
        microseconds(_whole(table, created), column=created) if created else None,
        features,
        errors=errors,
    )


def column_types(definition: Definition) -> dict[str, FeatureType | None]:
    """The columns that pushed rows have, and their types; None is any type."""
    return {each.name: each.type for each in reversed(list(_wanted(definition)))}


def _wanted(definition: Definition) -> Iterator[_PushColumn]:
    for key in definition.entities:
        yield _PushColumn(key.name, key.type, "a join key that is null names no entity")
    yield _PushColumn(definition.timestamp_field, "timestamp", "a row needs its event time")
    if definition.created_field:
        yield _PushColumn(definition.created_field, "timestamp", "")
    for read in dict.fromkeys(feature.source_column for feature in definition.features):
        if read is not None:
            yield _PushColumn(read.column, read.type, "")
    if definition.source.where is not None:
        parsed = expressions.parse(definition.source.where, where="spec.source.where")
        for name in parsed.names:
            yield _PushColumn(".".join(name), None, "")


def _checked(
    definition: Definition,
    columns: Mapping[str, Any],
    count: int,
    convert: Callable[[_PushColumn, Any, list[RejectedRow]], pa.Array],
    clock: PushClock,
) -> PushBatch:
    rejected: list[RejectedRow] = []
    made: dict[str, pa.Array] = {}
    for wanted in _wanted(definition):
        if wanted.name in made and wanted.type is None:
            continue
        if wanted.name not in columns:
            if wanted.name != definition.created_field:
                raise _missing(definition, wanted.name, columns)
            array = pa.nulls(count, ARROW["timestamp"])
        else:
            array = convert(wanted, columns[wanted.name], rejected)
            if wanted.null and array.null_count:
                bad = {each.row for each in rejected if each.column == wanted.name}
                empty = (index for index, there in enumerate(array.is_valid().to_pylist()) if not there)
                _reject(rejected, (RejectedRow(index, wanted.name, wanted.null) for index in empty if index not in bad))
        made.setdefault(wanted.name, array)
    refuse_unknown(definition, columns)
    _reject(rejected, _too_late(definition, made[definition.timestamp_field], clock))
    table = pa.table(made)
    first = {each.row: each for each in reversed(rejected)}
    if first:
        table = table.filter(pa.array([index not in first for index in range(count)]))
    return PushBatch(table, [first[index] for index in sorted(first)])


def _too_late(definition: Definition, times_: pa.Array, clock: PushClock) -> Iterator[RejectedRow]:
    """Rows that nobody may see for long: a clock or a unit of whoever pushes is wrong."""
    name, latest = definition.timestamp_field, clock.now + clock.tolerance
    events = microseconds(times_, column=name)
    for index in np.flatnonzero(pc.greater(events, latest).fill_null(False)).tolist():
        at, setting = events[index].as_py(), f" ({clock.setting})" if clock.setting else ""
        yield RejectedRow(
            index,
            name,
            f"{times.render(at)} is later than now, {times.render(clock.now)}, by more than the tolerance of "
            f"{clock.tolerance / 1e6:g} s{setting}",
        )


def _missing(definition: Definition, name: str, columns: Mapping[str, Any]) -> RejectError:
    return RejectError(
        f"the column {name!r} is missing",
        hint=f"Feature view {definition.view!r} needs its source's columns; these came: {listed(columns)}",
        field=f"{_FIELD}.{name}",
    )


def _reject(rejected: list[RejectedRow], more: Iterator[RejectedRow] | Sequence[RejectedRow]) -> None:
    for each in more:
        rejected.append(each)
        if len(rejected) > MOST_REJECTED:
            raise RejectError(
                f"more than {MOST_REJECTED} rows do not fit, the last because of this: {each.reason}",
                hint="Nothing was written; mend the rows and send them again",
                field=f"{_FIELD}.{each.column}",
            )


def _from_values(wanted: _PushColumn, values: Sequence[Any], rejected: list[RejectedRow]) -> pa.Array:
    if wanted.type is None:
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise RejectError(f"the values are of no one type: {error}", field=f"{_FIELD}.{wanted.name}") from error
    convert = converter(wanted.type)
    good: list[Any] = []
    bad: list[RejectedRow] = []
    for index, value in enumerate(values):
        try:
            good.append(None if value is None else convert(value))
        except (TypeError, ValueError, RejectError):
            good.append(None)
            kind = type(value).__name__
            expected = EXPECTED.get(wanted.type, wanted.type)
            bad.append(RejectedRow(index, wanted.name, f"{shown(value, 100)} ({kind}) came, {expected} is expected"))
    _reject(rejected, bad)
    target = ARROW[wanted.type]
    return pa.array(good, _stored(target)).cast(target)


def _stored(target: pa.DataType) -> pa.DataType:
    """The type in which converted values come, before the cast: times are microseconds."""
    if pa.types.is_list(target):
        return pa.list_(_stored(target.value_type))
    return pa.int64() if pa.types.is_timestamp(target) else target


def _from_column(wanted: _PushColumn, column: pa.ChunkedArray, rejected: list[RejectedRow]) -> pa.Array:
    values = one_array(column)
    if wanted.type is None:
        return values
    try:
        return conform(values, wanted.type, column=wanted.name, field=f"{_FIELD}.{wanted.name}")
    except RejectError as error:
        if error.reason != "ValueOutOfRange":
            raise
    bad = list(_bad(wanted, values, 0))
    _reject(rejected, bad)
    wrong = {each.row for each in bad}
    fits = pa.array([index not in wrong for index in range(len(values))])
    return conform(pc.if_else(fits, values, pa.scalar(None, values.type)), wanted.type, column=wanted.name)


def _bad(wanted: _PushColumn, values: pa.Array, first: int) -> Iterator[RejectedRow]:
    """The values that do not fit, found by halves."""
    try:
        conform(values, wanted.type, column=wanted.name)
    except RejectError:
        if len(values) == 1:
            yield RejectedRow(first, wanted.name, f"{_shown(values[0])} came, {wanted.type} is expected")
            return
        middle = len(values) // 2
        yield from _bad(wanted, values.slice(0, middle), first)
        yield from _bad(wanted, values.slice(middle), first + middle)


def _shown(value: pa.Scalar) -> str:
    """A value for a message; times that Python has no form for as their number."""
    try:
        return f"{shown(value.as_py(), 100)}"
    except (ValueError, OverflowError):
        return f"{getattr(value, 'value', 'a value')} ({value.type})"


def _key(table: pa.Table, key: JoinKey) -> pa.Array:
    return global_key(table.num_rows) if key == GLOBAL else _whole(table, key.name)


def _whole(table: pa.Table, name: str) -> pa.Array:
    return one_array(table.column(name))
