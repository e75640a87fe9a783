"""CEL values as Python values, and the operations on all of them.

null, bool, int, double, string, bytes, list and map are None, bool, int, float, str, bytes, list and dict; a timestamp
is an aware datetime and a duration a timedelta, both to the microsecond.
"""

from __future__ import annotations

import datetime
from typing import Any

from millrace_core.schema.cel.syntax import CelError

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class Uint(int):
    """An unsigned integer."""

    __slots__ = ()


class TypeValue(str):
    """The result of ``type(x)``."""

    __slots__ = ()


class OptionalValue:
    """An optional value, such as ``oldSelf`` of a rule with ``optionalOldSelf``."""

    __slots__ = ("present", "value")

    def __init__(self, *, present: bool, value: Any = None) -> None:
        self.present = present
        self.value = value


_KINDS: dict[type, str] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null",
    list: "list",
    dict: "map",
    datetime.datetime: "timestamp",
    datetime.timedelta: "duration",
    TypeValue: "type",
    OptionalValue: "optional",
}


def kind_of(value: Any) -> str:
    """The kind of type of a value at run time; objects are maps."""
    return _KINDS.get(type(value)) or type(value).__name__.lower()


def no_overload() -> CelError:
    return CelError("no such overload")


def equal(left: Any, right: Any) -> bool:
    """CEL equality: numbers by value across their types, all else only within its type."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    return bool(left == right)


def in_range(value: int, low: int = INT_MIN, high: int = INT_MAX) -> int:
    """The integer; fails if it overflows."""
    if low <= value <= high:
        return value
    raise CelError("integer overflow")


def member(item: Any, container: Any) -> bool:
    """``item in container``."""
    if isinstance(container, dict):
        return item.__hash__ is not None and item in container
    return any(equal(item, other) for other in container)


def index(container: Any, key: Any) -> Any:
    """``container[key]``."""
    if isinstance(container, dict):
        try:
            return container[key]
        except KeyError:
            raise CelError(f"no such key: {key}") from None
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    if not 0 <= key < len(container):
        raise CelError(f"index out of bounds: {key}")
    return container[key]
