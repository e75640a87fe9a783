"""All functions but operators: CEL's string and time functions, its strings and sets extensions, Kubernetes' lists.

Sources: https://github.com/google/cel-go/blob/master/ext/README.md and ``k8s.io/apiserver/pkg/cel/library``.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from millrace_core.schema.cel import quantities, text, urls
from millrace_core.schema.cel.operators import OPERATORS
from millrace_core.schema.cel.overloads import Overload, Table, free, member
from millrace_core.schema.cel.syntax import CelError
from millrace_core.schema.cel.values import equal, in_range
from millrace_core.schema.cel.values import member as is_member

_SUMMABLE = ("int", "uint", "double", "duration")
_COMPARABLE = ("int", "uint", "double", "bool", "string", "bytes", "duration", "timestamp")


def _strings(table: Table) -> None:
    member(table, "contains", ("string, string -> bool", lambda value, part: part in value))
    member(table, "startsWith", ("string, string -> bool", str.startswith))
    member(table, "endsWith", ("string, string -> bool", str.endswith))
    matches = ("string, string -> bool", text.matches)
    member(table, "matches", matches)
    free(table, "matches", matches)
    member(table, "find", ("string, string -> string", text.find))
    member(
        table,
        "findAll",
        ("string, string -> list(string)", text.find_all),
        ("string, string, int -> list(string)", text.find_all),
    )
    free(table, "strings.quote", ("string -> string", text.quote))


def _parts_of_strings(table: Table) -> None:
    member(table, "charAt", ("string, int -> string", text.char_at))
    member(table, "indexOf", ("string, string -> int", text.index_of), ("string, string, int -> int", text.index_of))
    member(
        table,
        "lastIndexOf",
        ("string, string -> int", text.last_index_of),
        ("string, string, int -> int", text.last_index_of),
    )
    member(table, "join", ("list(string) -> string", "".join), ("list(string), string -> string", text.join))
    member(table, "lowerAscii", ("string -> string", text.lower_ascii))
    member(table, "upperAscii", ("string -> string", text.upper_ascii))
    member(
        table,
        "replace",
        ("string, string, string -> string", str.replace),
        ("string, string, string, int -> string", str.replace),
    )
    member(
        table,
        "split",
        ("string, string -> list(string)", text.split),
        ("string, string, int -> list(string)", text.split),
    )
    member(
        table,
        "substring",
        ("string, int -> string", text.substring),
        ("string, int, int -> string", text.substring),
    )
    member(table, "trim", ("string -> string", str.strip))
    member(table, "format", ("string, list(dyn) -> string", text.formatted))


def _lists(table: Table) -> None:
    for kind in _COMPARABLE:
        member(table, "isSorted", (f"list({kind}) -> bool", _is_sorted))
        member(table, "min", (f"list({kind}) -> {kind}", _extreme("min", min)))
        member(table, "max", (f"list({kind}) -> {kind}", _extreme("max", max)))
    for kind in _SUMMABLE:
        member(table, "sum", (f"list({kind}) -> {kind}", _SUMS[kind]))
    member(table, "indexOf", ("list(A), A -> int", _position))
    member(table, "lastIndexOf", ("list(A), A -> int", _last_position))


def _is_sorted(items: list[Any]) -> bool:
    return all(left <= right for left, right in pairwise(items))


def _extreme(name: str, pick: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def extreme(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{name} called on empty list")
        return pick(items)

    return extreme


_SUMS: dict[str, Callable[[list[Any]], Any]] = {
    "int": lambda items: in_range(sum(items)),
    "uint": lambda items: type(items[0])(in_range(sum(map(int, items)), 0, 2**64 - 1)) if items else 0,
    "double": lambda items: float(sum(items)),
    "duration": lambda items: sum(items, datetime.timedelta()),
}


def _position(items: list[Any], wanted: Any) -> int:
    return next((at for at, item in enumerate(items) if equal(item, wanted)), -1)


def _last_position(items: list[Any], wanted: Any) -> int:
    return next((at for at in reversed(range(len(items))) if equal(items[at], wanted)), -1)


def _sets(table: Table) -> None:
    def contains(items: list[Any], wanted: list[Any]) -> bool:
        return all(is_member(item, items) for item in wanted)

    pair = "list(A), list(A) -> bool"
    free(table, "sets.contains", (pair, contains))
    free(table, "sets.equivalent", (pair, lambda one, two: contains(one, two) and contains(two, one)))
    free(table, "sets.intersects", (pair, lambda one, two: any(is_member(item, one) for item in two)))


_PARTS: dict[str, Callable[[datetime.datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1000,
}
_UNITS = {"getHours": 3600_000, "getMinutes": 60_000, "getSeconds": 1000, "getMilliseconds": 1}


def _times(table: Table) -> None:
    for name, part in _PARTS.items():
        member(
            table,
            name,
            ("timestamp -> int", lambda moment, part=part: part(moment.astimezone(datetime.UTC))),
            ("timestamp, string -> int", lambda moment, zone, part=part: part(moment.astimezone(_zone(zone)))),
        )
    for name, milliseconds in _UNITS.items():
        unit = datetime.timedelta(milliseconds=milliseconds)
        member(table, name, ("duration -> int", lambda length, unit=unit: int(length / unit)))


def _zone(name: str) -> datetime.tzinfo:
    try:
        if ":" not in name:
            return zoneinfo.ZoneInfo(name)
        hours, minutes = name.split(":")
        sign = -1 if hours.startswith("-") else 1
        return datetime.timezone(sign * datetime.timedelta(hours=abs(int(hours)), minutes=int(minutes)))
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise CelError(f"unknown time zone {name}") from None


def _all() -> dict[str, tuple[Overload, ...]]:
    table: Table = {name: list(rows) for name, rows in OPERATORS.items()}
    for fill in (_strings, _parts_of_strings, _lists, _sets, _times, quantities.add_to, urls.add_to):
        fill(table)
    return {name: tuple(rows) for name, rows in table.items()}


FUNCTIONS = _all()
