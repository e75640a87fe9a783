"""Cron lines at their boundaries."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base import cron
from millrace_core.base.errors import RejectError

moments = st.integers(946_684_800, 2_840_140_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
lines = st.sampled_from(
    ["*/15 * * * *", "0 0 * * *", "5 4 1-7 * 1", "0 0 29 2 *", "@hourly", "30 2 * jan,mar sun", "1-59/7 */3 * * *"]
)


def matches(line: str, moment: datetime) -> bool:
    """The slow oracle: whether the minute itself satisfies every field."""
    parsed = cron.parse(line)
    on_day = (moment.day in parsed.days, moment.isoweekday() % 7 in parsed.weekdays)
    day = all(on_day) if parsed.any_day or parsed.any_weekday else any(on_day)
    return moment.minute in parsed.minutes and moment.hour in parsed.hours and moment.month in parsed.months and day


@given(lines, moments)
def test_the_next_tick_is_later_and_matches(line: str, moment: datetime) -> None:
    tick = cron.parse(line).after(moment)
    assert tick is not None
    assert tick > moment
    assert matches(line, tick)


@given(lines, moments)
def test_before_and_after_meet_at_a_tick(line: str, moment: datetime) -> None:
    parsed = cron.parse(line)
    tick = parsed.after(moment)
    assert tick is not None
    assert parsed.before(tick) == tick
    earlier = parsed.before(tick - timedelta(microseconds=1))
    assert earlier is not None
    assert earlier <= moment


@given(st.sampled_from(["*/15 * * * *", "@hourly", "1-59/7 */3 * * *"]), moments)
def test_no_tick_is_skipped(line: str, moment: datetime) -> None:
    tick = cron.parse(line).after(moment)
    assert tick is not None
    minute = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while minute < tick:
        assert not matches(line, minute)
        minute += timedelta(minutes=1)


def test_a_line_that_never_fires_has_no_tick() -> None:
    assert cron.parse("0 0 31 2 *").after(datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "line",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "*/0 * * * *", "5-1 * * * *", "a * * * *"],
)
def test_what_is_no_cron_line_is_refused_by_name(line: str) -> None:
    with pytest.raises(RejectError, match=r"schedule: .*no cron line"):
        cron.parse(line, field="schedule")
