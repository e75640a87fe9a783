"""A window of event time as an Arrow filter on a column of whatever type, so that files and row groups are skipped."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.features.history.history import TimeRange

_INT64: Final = (-(2**63), 2**63 - 1)
_INT32: Final = (-(2**31), 2**31 - 1)
_DAY: Final = 86_400_000_000
# Microseconds per unit of the column; nanoseconds are the one finer unit.
_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NANOSECONDS: Final = 1_000
# Of a column that has no value in any row.
_NOTHING: Final = pc.scalar(False)


def of_rows(timestamp: str, created: str | None, schema: pa.Schema, time_range: TimeRange) -> pc.Expression:
    """Holds for every row of a window; ``timestamp`` and ``created`` are the columns of its times."""
    found = within(timestamp, schema.field(timestamp).type, time_range)
    if time_range.created_after is not None and created is not None:
        found &= written_after(created, schema.field(created).type, time_range.created_after)
    return found


def within(column: str, kind: pa.DataType, time_range: TimeRange) -> pc.Expression:
    """Holds for every row whose time, rounded down to the microsecond, lies in the window; and for few others."""
    if pa.types.is_null(kind):
        return _NOTHING
    low, high = _counts(kind, time_range)
    field = pc.field(column)
    upto = field <= _scalar(kind, high)
    return upto if low is None else (field >= _scalar(kind, low)) & upto


def written_after(column: str, kind: pa.DataType, moment: int) -> pc.Expression:
    """Holds for every row whose created time is later than ``moment``; and for few others."""
    if pa.types.is_null(kind):
        return _NOTHING
    low, _ = _counts(kind, TimeRange(moment, moment))
    return pc.field(column) >= _scalar(kind, low or 0)


def _counts(kind: pa.DataType, time_range: TimeRange) -> tuple[int | None, int]:
    """The window's ends in the column's own units."""
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        low = None if time_range.earliest is None else time_range.earliest * _NANOSECONDS
        return low, time_range.latest * _NANOSECONDS + _NANOSECONDS - 1
    size = _DAY if pa.types.is_date32(kind) else _MICROSECONDS[getattr(kind, "unit", "ms")]
    # Rounding down keeps at the lower end at most one unit too much.
    return None if time_range.earliest is None else time_range.earliest // size, time_range.latest // size


def _scalar(kind: pa.DataType, count: int) -> pa.Scalar:
    if pa.types.is_date32(kind):
        return pa.scalar(min(max(count, _INT32[0]), _INT32[1]), pa.int32()).cast(kind)
    return pa.scalar(min(max(count, _INT64[0]), _INT64[1]), pa.int64()).cast(kind)
