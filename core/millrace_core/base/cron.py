"""Cron lines as Kubernetes reads them: the standard parser of robfig/cron v3, on which CronJobs rest.

A line has five fields: minute, hour, day of month, month, day of week (0 to 6, or sun to sat). A field is a list of
numbers, names, ranges and steps, or ``*`` (also written ``?``). Of the macros there are ``@yearly``, ``@annually``,
``@monthly``, ``@weekly``, ``@daily``, ``@midnight`` and ``@hourly``.

A day matches when both its day fields do; where neither of them has a star, either one is enough. A step above 1 takes
a star away, so ``0 0 */2 * 1`` comes on odd days and on Mondays.

An instant matches when the clock of the time zone, read at that instant, shows what the line says. So a time that
daylight saving skips does not come on that day, and a time that it repeats comes twice. robfig/cron gives the same,
but for zones that change their clock at midnight or by half an hour, where it can lose a day or an hour.

Two forms that robfig/cron reads are refused on purpose. ``@every`` has no fixed times: when it comes follows from when
it last came, so that no two readers agree. A time zone in the line (``TZ=``, ``CRON_TZ=``) is refused for CronJobs by
Kubernetes itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
# robfig/cron looks no further than the fifth year after the one it starts in.
_YEARS: Final = 5
# Days of the months, from 1 on.
_LONGEST: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MINUTE: Final = timedelta(minutes=1)
_MINUTES_OF_HOUR: Final = 60
_MINUTES_OF_DAY: Final = 1440


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # the first stands for ``low``

    @property
    def expected(self) -> str:
        names = f", or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.low} to {self.high}{names}"


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
EXPECTED: Final = (
    "expected five fields, "
    + ", ".join(f"{field.name} ({field.expected})" for field in _FIELDS)
    + f"; or one of {', '.join(_MACROS)}"
)


# White space as Go has it, lists with empty items, numbers with a sign and leading zeros: robfig/cron takes all that.
_BLANK: Final = r"[\t-\r\x{85}\pZ]"
_WORD: Final = r"[^\t-\r\x{85}\pZ]"
_STEP: Final = r"(/\+?0*[1-9][0-9]{0,17})?"
_ANYTHING_OF_STAR: Final = r"[*?](-[^,/\t-\r\x{85}\pZ]*)?"


def _value(numbers: str, names: tuple[str, ...] = ()) -> str:
    return rf"(\+?0*({numbers})" + (f"|(?i:{'|'.join(names)}))" if names else ")")


def _list(item: str) -> str:
    return f",*{item}(,+{item})*,*"


def _pattern() -> str:
    numbers = ("[0-5]?[0-9]", "1?[0-9]|2[0-3]", "[1-9]|[12][0-9]|3[01]", "[1-9]|1[0-2]", "[0-6]")
    fields = []
    for field, number in zip(_FIELDS, numbers, strict=True):
        value = _value(number, field.names)
        fields.append(_list(f"({_ANYTHING_OF_STAR}|{value}(-{value})?){_STEP}"))
    return f"^({'|'.join(_MACROS)}|{_BLANK}*{f'{_BLANK}+'.join(fields)}{_BLANK}*)$"


def _never() -> str:
    """Lines whose days are in none of their months, as far as months are named one by one."""
    star = rf"({_WORD}*,)?{_ANYTHING_OF_STAR}(/\+?0*1)?(,{_WORD}*)?"
    late, last = (_list(rf"\+?0*{day}(-\+?0*{day})?(/\+?[0-9]+)?") for day in ("3[01]", "31"))
    february = _list(_value("2", ("feb",)))
    short = _list(_value("[2469]|11", ("feb", "apr", "jun", "sep", "nov")))
    days = f"({late}{_BLANK}+{february}|{last}{_BLANK}+{short})"
    return f"^{_BLANK}*{_WORD}+{_BLANK}+{_WORD}+{_BLANK}+{days}{_BLANK}+{star}{_BLANK}*$"


# For schemas, in RE2's syntax. ``parse`` reads just what PATTERN admits, but for ranges that run backwards, which
# ``forwards`` refuses, and steps of 19 digits; of what is left NEVER matches what no day fulfils.
PATTERN: Final = _pattern()
NEVER: Final = _never()


def forwards(line: str) -> str:
    """A CEL expression: whether the ranges of a line run forwards, where ``line`` is an expression for it."""
    numbered = f"{line}.lowerAscii()"
    for field in _FIELDS:
        for number, name in enumerate(field.names, field.low):
            numbered += f".replace('{name}', '{number}')"
    ends = (r"r.find(r'[0-9]+-').replace('-', '')", r"r.find(r'-\+?[0-9]+').replace('-', '')")
    ranges = rf"{numbered}.findAll(r'(^|[^-*?0-9+])\+?[0-9]+-\+?[0-9]+')"
    return f"{ranges}.all(r, int({ends[0]}) <= int({ends[1]}))"


@dataclass(frozen=True)
class Cron:
    """A parsed cron line in a time zone: the values that each field admits.

    Args:
        either_day: whether one matching day field is enough.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: tzinfo

    @property
    def comes(self) -> bool:
        """Whether there is any day that it names; the 30th of February is none."""
        if not (self.minutes and self.hours and self.days and self.months and self.weekdays):
            return False
        return self.either_day or any(day <= _LONGEST[month] for month in self.months for day in self.days)

    def after(self, moment: datetime) -> datetime | None:
        """The first tick later than ``moment``, in UTC; None where there is none until the end of the fifth year
        after."""
        start = moment.astimezone(UTC)
        tick = start.replace(second=0, microsecond=0) + _MINUTE
        last_year = (start + timedelta(seconds=1)).astimezone(self.zone).year + _YEARS
        while True:
            local = tick.astimezone(self.zone)
            if local.year > last_year:
                return None
            step = self._minutes_ahead(local)
            if not step:
                return tick
            tick = self._moved(tick, local, step)

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last tick with ``since < tick <= until``, in UTC; None where there is none."""
        tick = until.astimezone(UTC).replace(second=0, microsecond=0)
        while tick > since:
            local = tick.astimezone(self.zone)
            step = self._minutes_back(local)
            if not step:
                return tick
            tick = self._moved(tick, local, -step)
        return None

    def more_than(self, count: int, since: datetime, until: datetime) -> bool:
        """Whether there are more than ``count`` ticks with ``since < tick <= until``."""
        for _ in range(count + 1):
            tick = self.after(since)
            if tick is None or tick > until:
                return False
            since = tick
        return True

    def _moved(self, tick: datetime, local: datetime, minutes: int) -> datetime:
        """``minutes`` on; or a single minute where the clock is changed between, which may show other times."""
        far = tick + minutes * _MINUTE
        if far.astimezone(self.zone).utcoffset() == local.utcoffset():
            return far
        return tick + (_MINUTE if minutes > 0 else -_MINUTE)

    def _minutes_ahead(self, local: datetime) -> int:
        """How far on the next minute lies that may match; 0 where this one does."""
        if not self._day_matches(local):
            return _MINUTES_OF_DAY - _MINUTES_OF_HOUR * local.hour - local.minute
        if local.hour not in self.hours:
            return _MINUTES_OF_HOUR - local.minute
        later = (minute for minute in self.minutes if minute >= local.minute)
        return min(later, default=_MINUTES_OF_HOUR) - local.minute

    def _minutes_back(self, local: datetime) -> int:
        """How far back the next minute lies that may match; 0 where this one does."""
        if not self._day_matches(local):
            return _MINUTES_OF_HOUR * local.hour + local.minute + 1
        if local.hour not in self.hours:
            return local.minute + 1
        return local.minute - max((minute for minute in self.minutes if minute <= local.minute), default=-1)

    def _day_matches(self, local: datetime) -> bool:
        if local.month not in self.months:
            return False
        by_date, by_weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)


@lru_cache(maxsize=1024)
def parse(line: str, zone: tzinfo = UTC, *, field: str = "") -> Cron:
    """Parses a cron line.

    Raises:
        RejectError: it is none, or of a form that is refused on purpose; names ``field`` and the part at fault.
    """
    if line.startswith(("TZ=", "CRON_TZ=")):
        hint = "The schedule of a FeatureView is in UTC; a CronJob has spec.timeZone"
        raise RejectError(f"{line!r} names a time zone, which a cron line cannot", hint=hint, field=field)
    if line.startswith("@every"):
        hint = 'Write fixed times, such as "*/15 * * * *" or @hourly'
        raise RejectError(f"{line!r} has no fixed times; @every is not accepted", hint=hint, field=field)
    try:
        return _parsed(line, zone)
    except ValueError as error:
        hint = 'Write it as "minute hour day month weekday", such as "*/15 * * * *"'
        raise RejectError(f"{line!r} is no cron line: {error}", hint=hint, field=field) from error


def time_zone(name: str, *, field: str = "spec.timeZone") -> tzinfo:
    """A time zone by its IANA name.

    Raises:
        RejectError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RejectError(
            f"unknown time zone {name}",
            hint="Write a name of the IANA time zone database, such as Europe/Berlin",
            field=field,
        ) from error


