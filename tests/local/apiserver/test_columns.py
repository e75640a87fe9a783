"""Ages and durations in printer columns."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from millrace_local.apiserver.columns import age, duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (28_799, "7h59m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (604_800 + 3600 * 5, "7d5h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (63_072_000 + 86_400 * 3, "2y3d"),
        (252_288_000, "8y"),
    ],
)
def test_durations_are_shown_as_kubectl_shows_them(seconds: int, shown: str) -> None:
    assert duration(seconds) == shown


def test_an_age_that_is_not_known_says_so() -> None:
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert age("2026-01-01T00:00:00Z", now) == "60s"
    assert age(None, now) == "<unknown>"
    assert age("yesterday", now) == "<unknown>"
