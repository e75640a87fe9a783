"""A window of event time as an Arrow filter on a column of whatever type, so that files and row groups are skipped."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.source import TimeUnit
from millrace_core.features.history.history import TimeRange

_INT64: Final = (-(2**63), 2**63 - 1)
_INT32: Final = (-(2**31), 2**31 - 1)
_DAY: Final = 86_400_000_000
# Microseconds per unit of the column; nanoseconds are the one finer unit.
_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0}
_NANOSECONDS: Final = 1_000
# Of a column that has no value in any row.
_NOTHING: Final = pc.scalar(False)
_ANYTHING: Final = pc.scalar(True)


def within(column: str, kind: pa.DataType, time_range: TimeRange, unit: TimeUnit | None = None) -> pc.Expression:
    """Holds for every row whose time, rounded down to the microsecond, lies in the window; and for few others.

    Args:
        column: of the time.
        kind: its type; of some, such as text, nothing can be said, and all rows are taken.
        time_range: the window.
        unit: what the numbers of a column of integers count.
    """
    if pa.types.is_null(kind):
        return _NOTHING
    size = _size(kind, unit)
    if size is None:
        return _ANYTHING
    field = pc.field(column)
    upto = field <= _scalar(kind, _count(time_range.latest, size, last=True))
    if time_range.earliest is None:
        return upto
    return (field >= _scalar(kind, _count(time_range.earliest, size))) & upto


def written_after(column: str, kind: pa.DataType, moment: int, unit: TimeUnit | None = None) -> pc.Expression:
    """Holds for every row whose created time is later than ``moment``; and for few others."""
    if pa.types.is_null(kind):
        return _NOTHING
    size = _size(kind, unit)
    return _ANYTHING if size is None else pc.field(column) >= _scalar(kind, _count(moment, size))


def count(moment: int, unit: TimeUnit, *, last: bool = False) -> int:
    """A moment in a unit, rounded down; of nanoseconds the first or last of its microsecond."""
    # No column has more than 64 bits, and drivers refuse larger numbers.
    return min(max(_count(moment, _MICROSECONDS[unit], last=last), _INT64[0]), _INT64[1])


def _size(kind: pa.DataType, unit: TimeUnit | None) -> int | None:
    """Microseconds per unit of the column, 0 of nanoseconds; None where it has no unit."""
    if pa.types.is_date(kind):
        return _DAY if pa.types.is_date32(kind) else _MICROSECONDS["ms"]
    if pa.types.is_timestamp(kind):
        return _MICROSECONDS[kind.unit]
    return _MICROSECONDS[unit] if unit is not None and pa.types.is_integer(kind) else None


def _count(moment: int, size: int, *, last: bool = False) -> int:
    """A moment in the column's own units; of nanoseconds the first or last of its microsecond."""
    if size == 0:
        return moment * _NANOSECONDS + (_NANOSECONDS - 1 if last else 0)
    # Rounding down keeps at the lower end at most one unit too much.
    return moment // size


def _scalar(kind: pa.DataType, count: int) -> pa.Scalar:
    if pa.types.is_integer(kind):
        signed = pa.types.is_signed_integer(kind)
        low, high = (
            (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1) if signed else (0, 2**kind.bit_width - 1)
        )
        return pa.scalar(min(max(count, low), high), kind)
    if pa.types.is_date32(kind):
        return pa.scalar(min(max(count, _INT32[0]), _INT32[1]), pa.int32()).cast(kind)
    return pa.scalar(min(max(count, _INT64[0]), _INT64[1]), pa.int64()).cast(kind)
