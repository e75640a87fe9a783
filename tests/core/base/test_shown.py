"""What is shown of values from outside: short, of whatever kind, size and depth."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.base.shown import came, listed, shown

DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]
IDS = ["deep", "long", "many", "deep in an object", "more digits than Python writes", "bytes"]


@pytest.mark.parametrize("value", [DEEP, "x" * 10**7, list(range(10**6)), {"k": DEEP}, 10**5000, b"y" * 10**6], ids=IDS)
def test_whatever_came_is_shown_shortly(value: Any) -> None:
    assert 1 < len(shown(value, 80)) <= 80


@pytest.mark.parametrize("value", ["much", 5, None, [1, "a"], {"a": [1.5]}, b"\0", True])
def test_a_short_value_is_shown_as_python_writes_it(value: Any) -> None:
    assert shown(value) == repr(value)


def test_what_did_not_come_is_missing_and_not_none() -> None:
    assert [came(value) for value in (None, 0, "")] == ["it is missing", "0 came", "'' came"]


def test_names_that_came_are_listed_shortly_however_many_and_long_they_are() -> None:
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed([]) == "nothing"
    assert len(listed(["x" * 10**7] * 1000)) < 2100
