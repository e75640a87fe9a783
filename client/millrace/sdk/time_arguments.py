"""Times as callers pass them: datetimes, dates, RFC 3339 texts."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.types import times

_NANOSECONDS: Final = 1000

TimeArgument = datetime | date | str


def microseconds(value: TimeArgument, field: str) -> int:
    """The time in microseconds since 1970 UTC; a time without a zone is UTC, a date its midnight.

    Raises:
        RejectError: it is no time; names ``field``.
    """
    if isinstance(value, datetime):
        return times.microseconds(value)
    if isinstance(value, date):
        return times.microseconds(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, str):
        return times.parse(value, field=field)
    raise RejectError(
        f"{shown(value, 60)} came, a datetime or a time such as 2026-01-31T00:00:00Z is expected", field=field
    )


def now() -> int:
    """The present time, in microseconds since 1970 UTC."""
    return time.time_ns() // _NANOSECONDS
