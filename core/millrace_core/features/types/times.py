"""Times as integers: microseconds since 1970-01-01 UTC, negative before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from millrace_core.base import timestamps

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """A datetime in microseconds, exactly. Without a zone it is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The aware UTC datetime of a number of microseconds.

    Raises:
        OverflowError: the year is not within 1 to 9999.
    """
    return _EPOCH + value * _MICROSECOND


def parse(text: str, *, field: str = "") -> int:
    """An RFC 3339 time in microseconds.

    Raises:
        RejectError: the text is no time; names ``field``.
    """
    return microseconds(timestamps.parse(text, field=field))


def render(value: int) -> str:
    """RFC 3339. A time outside the years 1 to 9999 has no such form, and is written as its microseconds."""
    try:
        return timestamps.render(moment(value))
    except OverflowError:
        return f"{value}us"