def _parsed(line: str, zone: tzinfo) -> Cron:
    if line.startswith("@") and line not in _MACROS:
        raise ValueError(f"of macros there are {', '.join(_MACROS)}")
    parts = _SPACE.split(_MACROS.get(line, line).strip(_SPACES))
    if len(parts) != len(_FIELDS) or not parts[0]:
        count = len(parts) if parts[0] else 0
        raise ValueError(f"it has {count} fields, 5 are expected ({', '.join(field.name for field in _FIELDS)})")
    minutes, hours, days, months, weekdays = map(_values, parts, _FIELDS)
    either = not (_has_star(parts[2]) or _has_star(parts[4]))
    return Cron(minutes, hours, days, months, weekdays, either, zone)


# White space as Go has it: Python's also has the separators 1C to 1F.
_SPACES: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" + (
    "\u2028\u2029\u202f\u205f\u3000"
)
_SPACE: Final = re.compile(f"[{_SPACES}]+")
_NUMBER: Final = re.compile(r"\+?[0-9]+")
_LARGEST: Final = 2**63 - 1


def _items(part: str) -> list[str]:
    """The items of a list; empty ones are passed over."""
    return [item for item in part.split(",") if item]


def _has_star(part: str) -> bool:
    """Whether a day field counts as one that says nothing."""
    for item in _items(part):
        span, _, step = item.partition("/")
        if span.partition("-")[0] in ("*", "?") and (not step or int(step) == 1):
            return True
    return False


