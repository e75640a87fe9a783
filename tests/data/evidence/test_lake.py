"""Merging, deleting and reading, on folders and on S3, one after the other and at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.evidence import layout
from millrace_data.evidence import merging, reading
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.merging import Done, Rules
from millrace_data.evidence.reading import Question
from tests.data.evidence.rows import BEGIN, HOUR, table
from tests.s3 import s3_bucket, s3_server

START = datetime(2024, 12, 26, 8, tzinfo=UTC)
LATER = START + timedelta(hours=3)
FOLDER = layout.hour_of("shop", "ranker", BEGIN).folder
AT_ONCE = Rules(retention=timedelta(days=36_500), grace=timedelta(days=-36_500))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        s3_bucket(url, "lake")
        yield url


@pytest.fixture(params=["file", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, server: str) -> Lake:
    if request.param == "file":
        return Lake((tmp_path / "lake").as_uri(), {})
    environ = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": server}
    return Lake(f"s3://lake/{tmp_path.name}", environ)


def put(lake: Lake, scratch: Path, name: str, rows: pa.Table, folder: str = FOLDER) -> None:
    pq.write_table(rows, scratch / "whole.parquet")
    lake.put(f"{folder}/{name}", scratch / "whole.parquet")


def read(lake: Lake, **more: object) -> pa.Table:
    asked = {"namespace": "shop", "service": "ranker", "start": START, "end": LATER, **more}
    return reading.read(lake, Question(**asked))  # type: ignore[arg-type]


def ids(lake: Lake, **more: object) -> list[str]:
    return list(read(lake, **more).column("id").to_pylist())


def names(lake: Lake, folder: str = FOLDER) -> list[str]:
    return [each.name for each in lake.files(folder)]


def test_small_files_become_one_and_go_in_the_next_run(lake: Lake, tmp_path: Path) -> None:
    for sequence, identities in enumerate((["a", "b"], ["c"], ["d", "e"])):
        put(lake, tmp_path, layout.file_name("0a", sequence), table(*identities, at=BEGIN + sequence * 1000))
    before = read(lake)
    assert merging.tidy(lake, AT_ONCE, LATER, tmp_path) == Done(merged=1)
    assert len(names(lake)) == 4
    assert read(lake).equals(before)
    assert merging.tidy(lake, AT_ONCE, LATER, tmp_path) == Done(files=3)
    assert names(lake) == ["merged-000001.parquet"]
    assert read(lake).equals(before)
    assert merging.tidy(lake, AT_ONCE, LATER, tmp_path) == Done()


def test_what_a_merged_file_replaces_stays_for_those_who_began_to_read_before(lake: Lake, tmp_path: Path) -> None:
    for sequence in (1, 2):
        put(lake, tmp_path, layout.file_name("0a", sequence), table(str(sequence), at=BEGIN + sequence))
    now = datetime.now(UTC)
    kept = AT_ONCE._replace(grace=timedelta(hours=1), lookback=timedelta(days=36_500))
    assert merging.tidy(lake, kept, now, tmp_path) == Done(merged=1)
    assert merging.tidy(lake, kept, now + timedelta(minutes=30), tmp_path) == Done()
    assert merging.tidy(lake, kept, now + timedelta(minutes=90), tmp_path) == Done(files=2)


def test_what_comes_late_is_merged_with_the_merged_and_what_comes_again_is_not_read(lake: Lake, tmp_path: Path) -> None:
    put(lake, tmp_path, layout.file_name("0a", 1), table("a"))
    put(lake, tmp_path, layout.file_name("0a", 2), table("b", name="other"))
    for _ in range(2):
        merging.tidy(lake, AT_ONCE, LATER, tmp_path)
    put(lake, tmp_path, layout.file_name("0a", 2), table("b", name="other"))  # its writer ended before it knew
    put(lake, tmp_path, layout.file_name("0b", 1), table("c", at=BEGIN + 5))
    assert sorted(ids(lake)) == ["a", "b", "c"]
    assert merging.tidy(lake, AT_ONCE, LATER, tmp_path).merged == 1
    merging.tidy(lake, AT_ONCE, LATER, tmp_path)
    assert names(lake) == ["merged-000002.parquet"]
    assert sorted(ids(lake)) == ["a", "b", "c"]
    assert {"input.x", "input.other"} <= set(read(lake).column_names)


def test_only_hours_that_are_over_are_merged_and_only_old_days_deleted(lake: Lake, tmp_path: Path) -> None:
    for day in (0, 1):
        at = BEGIN + day * 24 * HOUR
        for sequence in (1, 2):
            folder = layout.hour_of("shop", "ranker", at).folder
            put(lake, tmp_path, layout.file_name("0a", sequence), table(f"{day}{sequence}", at=at), folder)
    now = START + timedelta(days=1, minutes=30)
    rules = Rules(retention=timedelta(days=1))
    assert merging.tidy(lake, rules, now, tmp_path) == Done(merged=1)  # the first day's; the second goes on
    assert merging.tidy(lake, rules, now + timedelta(days=1), tmp_path) == Done(merged=1, days=1)
    assert ids(lake, end=now) == ["11", "12"]


def test_rows_come_by_time_once_each_of_the_period_alone(lake: Lake, tmp_path: Path) -> None:
    put(lake, tmp_path, layout.file_name("0b", 1), table("a", "b", at=BEGIN))
    put(lake, tmp_path, layout.file_name("0a", 1), table("b", "c", at=BEGIN + 1))
    next_hour = layout.hour_of("shop", "ranker", BEGIN + HOUR).folder
    put(lake, tmp_path, layout.file_name("0a", 2), table("d", at=BEGIN + HOUR), next_hour)
    put(lake, tmp_path, ".partial", table("never"))
    assert ids(lake) == ["a", "b", "c", "d"]
    assert ids(lake, limit=2) == ["c", "d"]
    assert ids(lake, id="c") == ["c"]
    assert ids(lake, end=START + timedelta(hours=1)) == ["a", "b", "c"]
    assert ids(lake, start=START + timedelta(microseconds=1), end=START + timedelta(microseconds=2)) == ["b"]
    assert read(lake, columns=["input.x", "id"]).column_names == ["input.x", "id"]
    assert read(lake, columns=["input.*", "id", "output.*"]).column_names == ["input.x", "id"]


def test_a_mirrored_request_is_a_row_of_each_deployment_that_got_it(lake: Lake, tmp_path: Path) -> None:
    put(lake, tmp_path, layout.file_name("0a", 1), table("a", "b"))
    copy = table("a", "a")
    other = copy.set_column(copy.column_names.index("deployment"), "deployment", pa.array(["ranker-v2"] * 2))
    put(lake, tmp_path, layout.file_name("0b", 1), other)
    found = read(lake, columns=["id", "deployment"]).to_pylist()
    assert sorted((row["id"], row["deployment"]) for row in found) == [
        ("a", "ranker-v1"),
        ("a", "ranker-v2"),
        ("b", "ranker-v1"),
    ]
    assert sorted(ids(lake, columns=["id"])) == ["a", "a", "b"], "whichever columns are asked for"


def test_what_is_not_there_is_said_with_what_is(lake: Lake, tmp_path: Path) -> None:
    put(lake, tmp_path, layout.file_name("0a", 1), table("a"))
    with pytest.raises(RejectError, match=r"no column 'outptu.y'.*input.x"):
        read(lake, columns=["outptu.y"])
    with pytest.raises(NotFoundError, match=r"'rnaker'.*ranker"):
        read(lake, service="rnaker")
    with pytest.raises(RejectError, match="start is not before end"):
        read(lake, end=START)
    with pytest.raises(RejectError, match="no name of a service"):
        read(lake, service="../x")
    empty = read(lake, start=LATER, end=LATER + timedelta(hours=1))
    assert (empty.num_rows, empty.column_names[:3]) == (0, ["id", "row", "time"])


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("step", range(8))
def test_a_run_that_is_killed_at_any_step_leaves_all_rows_once(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake((tmp_path / "lake").as_uri(), {})
    for sequence, identity in enumerate("abc"):
        put(lake, tmp_path, layout.file_name("0a", sequence), table(identity, at=BEGIN + sequence))
    left = step

    def or_killed(call):
        def run(*arguments, **more):
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            found = call(*arguments, **more)
            left -= 1
            if left == 0:
                raise Killed
            return found

        return run

    with monkeypatch.context() as patched:
        patched.setattr(lake, "put", or_killed(lake.put))
        patched.setattr(lake, "delete", or_killed(lake.delete))
        try:
            for _ in range(2):
                merging.tidy(lake, AT_ONCE, LATER, tmp_path)
        except Killed:
            pass
    assert ids(lake) == ["a", "b", "c"]
    for _ in range(2):
        merging.tidy(lake, AT_ONCE, LATER, tmp_path)
    assert ids(lake) == ["a", "b", "c"]
    assert len(names(lake)) == 1


@pytest.mark.slow
def test_a_reader_in_a_loop_sees_every_row_once_while_files_are_merged_and_deleted(lake: Lake, tmp_path: Path) -> None:
    put(lake, tmp_path, layout.file_name("0a", 0), table("0"))
    known, done, seen = ["0"], threading.Event(), 0
    failures: list[object] = []

    def look() -> None:
        nonlocal seen
        while not failures and (not done.is_set() or seen < 1):
            least = len(known)
            try:
                found = ids(lake)
            except Exception as error:  # told by the test
                failures.append(error)
                return
            seen += 1
            if found != [str(n) for n in range(len(found))] or len(found) < least:
                failures.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(1, 15):
        put(lake, tmp_path, layout.file_name("0a", number), table(str(number), at=BEGIN + number))
        known.append(str(number))
        for _ in range(2):
            merging.tidy(lake, AT_ONCE, LATER, tmp_path)
    done.set()
    reader.join()
    assert not failures
    assert seen


def test_a_day_of_many_small_files_is_one_file_an_hour(tmp_path: Path) -> None:
    lake = Lake((tmp_path / "lake").as_uri(), {})
    for hour in range(24):
        at = BEGIN + (hour - 8) * HOUR
        for sequence in range(3):
            folder = layout.hour_of("shop", "ranker", at).folder
            put(lake, tmp_path, layout.file_name("0a", sequence), table(f"{hour}-{sequence}", at=at + sequence), folder)
    for _ in range(2):
        merging.tidy(lake, AT_ONCE, START + timedelta(days=1), tmp_path)
    day = FOLDER.rpartition("/")[0]
    assert len(lake.files(day, recursive=True)) == 24
