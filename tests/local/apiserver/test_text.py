"""Small languages: selectors, JSONPath, ages, container log lines."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_local.apiserver import jsonpath
from millrace_local.apiserver.columns import age, duration
from millrace_local.apiserver.errors import StatusError
from millrace_local.apiserver.logs import LogOptions, read
from millrace_local.apiserver.request import Request
from millrace_local.apiserver.selectors import field_selector, label_selector

DOCUMENT = {
    "spec": {"size": 3, "list": [{"a": 1}, {"a": 2}], "odd.key": "dots", "on": True},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        ("spec.size", [3]),
        ("$.spec.size", [3]),
        (".spec.list[1].a", [2]),
        (".spec.list[-1].a", [2]),
        (".spec.list[*].a", [1, 2]),
        (".spec.list[7].a", []),
        (".spec['odd.key']", ["dots"]),
        (".spec.odd\\.key", ["dots"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Ready')].status", ["True"]),
        ('.status.conditions[?(@.type != "Ready")].type', ["Old"]),
        (".spec.list[?(@.a)].a", [1, 2]),
        (".spec.missing.deeper", []),
        (".spec.size.deeper", []),
    ],
)
def test_paths_find_what_they_name(path: str, found: list[Any]) -> None:
    assert jsonpath.find(DOCUMENT, path) == found


@pytest.mark.parametrize("path", [".spec[", ".a..b", "[?(@.x==]", ".a[b]"])
def test_paths_that_cannot_be_read_are_refused(path: str) -> None:
    with pytest.raises(RejectError, match="is not a simple JSONPath"):
        jsonpath.check(path)


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")), st.sampled_from("abc"), st.sampled_from("xyz"))
def test_every_label_is_in_a_selector_or_in_its_opposite(labels: dict[str, str], key: str, value: str) -> None:
    pairs = [
        (f"{key}={value}", f"{key}!={value}"),
        (f"{key} in ({value},q)", f"{key} notin ({value},q)"),
        (key, f"!{key}"),
    ]
    for selector, opposite in pairs:
        assert label_selector(selector)(labels) is not label_selector(opposite)(labels)
    assert label_selector(f"{key}={value}")(labels) is (labels.get(key) == value)


def test_field_selectors_are_split_and_unescaped() -> None:
    assert field_selector(r"a=x\,y,b!=z,a==\=", ("a", "b")) == [("a", True, "x,y"), ("b", False, "z"), ("a", True, "=")]
    with pytest.raises(StatusError, match="field label not supported: c"):
        field_selector("c=1", ("a",))


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


def printed(file: Path, now: datetime, **query: str) -> str:
    """What a request for a log answers."""
    options = LogOptions.of(Request("GET", "/", query, {}), now)

    async def collect() -> bytes:
        return b"".join([piece async for piece in read(file, options, lambda: True, asyncio.Event())])

    return asyncio.run(collect()).decode()


def test_log_lines_are_chosen_and_stripped(tmp_path: Path) -> None:
    file = tmp_path / "main.log"
    file.write_text("2026-01-01T00:00:00Z stdout F old\nplain\n2026-01-01T00:10:00.25Z stderr F new\ncut")
    now = datetime(2026, 1, 1, 0, 10, 30, tzinfo=UTC)
    assert printed(file, now) == "old\nplain\nnew\ncut"
    assert printed(file, now, tailLines="2") == "new\ncut"
    assert printed(file, now, tailLines="0") == ""
    assert printed(file, now, sinceSeconds="60") == "plain\nnew\ncut"
    assert printed(file, now, sinceTime=(now - timedelta(minutes=1)).isoformat()) == "plain\nnew\ncut"
    assert printed(file, now, limitBytes="6") == "old\npl"
    assert printed(file, now, timestamps="true").startswith("2026-01-01T00:00:00Z old\n")


async def test_a_followed_log_goes_on_in_the_file_that_takes_its_place(tmp_path: Path) -> None:
    file = tmp_path / "main.log"
    file.write_text("one\ntw")
    options = LogOptions.of(Request("GET", "/", {"follow": "true"}, {}), datetime(2026, 1, 1, tzinfo=UTC))
    ended: list[bool] = []
    pieces = read(file, options, lambda: bool(ended), asyncio.Event())
    assert await anext(pieces) == b"one\n"
    with file.open("a") as more:
        more.write("o\n")
    file.rename(tmp_path / "main.log.1")
    file.write_text("three\n")
    ended.append(True)
    assert b"".join([piece async for piece in pieces]) == b"two\nthree\n"


@pytest.mark.parametrize(
    "query",
    [
        {"tailLines": "-1"},
        {"limitBytes": "0"},
        {"sinceTime": "noon"},
        {"sinceTime": "2026-01-01T00:00:00Z", "sinceSeconds": "1"},
    ],
)
def test_log_options_that_cannot_be_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(StatusError):
        LogOptions.of(Request("GET", "/", query, {}), datetime(2026, 1, 1, tzinfo=UTC))
