"""Conversions between types, and size.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#type-conversions
"""

from __future__ import annotations

import datetime
import math
from typing import Any

from millrace_core.base.go_duration import parse_duration
from millrace_core.schema.cel.overloads import Table, free, member
from millrace_core.schema.cel.syntax import CelError
from millrace_core.schema.cel.values import INT_MAX, TypeValue, Uint, in_range, kind_of


def uint(value: int) -> Uint:
    """The unsigned integer; fails if it overflows."""
    return Uint(in_range(int(value), 0, 2 * INT_MAX + 1))


def _to_int(value: float) -> int:
    if math.isnan(value) or math.isinf(value):
        raise CelError("integer overflow")
    return in_range(int(value))


def _parsed_int(text: str) -> int:
    try:
        return in_range(int(text) if text.strip() == text and "_" not in text else int(""))
    except ValueError:
        raise CelError(f"type conversion error from string to int: '{text}'") from None


def _parsed_double(text: str) -> float:
    try:
        return float(text) if text.strip() == text and "_" not in text else float("")
    except ValueError:
        raise CelError(f"type conversion error from string to double: '{text}'") from None


def _parsed_bool(text: str) -> bool:
    if text in {"true", "TRUE", "True", "t", "1"}:
        return True
    if text in {"false", "FALSE", "False", "f", "0"}:
        return False
    raise CelError(f"type conversion error from string to bool: '{text}'")


def to_timestamp(value: str) -> datetime.datetime:
    """Reads RFC 3339; a date alone is midnight UTC."""
    try:
        moment = datetime.datetime.fromisoformat(value.upper().replace("Z", "+00:00"))
    except ValueError:
        raise CelError(f"invalid timestamp: '{value}'") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def to_duration(value: str) -> datetime.timedelta:
    """Reads a Go duration."""
    length = parse_duration(value)
    if length is None:
        raise CelError(f"invalid duration: '{value}'")
    return length


def double_text(value: float) -> str:
    """A double as CEL formats it."""
    if math.isinf(value) or math.isnan(value):
        return {True: "+Inf", False: "-Inf"}[value > 0] if math.isinf(value) else "NaN"
    text = repr(value)
    return text.removesuffix(".0") if "e" not in text else text


def timestamp_text(moment: datetime.datetime) -> str:
    """A timestamp as CEL formats it: RFC 3339, in UTC."""
    utc = moment.astimezone(datetime.UTC)
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def duration_text(length: datetime.timedelta) -> str:
    """A duration as CEL formats it: seconds."""
    return f"{double_text(length.total_seconds())}s"


def type_of(value: Any) -> TypeValue:
    """The type of a value, as ``type(x)`` gives it."""
    kind = kind_of(value)
    return TypeValue(_TYPE_NAMES.get(kind, kind))


_TYPE_NAMES = {
    "null": "null_type",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None


def _same(value: Any) -> Any:
    return value


def add_to(table: Table) -> None:
    """Adds the conversions, size and type."""
    _numbers(table)
    _texts(table)
    _times(table)
    free(table, "bool", ("bool -> bool", _same), ("string -> bool", _parsed_bool))
    free(table, "dyn", ("A -> dyn", _same))
    free(table, "type", ("A -> type", type_of))
    sized = [(f"{kind} -> int", len) for kind in ("string", "bytes", "list(A)", "map(A, B)")]
    free(table, "size", *sized)
    member(table, "size", *sized)


def _numbers(table: Table) -> None:
    free(
        table,
        "int",
        ("int -> int", _same),
        ("uint -> int", lambda value: in_range(int(value))),
        ("double -> int", _to_int),
        ("string -> int", _parsed_int),
        ("timestamp -> int", lambda moment: math.floor(moment.timestamp())),
        ("duration -> int", lambda length: length // datetime.timedelta(microseconds=1) * 1000),
    )
    free(
        table,
        "uint",
        ("uint -> uint", _same),
        ("int -> uint", uint),
        ("double -> uint", lambda value: uint(_to_int(value))),
        ("string -> uint", lambda text: uint(_parsed_int(text))),
    )
    free(
        table,
        "double",
        ("double -> double", _same),
        ("int -> double", float),
        ("uint -> double", float),
        ("string -> double", _parsed_double),
    )


def _texts(table: Table) -> None:
    free(
        table,
        "string",
        ("string -> string", _same),
        ("bool -> string", lambda value: str(value).lower()),
        ("int -> string", str),
        ("uint -> string", lambda value: str(int(value))),
        ("double -> string", double_text),
        ("bytes -> string", _decoded),
        ("timestamp -> string", timestamp_text),
        ("duration -> string", duration_text),
    )
    free(table, "bytes", ("bytes -> bytes", _same), ("string -> bytes", str.encode))


def _times(table: Table) -> None:
    free(
        table,
        "timestamp",
        ("timestamp -> timestamp", _same),
        ("string -> timestamp", to_timestamp),
        ("int -> timestamp", lambda value: datetime.datetime.fromtimestamp(value, datetime.UTC)),
    )
    free(table, "duration", ("duration -> duration", _same), ("string -> duration", to_duration))
