"""Cron lines: what they mean, against a minute by minute look at the clock, and which are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base import cron
from millrace_core.base.errors import RejectError

MINUTE = timedelta(minutes=1)
NEW_YORK, BERLIN, SAO_PAULO = ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/Sao_Paulo")
# Lord Howe moves its clock by half an hour, Cairo at midnight.
ZONES = [UTC, BERLIN, NEW_YORK, ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Africa/Cairo")]
DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}


class Part(NamedTuple):
    """A field of a line, and what it means by its making."""

    text: str
    values: frozenset[int]
    star: bool


class Line(NamedTuple):
    fields: tuple[Part, Part, Part, Part, Part]

    def __str__(self) -> str:
        return " ".join(field.text for field in self.fields)

    def matches(self, moment: datetime, zone: object) -> bool:
        """The definition: the zone's clock, read at that instant, shows what the line says."""
        local = moment.astimezone(zone)  # type: ignore[arg-type]
        minute, hour, day, month, weekday = self.fields
        on = (local.day in day.values, local.isoweekday() % 7 in weekday.values)
        return (
            local.minute in minute.values
            and local.hour in hour.values
            and local.month in month.values
            and (all(on) if day.star or weekday.star else any(on))
        )


@st.composite
def parts(draw: st.DrawFn, low: int, high: int) -> Part:
    texts, values, star = [], set(), False
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["star", "number", "range"]))
        step = draw(st.none() | st.integers(1, 7))
        first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
        if kind == "star":
            text, first, last = draw(st.sampled_from("*?")), low, high
            star |= step in (None, 1)
        elif kind == "number":
            text, last = str(first), first if step is None else high
        else:
            text = f"{first}-{last}"
        texts.append(text if step is None else f"{text}/{step}")
        values.update(range(first, last + 1, step or 1))
    return Part(",".join(texts), frozenset(values), star)


lines = st.tuples(parts(0, 59), parts(0, 23), parts(1, 31), parts(1, 12), parts(0, 6)).map(Line)
starts = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
# Times shortly before zones change their clocks.
CHANGES = {
    NEW_YORK: ["2026-03-08T04:13", "2026-11-01T03:13"],
    BERLIN: ["2026-03-28T23:13", "2026-10-24T22:13"],
    ZoneInfo("Australia/Lord_Howe"): ["2026-04-04T12:13", "2026-10-03T13:13"],
    ZoneInfo("Africa/Cairo"): ["2026-04-23T20:13", "2026-10-29T18:13"],
}
places = st.tuples(st.sampled_from(ZONES), starts) | st.sampled_from(
    [(zone, datetime.fromisoformat(f"{at}:30.5+00:00")) for zone, times in CHANGES.items() for at in times]
)


@given(line=lines, place=places)
def test_the_next_and_the_latest_tick_are_those_of_a_minute_by_minute_look(
    line: Line, place: tuple[ZoneInfo, datetime]
) -> None:
    zone, start = place
    schedule = cron.parse(str(line), zone)
    first = start.replace(second=0, microsecond=0) + MINUTE
    window = [first + number * MINUTE for number in range(36 * 60)]
    expected = [moment for moment in window if line.matches(moment, zone)]
    found = schedule.after(start)
    if expected:
        assert found == expected[0]
        assert schedule.latest(start, window[-1]) == expected[-1]
        assert schedule.more_than(len(expected) - 1, start, window[-1])
    else:
        assert found is None or found > window[-1]
        assert schedule.latest(start, window[-1]) is None
    assert not schedule.more_than(len(expected), start, window[-1])


@pytest.mark.parametrize(
    ("line", "star", "first", "second"),
    [
        # Both day fields restrict: either is enough. November 2026 begins on a Sunday.
        ("0 0 13 * 5", False, "2026-11-06", "2026-11-13"),
        ("0 0 10-12 * mon", False, "2026-11-02", "2026-11-09"),
        # One has a star: both must match.
        ("0 0 13 * *", True, "2026-11-13", "2026-12-13"),
        ("0 0 * * 5", True, "2026-11-06", "2026-11-13"),
        ("0 0 ? * FRI", True, "2026-11-06", "2026-11-13"),
        ("0 0 */1 * 5", True, "2026-11-06", "2026-11-13"),
        # A star within a list is a star, and adds all values.
        ("0 0 13,* * 5", True, "2026-11-06", "2026-11-13"),
        # A step above 1 takes the star away.
        ("0 0 */2 * 1", False, "2026-11-02", "2026-11-03"),
        ("0 0 ?/2 * 1", False, "2026-11-02", "2026-11-03"),
        ("0 0 13 * */3", False, "2026-11-04", "2026-11-07"),
        ("0 0 */2 * *", True, "2026-11-03", "2026-11-05"),
        # Another item's star stays.
        ("0 0 */2,*/1 * 1", True, "2026-11-02", "2026-11-09"),
        # From a number on with a step: up to the field's end, and no star.
        ("0 0 29/1 * 0", False, "2026-11-08", "2026-11-15"),
    ],
)
def test_the_star_bit_decides_whether_one_day_field_is_enough(line: str, star: bool, first: str, second: str) -> None:
    parsed = cron.parse(line)
    assert parsed.either_day is not star
    tick = parsed.after(datetime(2026, 11, 1, tzinfo=UTC))
    assert tick is not None
    following = parsed.after(tick)
    assert following is not None
    assert (tick.date().isoformat(), following.date().isoformat()) == (first, second)


