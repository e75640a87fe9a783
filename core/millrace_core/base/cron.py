"""Cron lines as Kubernetes reads them: five fields, names of months and weekdays, steps, lists, ranges and ``@hourly``.

Where both day of month and day of week are restricted, a day that matches either one matches (the rule of Vixie cron).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from millrace_core.base.errors import RejectError

_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# name, lowest, highest, names (the first name stands for the lowest value)
_FIELDS: Final[tuple[tuple[str, int, int, list[str]], ...]] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
# No date repeats later than this: 29 February on a given weekday, over a century that is no leap year.
_HORIZON_DAYS: Final = 366 * 41


@dataclass(frozen=True)
class Cron:
    """A parsed cron line: the values that each field admits."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def after(self, moment: datetime) -> datetime | None:
        """The first tick strictly after ``moment``, in its time zone; None where the line never fires."""
        return self._search(moment.replace(second=0, microsecond=0) + timedelta(minutes=1), 1)

    def before(self, moment: datetime) -> datetime | None:
        """The last tick at or before ``moment``, in its time zone; None where the line never fires."""
        return self._search(moment.replace(second=0, microsecond=0), -1)

    def _search(self, start: datetime, step: int) -> datetime | None:
        hours = sorted(self.hours, reverse=step < 0)
        minutes = sorted(self.minutes, reverse=step < 0)
        for offset in range(_HORIZON_DAYS):
            day = start + timedelta(days=offset * step)
            if not self._matches_day(day):
                continue
            for hour in hours:
                for minute in minutes:
                    tick = day.replace(hour=hour, minute=minute)
                    if (tick >= start) if step > 0 else (tick <= start):
                        return tick
        return None

    def _matches_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_date = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_date and by_weekday
        return by_date or by_weekday


def parse(line: str, *, field: str = "") -> Cron:
    """Parses a cron line.

    Raises:
        RejectError: the line is no cron line; names ``field`` and the part at fault.
    """
    parts = _MACROS.get(line.strip().lower(), line).split()
    if len(parts) != len(_FIELDS):
        raise RejectError(
            f"{line!r} is no cron line: {len(parts)} fields came, 5 are expected",
            hint='Write it as "minute hour day month weekday", such as "*/15 * * * *"',
            field=field,
        )
    values = [_values(part, *spec, line=line, field=field) for part, spec in zip(parts, _FIELDS, strict=True)]
    weekdays = frozenset(day % 7 for day in values[4])
    return Cron(
        values[0],
        values[1],
        values[2],
        values[3],
        weekdays,
        parts[2].startswith(("*", "?")),
        parts[4].startswith(("*", "?")),
    )


def _values(part: str, name: str, low: int, high: int, names: list[str], *, line: str, field: str) -> frozenset[int]:
    found: set[int] = set()
    for item in part.split(","):
        bounds, slash, step_text = item.partition("/")
        try:
            step = int(step_text) if slash else 1
            if bounds in ("*", "?"):
                first, last = low, high
            else:
                start, dash, end = bounds.partition("-")
                first = _value(start, low, names)
                last = _value(end, low, names) if dash else (high if slash else first)
        except ValueError:
            step, first, last = 0, 0, 0
        if step < 1 or not low <= first <= last <= high:
            raise RejectError(f"{line!r} is no cron line: {item!r} is no {name} ({low} to {high})", field=field)
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _value(text: str, low: int, names: list[str]) -> int:
    return names.index(text.lower()) + low if text.lower() in names else int(text)
