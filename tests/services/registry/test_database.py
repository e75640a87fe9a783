"""A database opens, keeps its catalogue's id, and says what is wrong with it without its password."""

from __future__ import annotations

import pytest
from sqlalchemy import event, update

from millrace_core.base.errors import RejectError, RetryError
from millrace_services.registry import state
from millrace_services.registry.database import Database
from millrace_services.registry.runs import Runs
from millrace_services.registry.tables import meta


def id_of(database: Database) -> str:
    with database.reading() as connection:
        return state.read(connection).catalogue_id


def test_the_id_of_the_catalogue_stays_with_the_database_and_changes_with_a_new_one(database, tmp_path):
    again = Database(database._url.render_as_string(hide_password=False))
    assert id_of(again) == id_of(database)
    again.close()
    new = Database(f"sqlite:///{tmp_path}/new/folder/r.db")
    assert id_of(new) != id_of(database)
    new.close()


def test_a_reader_sees_one_state_whatever_is_written_meanwhile(database):
    with database.reading() as connection:
        before = state.read(connection)
        with database.writing() as writer:
            state.touch(writer)
        assert state.read(connection) == before
    with database.reading() as connection:
        assert state.read(connection).revision > before.revision


def test_a_revision_rises_over_a_restored_backup_and_over_a_clock_that_went_back(database, monkeypatch):
    def revision(now: int) -> int:
        monkeypatch.setattr(state.time, "time_ns", lambda: now * 1000)
        with database.writing() as connection:
            return state.touch(connection).revision

    assert [revision(now) for now in (5_000, 5_000, 4_000)] == [5_000, 5_001, 5_002]
    with database.writing() as connection:  # as a backup has it
        connection.execute(update(meta).where(meta.c.key == "revision").values(value="100"))
    assert revision(9_000) == 9_000


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes\n" * 100)
    before = path.read_bytes()
    with pytest.raises(RejectError, match="is no SQLite database"):
        Database(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "is no database URL"),
        ("mysql://user:s3cret@host/db", "is neither SQLite nor PostgreSQL"),
        ("postgresql+nodriver://user:s3cret@host/db", "install psycopg"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url, sentence):
    with pytest.raises(RejectError, match=sentence) as caught:
        Database(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.field == "MILLRACE_DATABASE_URL"


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_acknowledged_while_the_file_is_away_and_all_is_there_once_it_is_back(tmp_path, replaced):
    database = Database(f"sqlite:///{tmp_path}/r.db")
    before = id_of(database)
    (tmp_path / "r.db").rename(tmp_path / "aside")
    if replaced:
        (tmp_path / "r.db").write_bytes(b"")
    with pytest.raises(RetryError, match="was removed or replaced"), database.writing() as writer:
        state.touch(writer)
    with pytest.raises(RetryError, match="was removed or replaced"):
        id_of(database)
    (tmp_path / "aside").replace(tmp_path / "r.db")
    assert id_of(database) == before
    database.close()


def test_a_write_during_which_the_file_went_away_is_undone(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/r.db")
    with database.reading() as connection:
        before = state.read(connection)

    def write_and_move() -> None:
        with database.writing() as writer:
            state.touch(writer)
            (tmp_path / "r.db").rename(tmp_path / "aside")

    with pytest.raises(RetryError, match="was removed or replaced"):
        write_and_move()
    (tmp_path / "aside").rename(tmp_path / "r.db")
    with database.reading() as connection:
        assert state.read(connection) == before
    database.close()


def test_a_folder_that_cannot_be_written_may_be_tried_again(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RetryError, match=r"Not a directory|File exists"):
        Database(f"sqlite:///{tmp_path}/file/r.db")


def test_a_full_disk_is_said_and_loses_nothing_that_was_acknowledged(tmp_path):
    url = f"sqlite:///{tmp_path}/r.db"
    database = Database(url)
    event.listen(database._engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=40"))
    database._engine.dispose()  # the next connection has the limit
    runs = Runs(database, kept=1000)
    acknowledged = []

    def fill() -> None:
        for number in range(1000):
            runs.put(f"r{number}", {"view": "v", "words": "x" * 1000})
            acknowledged.append(f"r{number}")

    with pytest.raises(RetryError, match="database or disk is full"):
        fill()
    database.close()
    again = Database(url)
    listed = Runs(again, kept=1000).list(kind="", namespace="", view="v", limit=1000)
    assert [run["name"] for run in listed] == acknowledged[::-1]
    assert acknowledged
    again.close()
