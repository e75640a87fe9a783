"""Moments as RFC 3339 in UTC, the form of every time in specs, statuses and job results."""

from __future__ import annotations

from datetime import UTC, datetime

from millrace_core.base.errors import RejectError


def parse(text: str, *, field: str = "") -> datetime:
    """An RFC 3339 time as an aware UTC datetime; a time without a zone is UTC.

    Raises:
        RejectError: the text is no time; names ``field``.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RejectError(f"{text!r} is no time", hint="Write it as 2026-01-31T00:00:00Z", field=field) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def render(moment: datetime) -> str:
    """``2026-01-31T00:00:00Z``; with six digits of microseconds only where they are not zero."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
