"""Printer columns: those that a CRD declares, and what those of built-in kinds are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_local.apiserver import jsonpath

Read = Callable[[dict[str, Any], datetime], Any]

_NAME_TEXT = "Name must be unique within a namespace."
_AGE_TEXT = "CreationTimestamp is a timestamp representing the server time when this object was created."


_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_YEAR = 365 * _DAY
#: (below this many seconds, unit, its name, lesser unit, its name)
_STEPS = (
    (2 * _MINUTE, 1, "s", 0, ""),
    (10 * _MINUTE, _MINUTE, "m", 1, "s"),
    (3 * _HOUR, _MINUTE, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (2 * _DAY, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (2 * _YEAR, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column: its ``TableColumnDefinition``, and ``read``, which gives the cell of an object."""

    name: str
    read: Read
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }

    def cell(self, obj: dict[str, Any], now: datetime) -> Any:
        return self.read(obj, now)


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time, or ``None`` where it is none."""
    try:
        return timestamps.parse(text)
    except RejectError:
        return None


def age(text: str | None, now: datetime) -> str:
    """How long ago a time was, as kubectl shows it."""
    then = parse_time(text) if isinstance(text, str) else None
    return "<unknown>" if then is None else duration((now - then).total_seconds())


def duration(seconds: float) -> str:
    """Seconds in one or two units, as ``duration.HumanDuration`` of apimachinery writes them."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    for limit, unit, name, lesser, lesser_name in _STEPS:
        if whole < limit:
            first, rest = divmod(whole, unit)
            second = rest // lesser if lesser else 0
            return f"{first}{name}" + (f"{second}{lesser_name}" if second else "")
    return f"{whole // _YEAR}y"


NAME = TableColumn("Name", lambda obj, _: obj["metadata"]["name"], format="name", description=_NAME_TEXT)
AGE = TableColumn("Age", lambda obj, now: age(obj["metadata"].get("creationTimestamp"), now), description=_AGE_TEXT)


def _declared_cell(path: str, kind: str) -> Read:
    def read(obj: dict[str, Any], now: datetime) -> Any:
        found = jsonpath.find(obj, path)
        if not found:
            return None
        value = found[0]
        if kind == "date":
            return age(value, now)
        if kind == "string":
            return _shown(value) if len(found) == 1 else ",".join(_shown(item) for item in found)
        return value if isinstance(value, bool | int | float) else None

    return read


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return str(value)


def declared(columns: list[dict[str, Any]]) -> list[TableColumn]:
    """The columns of a CRD version: name and the declared ones, or name and age where none is declared."""
    if not columns:
        return [NAME, AGE]
    return [NAME] + [
        TableColumn(
            column["name"],
            _declared_cell(column["jsonPath"], column["type"]),
            type=column["type"],
            format=column.get("format", ""),
            description=column.get("description", ""),
            priority=column.get("priority", 0),
        )
        for column in columns
    ]
