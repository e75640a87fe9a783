"""The journal: appended writes are read again, in whatever state the file was left."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import ReportError
from millrace_local.apiserver import journal as journal_module
from millrace_local.apiserver.journal import Journal, JournalFullError, Write
from tests.examples import examples


def write(revision: int, *, gone: bool = False) -> Write:
    """The write of that revision."""
    body = None if gone else b'{"metadata":{"name":"n%d"},"filling":"%s"}' % (revision, b"x" * (revision * 37 % 900))
    return Write(revision, "/configmaps", "default", f"n{revision % 50}", body)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a journal of 300 writes, as a killed process leaves them: the log is not yet in the file."""
    folder = tmp_path_factory.mktemp("crashed")
    journal = Journal(folder / "live" / "journal.db")
    assert list(journal.read()) == []
    for revision in range(1, 301):
        journal.append(write(revision))
        if revision == 200:
            journal.checkpoint()
    copy = folder / "copy"
    shutil.copytree(folder / "live", copy)
    journal.close()
    return copy


def reread(path: Path) -> list[Write]:
    """All that a new start reads."""
    journal = Journal(path)
    found = list(journal.read())
    journal.close()
    return found


def test_everything_is_read_again_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    list(journal.read())
    written = [write(1), write(2), write(3, gone=True)]
    for each in written:
        journal.append(each)
    journal.close()
    assert reread(tmp_path / "journal.db") == written


def test_a_crash_loses_nothing(crashed: Path, tmp_path: Path) -> None:
    shutil.copytree(crashed, tmp_path, dirs_exist_ok=True)
    assert [w.revision for w in reread(tmp_path / "journal.db")] == list(range(1, 301))


@settings(max_examples=examples(0.6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["journal.db", "journal.db-wal"]))
def test_a_file_cut_off_anywhere_is_read_to_the_last_whole_write(
    crashed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    shutil.copytree(crashed, folder, dirs_exist_ok=True)
    size = (folder / name).stat().st_size
    os.truncate(folder / name, data.draw(st.integers(0, size)))
    found = reread(folder / "journal.db")
    assert found == [write(revision) for revision in range(1, len(found) + 1)]
    # The journal goes on after that, and what it then holds is whole.
    journal = Journal(folder / "journal.db")
    before = list(journal.read())
    journal.append(write(1000))
    journal.close()
    assert reread(folder / "journal.db") == [*before, write(1000)]


@settings(max_examples=examples(0.6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_in_the_middle_never_stops_a_start(
    crashed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(crashed, folder, dirs_exist_ok=True)
    content = bytearray((folder / "journal.db").read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + 5000] = data.draw(st.binary(min_size=1, max_size=8)) * 500
    (folder / "journal.db").write_bytes(content)
    found = reread(folder / "journal.db")
    assert all(each.body is None or each.body.startswith(b"{") for each in found)


def test_a_damaged_file_is_kept_aside(crashed: Path, tmp_path: Path) -> None:
    shutil.copytree(crashed, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "journal.db"
    os.truncate(file, file.stat().st_size // 2)
    (tmp_path / "journal.db-wal").unlink()
    found = reread(file)
    assert 20 < len(found) < 200
    assert (tmp_path / "journal.db.damaged-0").stat().st_size > 0
    assert reread(file) == found


def test_a_file_that_is_no_journal_is_kept_aside(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"not a database, by far" * 100)
    assert reread(tmp_path / "journal.db") == []
    assert (tmp_path / "journal.db.damaged-0").exists()


def test_obsolete_writes_leave_the_file_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "HISTORY", 10)
    journal = Journal(tmp_path / "journal.db")
    list(journal.read())
    for revision in range(1, 1001):
        journal.append(write(revision))
        if revision > 1:
            journal.obsolete(revision - 1)
    journal.close()
    left = [each.revision for each in reread(tmp_path / "journal.db")]
    assert len(left) < 300
    assert left == list(range(1001 - len(left), 1001))


def test_a_full_disk_refuses_the_write_and_keeps_the_rest(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    list(journal.read())
    journal.append(write(1))
    journal._connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(JournalFullError, match=r"cannot write the journal.*Free some disk space; nothing was changed"):
        journal.append(Write(2, "/configmaps", "default", "big", b'{"x":"%s"}' % (b"x" * 100_000)))
    journal.close()
    assert reread(tmp_path / "journal.db") == [write(1)]


def test_a_folder_belongs_to_one_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    with pytest.raises(ReportError, match="another API server runs on"):
        Journal(tmp_path / "journal.db")
    first.close()
    Journal(tmp_path / "journal.db").close()


def test_the_log_moves_into_the_file_at_checkpoints(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    list(journal.read())
    for revision in range(1, 1101):
        journal.append(write(revision))
    assert journal.wants_checkpoint
    journal.checkpoint()
    assert not journal.wants_checkpoint
    with sqlite3.connect(f"file:{tmp_path}/journal.db?mode=ro", uri=True) as other:
        assert other.execute("SELECT count(*) FROM writes").fetchone() == (1100,)
    other.close()
    journal.close()