@pytest.mark.parametrize(
    ("line", "zone", "start", "ticks"),
    [
        # Spring in New York: 02:30 does not come on the 8th, and hourly ticks go on from 01:00 to 03:00.
        ("30 2 * * *", NEW_YORK, "2026-03-07T12:00-05:00", ["2026-03-09T02:30-04:00"]),
        ("0 * * * *", NEW_YORK, "2026-03-08T00:30-05:00", ["2026-03-08T01:00-05:00", "2026-03-08T03:00-04:00"]),
        ("30 2 8 mar ?", NEW_YORK, "2026-01-01T00:00-05:00", ["2027-03-08T02:30-05:00"]),
        # Autumn: what falls within the hour that comes twice, comes twice.
        ("30 1 * * *", NEW_YORK, "2026-11-01T00:00-04:00", ["2026-11-01T01:30-04:00", "2026-11-01T01:30-05:00"]),
        ("0 * * * *", BERLIN, "2026-10-25T02:30+02:00", ["2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]),
        ("0 3 * * *", BERLIN, "2026-10-25T00:00+02:00", ["2026-10-25T03:00+01:00", "2026-10-26T03:00+01:00"]),
        # Days of 23 and of 25 hours are left where they end.
        ("0 0 9 3 *", NEW_YORK, "2026-03-08T00:00-05:00", ["2026-03-09T00:00-04:00"]),
        ("0 0 26 10 *", BERLIN, "2026-10-25T00:00+02:00", ["2026-10-26T00:00+01:00"]),
        # A midnight that does not exist: Brazil, 4 November 2018.
        ("0 9 5 * *", SAO_PAULO, "2018-11-01T00:00-03:00", ["2018-11-05T09:00-02:00"]),
        ("0 0 * * *", SAO_PAULO, "2018-11-03T12:00-03:00", ["2018-11-05T00:00-02:00"]),
        # Later than, never at; and a part of a second is later than none.
        ("0 9 * * *", UTC, "2026-11-20T09:00+00:00", ["2026-11-21T09:00+00:00"]),
        ("0 9 * * *", UTC, "2026-11-20T08:59:59.999999+00:00", ["2026-11-20T09:00+00:00"]),
        # Across the ends of hour, day, month and year.
        ("59 23 31 12 *", UTC, "2026-12-31T23:59+00:00", ["2027-12-31T23:59+00:00"]),
        ("* * * * *", UTC, "2026-12-31T23:59:45+00:00", ["2027-01-01T00:00+00:00", "2027-01-01T00:01+00:00"]),
        ("5/20 1 1 1/6 *", UTC, "2026-01-01T01:45+00:00", ["2026-07-01T01:05+00:00", "2026-07-01T01:25+00:00"]),
        ("0 0 29 2 ?", UTC, "2026-11-20T00:00+00:00", ["2028-02-29T00:00+00:00"]),
    ],
)
def test_ticks_across_changes_of_the_clock_and_ends_of_fields(
    line: str, zone: ZoneInfo, start: str, ticks: list[str]
) -> None:
    schedule, moment = cron.parse(line, zone), datetime.fromisoformat(start)
    for expected in ticks:
        tick = schedule.after(moment)
        assert tick == datetime.fromisoformat(expected)
        assert schedule.latest(moment, tick) == tick
        moment = tick


def test_the_latest_tick_is_found_across_a_day_of_23_hours() -> None:
    schedule = cron.parse("30 23 7 3 *", NEW_YORK)
    tick = datetime.fromisoformat("2026-03-07T23:30-05:00")
    assert schedule.latest(datetime(2026, 3, 1, tzinfo=UTC), datetime.fromisoformat("2026-03-08T23:59-04:00")) == tick


@pytest.mark.parametrize(
    ("line", "start", "comes"),
    [
        ("0 0 31 2 *", "2026-01-01", None),
        ("0 0 31 4,6,9,11 ?", "2026-01-01", None),
        (", * * * *", "2026-01-01", None),
        # The fifth year is still looked at, the sixth is not.
        ("0 0 29 2 *", "2097-01-01", None),
        ("0 0 29 2 *", "2098-12-31", None),
        ("0 0 29 2 *", "2099-01-01", "2104-02-29"),
    ],
)
def test_a_tick_is_looked_for_until_the_end_of_the_fifth_year(line: str, start: str, comes: str | None) -> None:
    tick = cron.parse(line).after(datetime.fromisoformat(f"{start}T00:00:00+00:00"))
    assert (tick.date().isoformat() if tick else None) == comes


@pytest.mark.parametrize(
    ("short", "line"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 JAN *"),
        ("@monthly", "0 0 1 * ?"),
        ("@weekly", "0 0 * * sun"),
        ("@daily", "00 00 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        # As lenient as Kubernetes: white space, signs, empty items, what follows a star.
        ("\t0  9 * * 1-5 ", "0 9 * * mon-fri"),
        ("1,,2, * * * *", "1,2 * * * *"),
        ("+5 * * * *", "5 * * * *"),
        ("*-30 * * * *", "* * * * *"),
        ("*/9223372036854775807 * * * *", "0 * * * *"),
    ],
)
def test_macros_names_and_spellings_mean_their_numbers(short: str, line: str) -> None:
    assert cron.parse(short) == cron.parse(line)


REFUSED = {
    "": "it has 0 fields, 5 are expected",
    "   ": "it has 0 fields",
    "every day": "it has 2 fields",
    "* * * *": "it has 4 fields",
    "0 0 * * * *": "it has 6 fields",
    "0\x1c0 * * * *": "'0\\x1c0' is no number",
    "60 * * * *": "'60' cannot be its minute: 60 is out of range, 0 to 59 is expected",
    "* 24 * * *": "hour: 24 is out of range",
    "* * 0 * *": "day of month: 0 is out of range",
    "* * 32 * *": "day of month: 32 is out of range",
    "* * * 13 *": "month: 13 is out of range, 1 to 12, or jan to dec is expected",
    "0 0 * * 7": "day of week: 7 is out of range, 0 to 6, or sun to sat is expected",
    "0 0 * * 5-7": "day of week: 7 is out of range",
    "0 0 * * fri-sun": "the range runs backwards, from 5 to 0",
    "5-1 * * * *": "the range runs backwards",
    "*/0 * * * *": "a step is at least 1",
    "5/00 * * * *": "a step is at least 1",
    "*/-5 * * * *": "'-5' is no number",
    "*/x * * * *": "'x' is no number",
    "*/9223372036854775808 * * * *": "is no number",
    "*// * * * *": "is no number",
    "1/2/3 * * * *": "'2/3' is no number",
    "1-2-3 * * * *": "'2-3' is no number",
    "1- * * * *": "'' is no number",
    "-1 * * * *": "'' is no number",
    "a * * * *": "'a' is no number of 0 to 59",
    "jan * * * *": "'jan' is no number",
    "* * mon * *": "'mon' is no number",
    "* * * january *": "'january' is no number of 1 to 12, or jan to dec",
    "* * * * jan": "'jan' is no number",
    "\u0661 * * * *": "is no number",
    "1_0 * * * *": "is no number",
    "1.5 * * * *": "is no number",
    "@reboot": "of macros there are @yearly",
    "@Hourly": "of macros there are",
    " @hourly": "it has 1 fields",
    "@hourly ": "of macros there are",
    "@every 1h": "no fixed times",
    "TZ=Europe/Berlin 0 9 * * *": "names a time zone",
    "CRON_TZ=UTC @daily": "names a time zone",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_no_cron_line_is_refused_with_what_is_wrong(line: str) -> None:
    with pytest.raises(RejectError) as caught:
        cron.parse(line, field="spec.schedule")
    assert caught.value.field == "spec.schedule"
    assert caught.value.hint
    assert repr(line) in caught.value.message
    assert REFUSED[line] in caught.value.message


@pytest.mark.parametrize(
    ("line", "comes"),
    [
        ("0 0 29 2 *", True),
        ("0 0 30 2 *", False),
        ("0 0 30 2 1", True),
        ("0 0 30 2 1,*", False),
        ("0 0 30 2 */2", True),
        ("0 0 30,31 FEB ?", False),
        ("0 0 31 4,6,sep,11 *", False),
        ("0 0 31 4,5 *", True),
        ("0 0 31 2-4 *", True),
        ("0 0 31 4/5 *", False),
        (", * * * *", False),
        ("@yearly", True),
    ],
)
def test_a_line_comes_where_a_month_that_it_names_has_the_day(line: str, comes: bool) -> None:
    assert cron.parse(line).comes is comes


def test_an_unknown_time_zone_is_refused_by_name() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", "Local"):
        with pytest.raises(RejectError, match=f"unknown time zone {name}"):
            cron.time_zone(name)
