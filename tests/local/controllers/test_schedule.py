"""Cron lines: what they mean, against a minute by minute look at the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_local.controllers.cronjob.schedule import Schedule, parse

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, 7)
    item = st.one_of(
        st.just("*"),
        number.map(str),
        span,
        st.builds("*/{}".format, step),
        st.builds("{}/{}".format, number, step),
        st.builds("{}/{}".format, span, step),
    )
    return st.lists(item, min_size=1, max_size=3).map(",".join)


LINES = st.builds("{} {} {} {} {}".format, fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 6))


def matches(schedule: Schedule, moment: datetime) -> bool:
    """The definition: the zone's clock, read at that instant, shows what the line asks for."""
    local = moment.astimezone(schedule.zone)
    day, weekday = local.day in schedule.days, local.isoweekday() % 7 in schedule.weekdays
    return (
        local.minute in schedule.minutes
        and local.hour in schedule.hours
        and local.month in schedule.months
        and ((day or weekday) if schedule.either_day else (day and weekday))
    )


@settings(max_examples=40, deadline=None)
@given(
    line=LINES,
    zone=st.sampled_from(
        [UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")]
    ),
    start=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),  # noqa: DTZ001
)
def test_the_next_and_the_latest_time_are_those_of_a_minute_by_minute_look(
    line: str, zone: ZoneInfo, start: datetime
) -> None:
    schedule = parse(line, zone)
    first = start.replace(second=0, microsecond=0) + MINUTE
    window = [first + number * MINUTE for number in range(2 * 24 * 60)]
    expected = [moment for moment in window if matches(schedule, moment)]
    found = schedule.after(start)
    if expected:
        assert found == expected[0]
        assert schedule.latest(start, window[-1]) == expected[-1]
        assert schedule.more_than(len(expected) - 1, start, window[-1])
    else:
        assert found is None or found > window[-1]
        assert schedule.latest(start, window[-1]) is None
    assert not schedule.more_than(len(expected), start, window[-1])


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_on_the_days_when_the_clock_changes_too(day: str) -> None:
    schedule = parse("*/20 1-3 * * *", BERLIN)
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(hours=3)
    window = [start + number * MINUTE for number in range(30 * 60)]
    expected = [moment for moment in window if matches(schedule, moment)]
    found, moment = [], start - MINUTE
    while (moment := schedule.after(moment)) and moment <= window[-1]:
        found.append(moment)
    assert found == expected
    # Two o'clock is skipped in spring and comes twice in autumn.
    on_the_day = [moment for moment in found if moment.astimezone(BERLIN).date().isoformat() == day]
    assert len(on_the_day) == (6 if day == "2026-03-29" else 12)


def test_either_day_field_is_enough_when_both_restrict() -> None:
    both, one = parse("0 0 13 * 5", UTC), parse("0 0 13 * *", UTC)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    assert both.after(start) == datetime(2026, 11, 6, tzinfo=UTC)
    assert one.after(start) == datetime(2026, 11, 13, tzinfo=UTC)


def test_a_date_that_never_comes_has_no_next_time() -> None:
    assert parse("0 0 31 2 *", UTC).after(datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_a_leap_day_is_found_across_a_century_without_one() -> None:
    assert parse("0 0 29 2 *", UTC).after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("every day", "2 fields, expected 5"),
        ("60 * * * *", "minute"),
        ("* * * * 7", "day of week"),
        ("* * 0 * *", "day of month"),
        ("*/0 * * * *", "step above 0"),
        ("5-1 * * * *", "range low-high"),
        ("* * * foo *", "none of jan"),
        ("1,,2 * * * *", "is no number"),
        ("", "0 fields"),
    ],
)
def test_a_line_that_is_none_is_refused_with_what_is_wrong(line: str, told: str) -> None:
    with pytest.raises(RejectError, match=told):
        parse(line, UTC)


@pytest.mark.parametrize(
    ("short", "line"), [("@hourly", "0 * * * *"), ("@weekly", "0 0 * * sun"), ("@yearly", "0 0 1 JAN *")]
)
def test_shorthands_and_names_mean_their_numbers(short: str, line: str) -> None:
    assert parse(short, UTC) == parse(line, UTC)
