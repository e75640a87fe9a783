"""Sources that change while they are read: what was read is of one version, or it is an error that says so."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyiceberg.catalog import load_catalog

from millrace_core.base.errors import SourceChangedError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.history.history import TimeRange
from millrace_core.features.offline import point_in_time
from millrace_data.sources import parquet, pinned
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source, read_whole
from tests.data.sources.test_parquet import EVERYTHING, NOBODY, view
from tests.data.sources.test_s3 import credentials
from tests.s3 import s3_bucket, s3_server

ROWS = 1000
Change = Callable[[], object]


def rows(*, backwards: bool) -> pa.Table:
    """Entities 0, 1, …, each with one row that says its number; all at one time."""
    numbers = pa.array(range(ROWS)[:: -1 if backwards else 1], pa.int64())
    moment = pa.array([0] * ROWS, pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.table({"id": numbers, "at": moment, "x": numbers})


def content(*, backwards: bool) -> bytes:
    """A file; both are of one size."""
    sink = io.BytesIO()
    pq.write_table(rows(backwards=backwards), sink, compression="none", use_dictionary=False, row_group_size=100)
    return sink.getvalue()


class Changing:
    """A source to which something happens before its scan of that number, from 0, or after that scan's first batch."""

    def __init__(self, source: Any, change: Change, scan: int, *, within: bool = False) -> None:
        self.columns = source.columns
        self._source = source
        self._change = change
        self._scan = scan
        self._within = within

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        number, self._scan = self._scan, self._scan - 1
        if number == 0 and not self._within:
            self._change()
        for place, batch in enumerate(self._source.scan(columns, time_range)):
            if place == 0 and number == 0 and self._within:
                self._change()
            yield batch


def joined(definition: Definition, source: Any) -> list[Any]:
    frame = EntityFrame({"id": pa.array(range(ROWS))}, pa.array(np.zeros(ROWS, np.int64)))
    return point_in_time.join(definition, definition.features, source, frame)[0].to_pylist()


def renamed(path: Path) -> None:
    other = path.with_name("other.tmp")
    other.write_bytes(content(backwards=True))
    other.replace(path)


def written_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(content(backwards=True))


def deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [renamed, written_over, deleted])
@pytest.mark.parametrize(("scan", "within"), [(0, False), (0, True), (1, False), (1, True)])
def test_a_file_that_changes_between_or_within_passes_is_an_error(
    tmp_path: Path, change: Callable[[Path], None], scan: int, within: bool
) -> None:
    assert len(content(backwards=False)) == len(content(backwards=True))
    path = tmp_path / "a.parquet"
    path.write_bytes(content(backwards=False))
    definition = view(f"file://{tmp_path}")
    source = Changing(open_source(definition, NOBODY), lambda: change(path), scan, within=within)
    with pytest.raises(SourceChangedError, match=r"spec.source.parquet.uri: .*a.parquet, of file://.* while it was"):
        joined(definition, source)


