"""Moments as people pass them: datetimes, dates, RFC 3339 texts."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.features.types import times

_NANOSECONDS: Final = 1000

Moment = datetime | date | str


def microseconds(moment: Moment, field: str) -> int:
    """The moment in microseconds since 1970 UTC; a time without a zone is UTC, a date its midnight.

    Raises:
        RejectError: it is none; names ``field``.
    """
    if isinstance(moment, datetime):
        return times.microseconds(moment)
    if isinstance(moment, date):
        return times.microseconds(datetime(moment.year, moment.month, moment.day, tzinfo=UTC))
    if isinstance(moment, str):
        return times.parse(moment, field=field)
    raise RejectError(
        f"{moment!r:.60} came, a datetime or a time such as 2026-01-31T00:00:00Z is expected", field=field
    )


def now() -> int:
    """The present moment."""
    return time.time_ns() // _NANOSECONDS
