"""String functions. Positions and lengths count code points."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from itertools import islice
from typing import Any

from millrace_core.base.re2 import Pattern, PatternError, compile_pattern
from millrace_core.schema.cel.conversions import double_text, duration_text, timestamp_text
from millrace_core.schema.cel.syntax import CelError

_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_CLAUSE = re.compile(r"%(?:%|(?:\.([0-9]+))?([sdfexXob]))")


def _compiled(pattern: str) -> Pattern:
    try:
        return compile_pattern(pattern)
    except PatternError as error:
        raise CelError(str(error)) from error


def matches(value: str, pattern: str) -> bool:
    return _compiled(pattern).search(value)


def find(value: str, pattern: str) -> str:
    return next(_compiled(pattern).found(value), "")


def find_all(value: str, pattern: str, limit: int = -1) -> list[str]:
    return list(islice(_compiled(pattern).found(value), limit if limit >= 0 else None))


def char_at(value: str, position: int) -> str:
    if not 0 <= position <= len(value):
        raise CelError(f"index out of range: {position}")
    return value[position : position + 1]


def index_of(value: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(value):
        raise CelError(f"index out of range: {start}")
    return value.find(part, start)


def last_index_of(value: str, part: str, start: int | None = None) -> int:
    if start is None:
        return value.rfind(part)
    if not 0 <= start <= len(value):
        raise CelError(f"index out of range: {start}")
    return value.rfind(part, 0, start + len(part))


def join(items: list[str], separator: str) -> str:
    return separator.join(items)


def lower_ascii(value: str) -> str:
    return value.translate(_LOWER)


def upper_ascii(value: str) -> str:
    return value.translate(_UPPER)


def split(value: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator:
        return value.split(separator, limit - 1 if limit > 0 else -1)
    chars = list(value)
    return [*chars[: limit - 1], "".join(chars[limit - 1 :])] if 0 < limit < len(chars) else chars


def substring(value: str, start: int, end: int | None = None) -> str:
    stop = len(value) if end is None else end
    if not 0 <= start <= len(value) or not 0 <= stop <= len(value):
        raise CelError(f"index out of range: {start if not 0 <= start <= len(value) else stop}")
    if start > stop:
        raise CelError(f"invalid substring range. start: {start}, end: {stop}")
    return value[start:stop]


def quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def formatted(template: str, args: list[Any]) -> str:
    """``template`` with %s, %d, %f, %e, %x, %X, %o and %b filled in."""
    remaining = iter(args)

    def clause(match: re.Match[str]) -> str:
        if match[2] is None:
            return "%"
        value = next(remaining, _MISSING)
        if value is _MISSING:
            raise CelError("index out of range: not enough arguments for format")
        return _formatted_one(match[2], match[1], value)

    return _CLAUSE.sub(clause, template)


_MISSING = object()


def _formatted_one(verb: str, precision: str | None, value: Any) -> str:
    if verb == "s":
        return shown(value)
    try:
        if verb in "fe":
            return f"{value:.{precision or 6}{verb}}"
        if isinstance(value, str | bytes) and verb in "xX":
            digits = (value.encode() if isinstance(value, str) else value).hex()
            return digits.upper() if verb == "X" else digits
        return f"{value:{verb}}" if type(value) is not bool or verb == "b" else _refuse(verb)
    except (ValueError, TypeError):
        return _refuse(verb)


def _refuse(verb: str) -> str:
    raise CelError(f"error during formatting: {verb} clause got a value of another type")


def shown(value: Any) -> str:
    """A value as ``%s`` formats it."""
    if isinstance(value, list):
        return f"[{', '.join(shown(item) for item in value)}]"
    if isinstance(value, dict):
        entries = sorted((shown(key), shown(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in entries) + "}"
    write = _SHOWN.get(type(value), str)
    return write(value)


_SHOWN: dict[type, Callable[[Any], str]] = {
    bool: lambda value: str(value).lower(),
    type(None): lambda _: "null",
    float: double_text,
    bytes: lambda value: value.decode(errors="replace"),
    datetime.datetime: timestamp_text,
    datetime.timedelta: duration_text,
}
