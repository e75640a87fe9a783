"""Durations as the API writes them: ``20ms``, ``30s``, ``10m``, ``6h``, ``7d``, ``4w`` and sums such as ``1h30m``."""

from __future__ import annotations

import re
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

PATTERN: Final = r"^([0-9]+(ms|s|m|h|d|w))+$"

_MICROSECONDS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_MOST_DIGITS: Final = 12
_WHOLE: Final = re.compile(PATTERN)
_PART: Final = re.compile(r"(?<![0-9])([0-9]++)(ms|s|m|h|d|w)")


def microseconds(text: str, *, field: str = "") -> int:
    """The duration in microseconds.

    Raises:
        RejectError: the text is no duration; names ``field``.
    """
    if not _WHOLE.match(text):
        raise RejectError(
            f"{text!r} is no duration", hint="Write it as 20ms, 30s, 10m, 6h, 7d, 4w or 1h30m", field=field
        )
    parts = _PART.findall(text)
    if any(len(number.lstrip("0")) > _MOST_DIGITS for number, _ in parts):
        raise RejectError(f"{shown(text)} is longer than {10**_MOST_DIGITS:,} of its unit", field=field)
    return sum(int(number[-_MOST_DIGITS:]) * _MICROSECONDS[unit] for number, unit in parts)


def seconds(text: str, *, field: str = "") -> float:
    """The duration in seconds."""
    return microseconds(text, field=field) / 1_000_000
