"""Moments as RFC 3339 in UTC, the form of every time in specs, statuses and job results."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

_TIME_OF_DAY: Final = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})")


def parse(text: str, *, field: str = "") -> datetime:
    """An RFC 3339 time as an aware UTC datetime; a time without a zone is UTC.

    Raises:
        RejectError: the text is no time; names ``field``.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RejectError(f"{shown(text)} is no time", hint="Write it as 2026-01-31T00:00:00Z", field=field) from error


def render(moment: datetime) -> str:
    """``2026-01-31T00:00:00Z``; with six digits of microseconds only where they are not zero."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def is_date(text: str) -> bool:
    """Whether a text is a date such as 2026-01-31."""
    with suppress(ValueError):
        return len(text) == len("2006-01-02") and date.fromisoformat(text) is not None
    return False


def is_date_time(text: str) -> bool:
    """Whether a schema's format ``date-time`` admits a text. Source: ``k8s.io/kube-openapi``, ``strfmt``."""
    day, separator, rest = text.lower().partition("t")
    if not separator or not is_date(day):
        return False
    match = _TIME_OF_DAY.fullmatch(rest.partition("t")[0])
    return match is not None and match[1] <= "23" and match[2] <= "59" and match[3] <= "59"
