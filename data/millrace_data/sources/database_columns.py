"""Columns of a database as Arrow has them: which type each has, and a batch of its values.

PostgreSQL tells the types of any query. Elsewhere those of a table are its declared ones, and those of a query show
only as rows are read: then a column has the type of the first batch that has a value there.

NUMERIC of so many digits is a decimal of them; without a number of digits it is float64, or whole where the definition
reads it so. UUID and JSON become their text, a date its midnight. Most databases keep booleans as the integers 0 and 1,
which are read as such where the definition says so. What has no counterpart (times of day, intervals) is refused by
name, unless a query casts it.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from millrace_core.base.errors import RejectError

_MOMENT: Final = pa.timestamp("us")
_INSTANT: Final = pa.timestamp("us", "UTC")

# PostgreSQL's own numbers of its types (pg_type.dat), of arrays of these, and what they are here.
_NUMBERED: Final[tuple[tuple[int, int, pa.DataType | str], ...]] = (
    (16, 1000, pa.bool_()),
    (17, 1001, pa.binary()),
    (19, 1003, pa.string()),
    (20, 1016, pa.int64()),
    (21, 1005, pa.int64()),
    (23, 1007, pa.int64()),
    (25, 1009, pa.string()),
    (26, 1028, pa.int64()),
    (700, 1021, pa.float64()),
    (701, 1022, pa.float64()),
    (1042, 1014, pa.string()),
    (1043, 1015, pa.string()),
    (1082, 1182, pa.date32()),
    (1114, 1115, _MOMENT),
    (1184, 1185, _INSTANT),
    (1700, 1231, pa.float64()),
    (2950, 2951, pa.string()),
    (114, 199, pa.string()),
    (3802, 3807, pa.string()),
    (1083, 1183, "time"),
    (1266, 1270, "time with time zone"),
    (1186, 1187, "interval"),
)
_POSTGRES: Final = {
    number: kind
    for one, many, kind in _NUMBERED
    for number, kind in ((one, kind), (many, f"{kind}[]" if isinstance(kind, str) else pa.list_(kind)))
}

# Those whose values have to be asked for as text; of some of them the database has no order either.
_AS_TEXT: Final = frozenset([114, 3802])
_AS_TEXTS: Final = frozenset([199, 3807])
_NUMERIC: Final = 1700
_DIGITS: Final = 38
# Of decimals of any digits.
_ANY_DECIMAL: Final = pa.decimal256(76, 0)

# SQLAlchemy's classes, the narrower before the wider.
_DECLARED: Final[tuple[tuple[type[sa.types.TypeEngine[Any]], pa.DataType], ...]] = (
    (sa.Boolean, pa.bool_()),
    (sa.Integer, pa.int64()),
    (sa.Date, pa.date32()),
    (sa.LargeBinary, pa.binary()),
    (sa.Uuid, pa.string()),
    (sa.String, pa.string()),
)


class Column(NamedTuple):
    """A column that is there: its type in SQLAlchemy's words, and in Arrow's; None where only rows tell.

    ``foreign`` is the database's name for a type that has no counterpart. ``numeric``: its decimals have any digits.
    ``text``: what the column is cast to, so that its values come as text.
    """

    declared: Any
    kind: pa.DataType | None = None
    foreign: str = ""
    numeric: bool = False
    text: Any = None

    @property
    def description(self) -> str:
        """The type in words, by which a change of it is noticed."""
        return self.foreign or str(self.kind or self.declared)

    def as_boolean(self) -> Column:
        """The same column where 0 and 1 mean false and true, if it may hold them."""
        may = self.kind is None or pa.types.is_integer(self.kind)
        return self._replace(kind=pa.bool_()) if may else self

    def as_whole(self) -> Column:
        """The same column where its decimals are read as integers, exactly."""
        return self._replace(kind=_ANY_DECIMAL) if self.numeric else self


def of_number(number: int, precision: int | None, scale: int | None) -> Column:
    """A column of the PostgreSQL type of that number; unknown ones (enums, extensions) come as text."""
    found = _POSTGRES.get(number, pa.string())
    if isinstance(found, str):
        return Column(sa.types.NullType(), foreign=found)
    if number == _NUMERIC:
        return _decimal(sa.types.NullType(), precision, scale)
    text = sa.Text() if number in _AS_TEXT else postgresql.ARRAY(sa.Text()) if number in _AS_TEXTS else None
    return Column(sa.types.NullType(), found, text=text)


def of_declared(declared: Any) -> Column:
    """A column that a table declares so."""
    if isinstance(declared, sa.DateTime):
        return Column(declared, _INSTANT if declared.timezone else _MOMENT)
    if isinstance(declared, sa.Float):
        declared.asdecimal = False  # else MySQL's come as decimals of ten digits
        return Column(declared, pa.float64())
    if isinstance(declared, sa.Numeric):
        return _decimal(declared, declared.precision, declared.scale)
    if isinstance(declared, sa.Integer) and getattr(declared, "unsigned", False):
        return Column(declared, pa.uint64())
    if isinstance(declared, sa.JSON):
        return Column(sa.Text(), pa.string())
    return Column(declared, next((kind for each, kind in _DECLARED if isinstance(declared, each)), None))


def _decimal(declared: Any, precision: int | None, scale: int | None) -> Column:
    if precision is None or not 0 <= (scale or 0) <= precision <= _DIGITS:
        return Column(declared, pa.float64(), numeric=True)
    return Column(declared, pa.decimal128(precision, scale or 0))


def require_native(name: str, column: Column, field: str) -> None:
    """Refuses a column whose type has no counterpart.

    Raises:
        RejectError: names the column and its type.
    """
    if column.foreign:
        raise RejectError(
            f"column {name!r} has the type {column.foreign}, which no feature has",
            hint=f"Read it through a query that casts it: cast({name} as text) as {name}",
            field=field,
            reason="WrongColumnType",
        )


def array(name: str, values: Sequence[Any], kinds: MutableMapping[str, pa.DataType], field: str) -> pa.Array:
    """One column of a batch.

    Args:
        name: of the column.
        values: as the driver gave them.
        kinds: types by name, as far as they are known; a type that shows here is added.
        field: of the definition, for errors.

    Raises:
        RejectError: a value is of no type that features have, or not of the column's.
    """
    first = next((value for value in values if value is not None), None)
    if isinstance(first, Decimal) and pa.types.is_decimal(kinds.get(name, pa.null())):
        return _decimals(name, values, kinds[name], field)
    if isinstance(first, Decimal | UUID | memoryview | list):
        values = [_plain(value) for value in values]
    elif first is not None and not isinstance(first, bool | int | float | str | bytes | date):
        raise RejectError(
            f"column {name!r} holds values of the kind {type(first).__name__}, which no feature has",
            hint="Read it through a query that casts it",
            field=field,
            reason="WrongColumnType",
        )
    if pa.types.is_temporal(kinds.get(name, pa.null())) and (odd := next((v for v in values if type(v) is str), None)):
        raise RejectError(
            f"column {name!r} holds {odd!r}, which is no time",
            hint="Read it through a query that leaves such rows out, or makes null of it with nullif",
            field=field,
            reason="WrongColumnType",
        )
    try:
        found = pa.array(values)
        return _typed(found, kinds.setdefault(name, found.type) if found.null_count < len(found) else kinds.get(name))
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        said = "an integer beyond 64 bits" if isinstance(error, OverflowError) else str(error).splitlines()[0]
        raise RejectError(
            f"column {name!r} holds values that do not go together: {said}",
            hint="Read it through a query that casts it",
            field=field,
            reason="WrongColumnType",
        ) from error


def _decimals(name: str, values: Sequence[Any], kind: pa.DataType, field: str) -> pa.Array:
    try:
        return pa.array(values, None if kind == _ANY_DECIMAL else kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise RejectError(
            f"column {name!r} holds a value that is no {kind}: {str(error).splitlines()[0]}",
            hint=f"Read it through a query that makes null of it: nullif({name}, 'NaN') as {name}",
            field=field,
            reason="WrongColumnType",
        ) from error


def _typed(found: pa.Array, kind: pa.DataType | None) -> pa.Array:
    if kind is None or found.type == kind:
        return found
    # Casting would read numbers from text, and write numbers as text.
    if not pa.types.is_null(found.type) and pa.types.is_string(found.type) != pa.types.is_string(kind):
        raise pa.ArrowInvalid(f"a value of the type {found.type} came, {kind} is expected")
    if pa.types.is_boolean(kind) and pa.types.is_integer(found.type):
        ends = pc.min_max(found)
        if ends["min"].as_py() < 0 or ends["max"].as_py() > 1:
            raise pa.ArrowInvalid(f"a boolean is 0 or 1, and {ends['min']} to {ends['max']} came")
    return found.cast(kind, safe=not pa.types.is_floating(kind))


def _plain(value: Any) -> Any:
    match value:
        case list():
            return [_plain(each) for each in value]
        case Decimal():
            return float(value)
        case UUID():
            return str(value)
        case memoryview():
            return bytes(value)
    return value
