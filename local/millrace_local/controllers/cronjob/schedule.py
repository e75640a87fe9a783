"""Cron lines: five fields, names, ranges, steps and lists, ``?``, and the ``@`` shorthands.

An instant matches when the wall clock of the time zone, read at that instant, matches. So a time that daylight saving
skips does not occur that day, and one that it repeats occurs twice. A day matches when both its day fields do; where
both are restricted, either is enough. All as in Kubernetes' own parser (robfig/cron), but for its ``@every``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from millrace_core.base.errors import RejectError

_SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
# (name, lowest, highest, names)
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _WEEKDAYS),
)
# 29 February may be eight years away (1896 to 1904); beyond that a line such as "0 0 31 2 *" never comes.
_HORIZON = timedelta(days=8 * 366 + 1)


@dataclass(frozen=True)
class Schedule:
    """A parsed cron line in a time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        """The first occurrence later than ``moment``; None when there is none within eight years."""
        return next(self._occurrences(moment, forward=True), None)

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last occurrence with ``since < occurrence <= until``, if any."""
        last = next(self._occurrences(until + timedelta(minutes=1), forward=False), None)
        return last if last is not None and last > since else None

    def more_than(self, count: int, since: datetime, until: datetime) -> bool:
        """Whether there are more than ``count`` occurrences with ``since < occurrence <= until``."""
        for number, moment in enumerate(self._occurrences(since, forward=True)):
            if moment > until:
                return False
            if number == count:
                return True
        return False

    def _occurrences(self, start: datetime, *, forward: bool) -> Iterator[datetime]:
        """Occurrences strictly after (or, backwards, before) ``start``'s minute, in order."""
        start = start.astimezone(UTC)
        # Zone offsets reach 14 hours, so a day to either side is surely enough.
        step = 1 if forward else -1
        day = start.astimezone(self.zone).date() - timedelta(days=step)
        last = day + (_HORIZON if forward else -_HORIZON)
        while day != last:
            if self._day_matches(day):
                for moment in self._on(day)[::step]:
                    if moment > start if forward else moment < start.replace(second=0, microsecond=0):
                        yield moment
            day += timedelta(days=step)

    def _on(self, day: date) -> list[datetime]:
        """The instants of one local day that match, in order; times that the zone skips are not among them."""
        start = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        end = start + timedelta(days=1)
        clock = [
            timedelta(hours=hour, minutes=minute) for hour in sorted(self.hours) for minute in sorted(self.minutes)
        ]
        if start.utcoffset() == end.utcoffset():
            midnight = start.astimezone(UTC)
            return [midnight + time for time in clock]
        # The clock is changed on this day: read it at each instant that could be meant.
        moments = {(start + time).replace(fold=fold).astimezone(UTC) for time in clock for fold in (0, 1)}
        wanted = {(start + time).replace(tzinfo=None) for time in clock}
        return sorted(moment for moment in moments if moment.astimezone(self.zone).replace(tzinfo=None) in wanted)

    def _day_matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)


@lru_cache(maxsize=1024)
def parse(line: str, zone: tzinfo) -> Schedule:
    """Parses a cron line.

    Raises:
        RejectError: it is none; says which field, what came and what is expected.
    """
    text = _SHORTHANDS.get(line.strip().lower(), line)
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise RejectError(
            f"{line!r} is no cron line: {len(parts)} fields, expected 5 (minute hour day-of-month month day-of-week)",
            hint='For example "*/15 * * * *" or "@hourly"',
            field="spec.schedule",
        )
    minutes, hours, days, months, weekdays = (_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True))
    either = not (_is_star(parts[2]) or _is_star(parts[4]))
    return Schedule(minutes, hours, days, months, weekdays, either, zone)


def _is_star(text: str) -> bool:
    """Whether a day field restricts nothing; ``*/2`` does."""
    return any(item in ("*", "?", "*/1", "?/1") for item in text.split(","))


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        span, slash, step_text = item.partition("/")
        step = _number(step_text, {}, text, name) if slash else 1
        if span in ("*", "?"):
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, names, text, name)
            last = _number(end, names, text, name) if dash else (high if slash else first)
        if not (low <= first <= last <= high and step > 0):
            raise _wrong(text, name, f"expected {low} to {high}, a range low-high, or a step above 0")
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, names: dict[str, int], whole: str, name: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    if text.lower() in names:
        return names[text.lower()]
    raise _wrong(whole, name, f"{text!r} is no number" + (f" and none of {', '.join(names)}" if names else ""))


def _wrong(text: str, name: str, why: str) -> RejectError:
    return RejectError(
        f"{text!r} cannot be the {name} of a cron line: {why}",
        hint='A line looks like "*/15 * * * *"',
        field="spec.schedule",
    )
