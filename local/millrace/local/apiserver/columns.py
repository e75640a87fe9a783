"""Printer columns: those a CRD declares, and what the built-in ones are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from millrace.local.apiserver import jsonpath

Read = Callable[[dict[str, Any], datetime], Any]

_NAME_TEXT = "Name must be unique within a namespace."
_AGE_TEXT = "CreationTimestamp is a timestamp representing the server time when this object was created."


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its definition and how a cell is read from an object."""

    name: str
    read: Read
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    def definition(self) -> dict[str, Any]:
        """The ``TableColumnDefinition``."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }

    def cell(self, obj: dict[str, Any], now: datetime) -> Any:
        """The cell of one object."""
        return self.read(obj, now)


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time, or ``None`` where it is none."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age(text: str | None, now: datetime) -> str:
    """How long ago a time was, as kubectl shows it."""
    then = parse_time(text) if isinstance(text, str) else None
    return "<unknown>" if then is None else duration((now - then).total_seconds())


def duration(seconds: float) -> str:
    """Seconds in the one or two units that matter (``duration.HumanDuration`` of apimachinery)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    steps: tuple[tuple[bool, int, str, int, str], ...] = (
        (whole < 120, whole, "s", 0, ""),
        (minutes < 10, minutes, "m", whole % 60, "s"),
        (minutes < 180, minutes, "m", 0, ""),
        (hours < 8, hours, "h", minutes % 60, "m"),
        (hours < 48, hours, "h", 0, ""),
        (days < 8, days, "d", hours % 24, "h"),
        (days < 730, days, "d", 0, ""),
        (days < 2920, days // 365, "y", days % 365, "d"),
    )
    for fits, first, unit, second, second_unit in steps:
        if fits:
            return f"{first}{unit}" + (f"{second}{second_unit}" if second else "")
    return f"{days // 365}y"


NAME = Column("Name", lambda obj, now: obj["metadata"]["name"], format="name", description=_NAME_TEXT)
AGE = Column("Age", lambda obj, now: age(obj["metadata"].get("creationTimestamp"), now), description=_AGE_TEXT)


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


def declared(columns: list[dict[str, Any]]) -> list[Column]:
    """The columns of a CRD version; without any, name and age."""
    if not columns:
        return [NAME, AGE]
    return [NAME] + [
        Column(
            column["name"],
            _declared_cell(column["jsonPath"], column["type"]),
            type=column["type"],
            format=column.get("format", ""),
            description=column.get("description", ""),
            priority=column.get("priority", 0),
        )
        for column in columns
    ]


def at(obj: Any, path: str) -> Any:
    """The value of a dotted path, ``None`` where absent."""
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj
