"""Operators, and optional values. Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md"""

from __future__ import annotations

import datetime
import math
import operator
from typing import Any

from millrace_core.schema.cel.conversions import add_to as add_conversions
from millrace_core.schema.cel.conversions import uint
from millrace_core.schema.cel.overloads import Table, free, member
from millrace_core.schema.cel.syntax import CelError
from millrace_core.schema.cel.values import (
    Uint,
    equal,
    in_range,
    index,
)
from millrace_core.schema.cel.values import member as is_member

OPERATORS: Table = {}

_ORDERED = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_NUMBERS = ("int", "uint", "double")


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
            ("uint, uint -> uint", lambda left, right, run=run: uint(run(int(left), int(right)))),
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
    # Here for their signatures only: the evaluator does not evaluate all of their operands.
    for name, text in (("_&&_", "bool, bool -> bool"), ("_||_", "bool, bool -> bool"), ("_?_:_", "bool, A, A -> A")):
        free(OPERATORS, name, (text, lambda *values: values))


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
add_conversions(OPERATORS)
_optionals()