class SwappingFormat:
    """Makes fragments after something has happened: between a file's first look and its footer."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def make_fragment(self, *arguments: Any, **options: Any) -> Any:
        self._change()
        return pinned_format.make_fragment(*arguments, **options)


pinned_format: Any = pinned.FORMAT


@pytest.mark.parametrize("change", [renamed, written_over, deleted])
def test_a_file_that_changes_before_its_footer_is_read_is_an_error(
    tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content(backwards=False))
    monkeypatch.setattr(pinned, "FORMAT", SwappingFormat(lambda: change(path)))
    with pytest.raises(SourceChangedError):
        open_source(view(f"file://{tmp_path}"), NOBODY)


def test_a_file_that_goes_after_it_was_listed_is_worth_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.parquet").write_bytes(content(backwards=False))
    find = parquet.find

    def found(*arguments: Any) -> Any:
        paths = find(*arguments)
        (tmp_path / "b.parquet").unlink(missing_ok=True)
        return paths

    monkeypatch.setattr(parquet, "find", found)
    definition = view(f"file://{tmp_path}")
    with pytest.raises(SourceChangedError, match=r"a file of file://.* was deleted while it was read"):
        open_source(definition, NOBODY)
    assert joined(definition, open_source(definition, NOBODY)) == list(range(ROWS))


def test_what_changed_is_read_once_more_and_not_a_third_time(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content(backwards=False))
    definition = view(f"file://{tmp_path}")
    changes: list[Change] = [lambda: renamed(path)]

    def attempt() -> list[Any]:
        source = open_source(definition, NOBODY)
        return joined(definition, Changing(source, changes.pop(), 1) if changes else source)

    assert read_whole(attempt) == list(range(ROWS))
    changes += [lambda: renamed(path)] * 3
    with pytest.raises(SourceChangedError):
        read_whole(attempt)
    assert len(changes) == 1


@pytest.mark.parametrize(("scan", "within"), [(0, False), (0, True), (1, False), (1, True)])
def test_an_object_that_is_overwritten_is_an_error(scan: int, within: bool) -> None:
    with s3_server() as url:
        client = s3_bucket(url, "lake")
        client.put_object(Bucket="lake", Key="events/a.parquet", Body=content(backwards=False))

        def overwrite() -> None:
            client.put_object(Bucket="lake", Key="events/a.parquet", Body=content(backwards=True))

        definition = view("s3://lake/events")
        source = Changing(open_source(definition, credentials(url)), overwrite, scan, within=within)
        with pytest.raises(SourceChangedError, match=r"lake/events/a.parquet, of s3://lake/events, was replaced"):
            joined(definition, source)


def test_the_same_bytes_put_again_into_a_bucket_with_versions_are_another_version() -> None:
    with s3_server() as url:
        client = s3_bucket(url, "lake")
        client.put_bucket_versioning(Bucket="lake", VersioningConfiguration={"Status": "Enabled"})
        client.put_object(Bucket="lake", Key="a.parquet", Body=content(backwards=False))
        definition = view("s3://lake/a.parquet")
        opened = open_source(definition, credentials(url))
        assert joined(definition, opened) == list(range(ROWS))
        client.put_object(Bucket="lake", Key="a.parquet", Body=content(backwards=False))
        with pytest.raises(SourceChangedError):
            joined(definition, opened)


def _delta(folder: Path) -> dict[str, Any]:
    write_deltalake(str(folder), rows(backwards=False))
    return {"delta": {"uri": f"file://{folder}"}}


def _iceberg(folder: Path) -> dict[str, Any]:
    catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}"}
    lake = load_catalog("lake", **catalog)
    lake.create_namespace("lake")
    lake.create_table("lake.events", rows(backwards=False).schema).append(rows(backwards=False))
    return {"iceberg": {"catalog": {**catalog, "name": "lake"}, "table": "lake.events"}}


@pytest.mark.parametrize("make", [_delta, _iceberg])
@pytest.mark.parametrize(("scan", "within"), [(1, False), (1, True)])
def test_a_tables_file_that_is_replaced_is_an_error(
    tmp_path: Path, make: Callable[[Path], dict[str, Any]], scan: int, within: bool
) -> None:
    definition = view("", source={**make(tmp_path), "timestampField": "at"})
    opened = open_source(definition, NOBODY)
    (path,) = tmp_path.rglob("*.parquet")

    def replaced() -> None:
        other = path.with_suffix(".tmp")
        other.write_bytes(path.read_bytes())
        other.replace(path)

    with pytest.raises(SourceChangedError, match=r"was replaced, written over or deleted while it was read"):
        joined(definition, Changing(opened, replaced, scan, within=within))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table events (id integer, at timestamp, x integer)")
        connection.executemany(
            "insert into events values (?, '1970-01-01 00:00:00.000000', ?)", [(n, n) for n in range(ROWS)]
        )
        connection.commit()
    return path


def _write(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("update events set id = ? - id", [ROWS - 1])
        connection.commit()


def _of(database: Path) -> tuple[Definition, Credentials]:
    source = {"sql": {"table": "events"}, "timestampField": "at"}
    return view("", source=source), Credentials.load({"SQL_URL": f"sqlite:///{database}"})


@pytest.mark.parametrize("scan", [0, 1])
def test_sqlite_without_a_wal_tells_that_somebody_wrote(database: Path, scan: int) -> None:
    definition, known = _of(database)
    with pytest.raises(SourceChangedError, match=r"spec.source.sql: the database was written to .*journal_mode = wal"):
        joined(definition, Changing(open_source(definition, known), lambda: _write(database), scan))


@pytest.mark.parametrize("scan", [0, 1])
def test_sqlite_with_a_wal_is_read_as_it_was_when_it_was_opened(database: Path, scan: int) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("pragma journal_mode = wal")
    definition, known = _of(database)
    source = Changing(open_source(definition, known), lambda: _write(database), scan)
    assert joined(definition, source) == list(range(ROWS))
    assert joined(definition, open_source(definition, known)) == list(range(ROWS))[::-1]


def test_a_file_in_which_there_is_nothing_to_read_may_go(tmp_path: Path) -> None:
    """Old files are deleted all the time; a run that has nothing to read in them goes on."""
    late = rows(backwards=False).set_column(1, "at", pa.array([10] * ROWS).cast(pa.timestamp("us", "UTC")))
    pq.write_table(rows(backwards=False), tmp_path / "old.parquet")
    pq.write_table(late, tmp_path / "new.parquet")
    opened = open_source(view(f"file://{tmp_path}"), NOBODY)
    (tmp_path / "old.parquet").unlink()
    assert sum(batch.num_rows for batch in opened.scan(["x"], TimeRange(5, 20))) == ROWS
    with pytest.raises(SourceChangedError):
        list(opened.scan(["x"], EVERYTHING))
