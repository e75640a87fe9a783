"""Durations, times and settings."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from millrace_core.base import duration, timestamps
from millrace_core.base.errors import RejectError
from millrace_core.base.settings import Settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0s", 0), ("20ms", 20_000), ("1h30m", 5_400_000_000), ("4w", 4 * 7 * 86_400_000_000), ("7d", 604_800_000_000)],
)
def test_durations_are_exact_to_the_microsecond(text: str, expected: int) -> None:
    assert duration.microseconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1.5h", "1 h", "1y"])
def test_what_is_no_duration_is_refused_with_the_field(text: str) -> None:
    with pytest.raises(RejectError, match=r"spec\.ttl: .* is no duration"):
        duration.microseconds(text, field="spec.ttl")


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_come_back_as_they_were_written(moment: datetime) -> None:
    assert timestamps.parse(timestamps.render(moment)) == moment


def test_a_time_without_a_zone_is_utc() -> None:
    assert timestamps.parse("2026-01-31T00:00:00") == datetime(2026, 1, 31, tzinfo=UTC)


class Example(Settings):
    port: int = Field(default=8080, alias="MILLRACE_PORT", description="Port.")


def test_empty_variables_count_as_absent() -> None:
    assert Example.load({"MILLRACE_PORT": ""}).port == 8080


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(RejectError, match="MILLRACE_PORT"):
        Example.load({"MILLRACE_PORT": "eighty"})


@pytest.mark.parametrize("text", ["9" * 13 + "w", "9" * 5000 + "s", "1h" + "9" * 400 + "ms"])
def test_a_duration_longer_than_the_world_is_refused(text: str) -> None:
    for read in (duration.microseconds, duration.seconds):
        with pytest.raises(RejectError, match="is longer than") as refused:
            read(text, field="f")
        assert refused.value.field == "f"
    assert duration.microseconds("0" * 5000 + "1s") == 1_000_000
