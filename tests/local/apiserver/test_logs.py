"""Container logs: which lines a request returns, and in which form."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from millrace_local.apiserver.errors import StatusError
from millrace_local.apiserver.logs import LogOptions, log_file, read
from millrace_local.apiserver.request import Request


def printed(file: Path, now: datetime, **query: str) -> str:
    """The text that a request for a log returns."""
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


class Unread:
    """What nothing may look at."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError("annotations and labels are the pod's author's to write")

    def __bool__(self) -> bool:
        raise AssertionError("annotations and labels are the pod's author's to write")


@pytest.mark.parametrize("previous", [False, True])
def test_a_log_is_found_by_the_pods_uid_and_a_containers_name_and_by_nothing_that_the_pod_says(
    tmp_path: Path, previous: bool
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of another")
    metadata = {"name": "p", "namespace": "n", "uid": "u-1", "annotations": Unread(), "labels": Unread()}
    spec = {"containers": [{"name": "main"}], "initContainers": [{"name": "first"}]}
    pod: dict[str, Any] = {"metadata": metadata, "spec": spec}
    logs = tmp_path / "pods" / "u-1" / "logs"
    logs.mkdir(parents=True)
    for container in ("main", "first"):
        file = logs / (f"{container}.previous.log" if previous else f"{container}.log")
        file.touch()
        query = {"container": container, **({"previous": "true"} if previous else {})}
        options = LogOptions.of(Request("GET", "/", query, {}), datetime(2026, 1, 1, tzinfo=UTC))
        assert log_file(pod, options, tmp_path / "pods") == (container, file)
    for name in ("../../../secret", str(secret), "main/../../../../secret"):
        options = LogOptions.of(Request("GET", "/", {"container": name}, {}), datetime(2026, 1, 1, tzinfo=UTC))
        with pytest.raises(StatusError):
            log_file(pod, options, tmp_path / "pods")


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