def _values(part: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for item in _items(part):
        found.update(_item_values(item, field))
    return frozenset(found)


def _item_values(item: str, field: _Field) -> range:
    span, slash, step_text = item.partition("/")
    first_text, dash, last_text = span.partition("-")
    if first_text in ("*", "?"):
        first, last = field.low, field.high
    else:
        first = _number(first_text, item, field)
        last = _number(last_text, item, field) if dash else field.high if slash else first
    for value in (first, last):
        if not field.low <= value <= field.high:
            raise _wrong(item, field, f"{value} is out of range, {field.expected} is expected")
    if first > last:
        raise _wrong(item, field, f"the range runs backwards, from {first} to {last}")
    step = _number(step_text, item, field, named=False) if slash else 1
    if not step:
        raise _wrong(item, field, "a step is at least 1")
    return range(first, last + 1, step)


def _number(text: str, item: str, field: _Field, *, named: bool = True) -> int:
    if named and text.lower() in field.names:
        return field.names.index(text.lower()) + field.low
    if not _NUMBER.fullmatch(text) or int(text) > _LARGEST:
        raise _wrong(item, field, f"{text!r} is no number" + (f" of {field.expected}" if named else ""))
    return int(text)


def _wrong(item: str, field: _Field, why: str) -> ValueError:
    return ValueError(f"{item!r} cannot be its {field.name}: {why}")
