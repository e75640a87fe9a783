"""The log of the gateway: what is told to the store goes to the lake, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace_core.base.errors import RetryError
from millrace_core.evidence import outcome_rows
from millrace_core.evidence.outcome import Outcome
from millrace_data.evidence import exporting, merging, reading_outcomes
from millrace_data.evidence.commit_log import CommitLog
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.reading_outcomes import Question
from millrace_data.evidence.spool import Segment

BEGIN = datetime(2026, 11, 30, 7, tzinfo=UTC)
HOUR = int(BEGIN.timestamp()) // 3600
MICROS = int(BEGIN.timestamp()) * 1_000_000
ALL = Question("shop", BEGIN, BEGIN + timedelta(hours=1))


def rows(*ids: str, experiment: str = "ab") -> pa.Table:
    records = [
        Outcome("shop", experiment, "uid", "u", "click", 1.0, MICROS + at, identity, MICROS + at)
        for at, identity in enumerate(ids)
    ]
    return outcome_rows.outcome_table(records)


def place(segment: Segment, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    yield outcome_rows.outcome_folder("shop", segment.hour), table


class Logs:
    """Logs over one folder and one lake."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake((root / "lake").as_uri(), {})
        self._root = root

    def open(self, limit: int = 2**30) -> CommitLog:
        return CommitLog(self._root / "log", "SETTING", place, lambda: self.lake, limit)

    def ids(self) -> list[str]:
        found: list[str] = reading_outcomes.read(self.lake, ALL).column("id").to_pylist()
        return found


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def test_what_the_store_has_goes_to_the_lake_and_what_it_lacks_stays(logs: Logs) -> None:
    log = logs.open()
    told = log.append(rows("1"), HOUR)
    assert log.ship()
    assert logs.ids() == []  # nobody has said yet what became of it
    log.applied(told, done=True)
    log.applied(log.append(rows("2"), HOUR), done=False)
    log.ship()
    assert (logs.ids(), log.behind) == (["1"], 1)
    segment = log.take_behind()
    assert segment is not None
    assert [block.column("id").to_pylist() for block in log.read(segment)] == [["2"]]
    log.ship()
    assert logs.ids() == ["1"]
    log.applied(segment.sequence, done=True)
    log.ship()
    assert (logs.ids(), log.behind, log.take_behind()) == (["1", "2"], 0, None)


def test_a_process_that_was_killed_leaves_all_of_it_to_be_told_again(logs: Logs) -> None:
    log = logs.open()
    log.applied(log.append(rows("1"), HOUR), done=True)
    log.append(rows("2"), HOUR)
    log.close()
    after = logs.open()
    after.ship()
    assert (logs.ids(), after.behind) == ([], 1)
    segment = after.take_behind()
    assert segment is not None
    assert pa.concat_tables(after.read(segment)).column("id").to_pylist() == ["1", "2"]


def test_a_store_that_lost_everything_is_told_what_is_not_in_the_lake(logs: Logs) -> None:
    log = logs.open()
    log.applied(log.append(rows("1"), HOUR), done=True)
    log.fall_behind()
    log.ship()
    assert (logs.ids(), log.behind) == ([], 1)


def test_what_is_in_the_lake_stays_until_the_store_is_known_to_be_the_same(logs: Logs) -> None:
    log = logs.open()
    log.applied(log.append(rows("1"), HOUR), done=True)
    log.ship()
    shipped = log.shipped()
    assert (logs.ids(), log.bytes(), log.in_lake, len(shipped)) == (["1"], 0, True, 1)
    log.fall_behind()  # whoever fills the new store may have listed the lake before
    log.remove(shipped)
    segment = log.take_behind()
    assert segment is not None
    assert pa.concat_tables(log.read(segment)).column("id").to_pylist() == ["1"]
    log.applied(segment.sequence, done=True)
    log.ship()
    log.remove(log.shipped())
    assert (logs.ids(), list(log.blocks()), log.told) == (["1"], [], segment.sequence)


def test_all_is_told_up_to_the_first_segment_of_which_something_is_not(logs: Logs) -> None:
    log = logs.open()
    first = log.append(rows("1"), HOUR)
    log.applied(first, done=True)
    assert log.told == first - 1  # more may come into it
    second = log.append(rows("2"), HOUR + 1)
    assert log.told == first
    third = log.append(rows("3"), HOUR + 2)
    log.applied(third, done=True)
    log.applied(second, done=False)
    assert log.told == first


def test_a_full_log_takes_no_more_and_loses_nothing(logs: Logs) -> None:
    log = logs.open(limit=1)
    log.applied(log.append(rows("1"), HOUR), done=True)
    with pytest.raises(RetryError) as refused:
        log.append(rows("2"), HOUR)
    assert refused.value.reason == "LogFull"
    log.ship()
    assert logs.ids() == ["1"]
    log.remove(log.shipped())
    log.applied(log.append(rows("2"), HOUR), done=True)


def test_outcomes_are_read_once_by_id_and_of_one_experiment_also_where_files_were_merged(
    logs: Logs, tmp_path: Path
) -> None:
    log = logs.open()
    for table in (rows("1", "2"), rows("2", "3"), rows("other", experiment="b")):
        log.applied(log.append(table, HOUR), done=True)
        log.ship()
    before = reading_outcomes.read(logs.lake, ALL._replace(experiment="ab"))
    assert sorted(before.column("id").to_pylist()) == ["1", "2", "3"]
    done = merging.tidy(logs.lake, merging.Rules(), BEGIN + timedelta(hours=2), tmp_path)
    assert done.merged == 1
    assert reading_outcomes.read(logs.lake, ALL._replace(experiment="ab")) == before
    assert reading_outcomes.read(logs.lake, ALL._replace(limit=1, experiment="b")).num_rows == 1
    assert reading_outcomes.read(logs.lake, ALL._replace(start=BEGIN - timedelta(days=9), end=BEGIN)).num_rows == 0


def test_an_export_has_the_outcomes_that_a_list_has(logs: Logs, tmp_path: Path) -> None:
    log = logs.open()
    for table in (rows("1", "2"), rows("2", "3"), rows("other", experiment="b")):
        log.applied(log.append(table, HOUR), done=True)
        log.ship()
    asked = ALL._replace(experiment="ab", start=BEGIN + timedelta(microseconds=1))
    target = tmp_path / "ab.parquet"
    written = exporting.write_outcomes(logs.lake, asked, target)
    listed = reading_outcomes.read(logs.lake, asked).column("id").to_pylist()
    assert sorted(pq.read_table(target).column("id").to_pylist()) == sorted(listed)
    assert written == len(listed)
