"""Operators, conversions and size. Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md"""

from __future__ import annotations

import datetime
import math
import operator
from typing import Any

from millrace.local.apiserver.schema.cel.overloads import Table, free, member
from millrace.local.apiserver.schema.cel.syntax import CelError
from millrace.local.apiserver.schema.cel.values import (
    TypeValue,
    Uint,
    equal,
    in_range,
    index,
    kind_of,
)
from millrace.local.apiserver.schema.cel.values import member as is_member
from millrace.local.apiserver.schema.durations import parse_duration

OPERATORS: Table = {}

_UINT_MAX = 2**64 - 1
_ORDERED = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_NUMBERS = ("int", "uint", "double")


def _uint(value: int) -> Uint:
    return Uint(in_range(value, 0, _UINT_MAX))


def _whole(value: int) -> int:
    if not isinstance(value, Uint) and -(2**63) <= value < 2**63:
        return value
    return in_range(int(value))


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise CelError("division by zero")
    quotient = abs(left) // abs(right)
    return in_range(quotient if (left < 0) == (right < 0) else -quotient)


def _modulo(left: int, right: int) -> int:
    if right == 0:
        raise CelError("modulus by zero")
    return int(math.copysign(1, left)) * (abs(left) % abs(right)) if left else 0


def _divide_doubles(left: float, right: float) -> float:
    if right:
        return left / right
    return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


def _time_sum(moment: datetime.datetime, length: datetime.timedelta) -> datetime.datetime:
    try:
        return moment + length
    except OverflowError:
        raise CelError("timestamp overflow") from None


def _arithmetic() -> None:
    for symbol, run in (("+", operator.add), ("-", operator.sub), ("*", operator.mul)):
        free(
            OPERATORS,
            f"_{symbol}_",
            ("int, int -> int", lambda left, right, run=run: _whole(run(left, right))),
            ("uint, uint -> uint", lambda left, right, run=run: _uint(run(int(left), int(right)))),
            ("double, double -> double", run),
        )
    free(
        OPERATORS,
        "_+_",
        ("string, string -> string", operator.add),
        ("bytes, bytes -> bytes", operator.add),
        ("list(A), list(A) -> list(A)", operator.add),
        ("timestamp, duration -> timestamp", _time_sum),
        ("duration, timestamp -> timestamp", lambda length, moment: _time_sum(moment, length)),
        ("duration, duration -> duration", operator.add),
    )
    free(
        OPERATORS,
        "_-_",
        ("timestamp, timestamp -> duration", operator.sub),
        ("timestamp, duration -> timestamp", lambda moment, length: _time_sum(moment, -length)),
        ("duration, duration -> duration", operator.sub),
    )
    free(
        OPERATORS,
        "_/_",
        ("int, int -> int", _divide),
        ("uint, uint -> uint", lambda left, right: Uint(_divide(left, right))),
        ("double, double -> double", _divide_doubles),
    )
    free(
        OPERATORS,
        "_%_",
        ("int, int -> int", _modulo),
        ("uint, uint -> uint", lambda left, right: Uint(_modulo(left, right))),
    )
    free(OPERATORS, "-_", ("int -> int", lambda value: in_range(-value)), ("double -> double", operator.neg))


def _comparisons() -> None:
    same = [f"{kind}, {kind} -> bool" for kind in _ORDERED]
    mixed = [f"{left}, {right} -> bool" for left in _NUMBERS for right in _NUMBERS if left != right]
    for symbol, run in (("<", operator.lt), ("<=", operator.le), (">", operator.gt), (">=", operator.ge)):
        free(OPERATORS, f"_{symbol}_", *((text, run) for text in same + mixed))
    free(OPERATORS, "_==_", ("A, A -> bool", equal))
    free(OPERATORS, "_!=_", ("A, A -> bool", lambda left, right: not equal(left, right)))
    free(OPERATORS, "@in", ("A, list(A) -> bool", is_member), ("A, map(A, B) -> bool", is_member))
    free(OPERATORS, "_[_]", ("list(A), int -> A", index), ("map(A, B), A -> B", index))
    free(OPERATORS, "!_", ("bool -> bool", operator.not_))
    # Evaluated by the evaluator itself, since not every operand of theirs is.
    for name, text in (("_&&_", "bool, bool -> bool"), ("_||_", "bool, bool -> bool"), ("_?_:_", "bool, A, A -> A")):
        free(OPERATORS, name, (text, lambda *values: values))


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
    """Reads RFC 3339; a day alone is its first moment in UTC."""
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
    """A double as CEL writes it."""
    if math.isinf(value) or math.isnan(value):
        return {True: "+Inf", False: "-Inf"}[value > 0] if math.isinf(value) else "NaN"
    text = repr(value)
    return text.removesuffix(".0") if "e" not in text else text


def timestamp_text(moment: datetime.datetime) -> str:
    """A timestamp as CEL writes it: RFC 3339, in UTC."""
    utc = moment.astimezone(datetime.UTC)
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def type_of(value: Any) -> TypeValue:
    """The type of a value, as names in expressions denote it."""
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


def _conversions() -> None:
    free(
        OPERATORS,
        "int",
        ("int -> int", lambda value: value),
        ("uint -> int", _whole),
        ("double -> int", _to_int),
        ("string -> int", _parsed_int),
        ("timestamp -> int", lambda moment: math.floor(moment.timestamp())),
        ("duration -> int", lambda length: length // datetime.timedelta(microseconds=1) * 1000),
    )
    free(
        OPERATORS,
        "uint",
        ("uint -> uint", lambda value: value),
        ("int -> uint", _uint),
        ("double -> uint", lambda value: _uint(_to_int(value))),
        ("string -> uint", lambda text: _uint(_parsed_int(text))),
    )
    free(
        OPERATORS,
        "double",
        ("double -> double", lambda value: value),
        ("int -> double", float),
        ("uint -> double", float),
        ("string -> double", _parsed_double),
    )
    free(
        OPERATORS,
        "string",
        ("string -> string", lambda value: value),
        ("bool -> string", lambda value: str(value).lower()),
        ("int -> string", str),
        ("uint -> string", lambda value: str(int(value))),
        ("double -> string", double_text),
        ("bytes -> string", _decoded),
        ("timestamp -> string", timestamp_text),
        ("duration -> string", lambda length: f"{double_text(length.total_seconds())}s"),
    )
    free(OPERATORS, "bytes", ("bytes -> bytes", lambda value: value), ("string -> bytes", str.encode))
    free(OPERATORS, "bool", ("bool -> bool", lambda value: value), ("string -> bool", _parsed_bool))
    free(
        OPERATORS,
        "timestamp",
        ("timestamp -> timestamp", lambda value: value),
        ("string -> timestamp", to_timestamp),
        ("int -> timestamp", lambda value: datetime.datetime.fromtimestamp(value, datetime.UTC)),
    )
    free(OPERATORS, "duration", ("duration -> duration", lambda value: value), ("string -> duration", to_duration))
    free(OPERATORS, "dyn", ("A -> dyn", lambda value: value))
    free(OPERATORS, "type", ("A -> type", type_of))
    sized = [(f"{kind} -> int", len) for kind in ("string", "bytes", "list(A)", "map(A, B)")]
    free(OPERATORS, "size", *sized)
    member(OPERATORS, "size", *sized)


def _optionals() -> None:
    member(OPERATORS, "hasValue", ("optional(A) -> bool", lambda optional: optional.present))
    member(OPERATORS, "value", ("optional(A) -> A", _optional_value))
    member(
        OPERATORS,
        "orValue",
        ("optional(A), A -> A", lambda optional, other: optional.value if optional.present else other),
    )
    member(
        OPERATORS,
        "or",
        ("optional(A), optional(A) -> optional(A)", lambda optional, other: optional if optional.present else other),
    )


def _optional_value(optional: Any) -> Any:
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


_arithmetic()
_comparisons()
_conversions()
_optionals()
