"""The tables become those of this release, whatever release made them, once, and whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, inspect, select, text

from millrace_core.base.errors import RejectError
from millrace_services.registry import app, migrations, state
from millrace_services.registry.database import Database
from millrace_services.registry.runs import Runs
from millrace_services.registry.tables import metadata

assert app  # imports every table that there is
# Everything that a database had when there were no revisions.
UNNUMBERED = ("meta", "objects", "terms", "schemas", "runs", "datasets", "dataset_views")


@pytest.fixture
def database(new_database: Database) -> Database:
    return new_database


def url_of(database: Database) -> str:
    return database._url.render_as_string(hide_password=False)


def make_unnumbered(connection: Connection, version: str = "3") -> None:
    """Takes a database back to before there were revisions."""
    there = MetaData()
    there.reflect(connection)
    there.drop_all(connection, [table for name, table in there.tables.items() if name not in UNNUMBERED])
    connection.execute(text("INSERT INTO meta VALUES ('schema_version', :version)"), {"version": version})


def test_all_revisions_make_the_tables_that_the_program_works_with_and_that_a_new_database_gets(
    database: Database,
) -> None:
    with database.writing() as connection:
        new = described(connection)
        everything = MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
        assert migrations.by_revisions(connection) == migrations.NEWEST
        assert described(connection) == new
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def described(connection: Connection) -> dict[str, object]:
    """Columns, keys and indexes of every table, in the words of all dialects."""
    seen = inspect(connection)
    return {
        table: (
            [(column["name"], column["type"].python_type, column["nullable"]) for column in seen.get_columns(table)],
            seen.get_pk_constraint(table)["constrained_columns"],
            sorted((index["name"], *index["column_names"], index["unique"]) for index in seen.get_indexes(table)),
        )
        for table in seen.get_table_names()
    }


def test_the_newest_revision_is_that_of_the_last_file() -> None:
    assert ScriptDirectory(str(migrations.FOLDER)).get_heads() == [migrations.NEWEST]


def test_a_database_from_before_revisions_keeps_what_it_holds(database: Database) -> None:
    Runs(database, kept=10).put("r", {"view": "v"})
    with database.writing() as connection:
        make_unnumbered(connection)
        before = state.read(connection)
    again = Database(url_of(database))
    assert [run["name"] for run in Runs(again, kept=10).list(kind="", namespace="", view="v", limit=9)] == ["r"]
    with again.reading() as connection:
        assert state.read(connection) == before
        assert migrations.revision(connection) == migrations.NEWEST
        assert {*metadata.tables} < {*inspect(connection).get_table_names()}
        assert "schema_version" not in connection.scalars(select(metadata.tables["meta"].c.key)).all()
    again.close()


def test_tables_of_no_release_are_refused_and_left_alone(database: Database) -> None:
    with database.writing() as connection:
        make_unnumbered(connection, "2")
    with pytest.raises(RejectError, match="tables of schema version 2, which no release"):
        Database(url_of(database))
    with database.reading() as connection:
        assert {*inspect(connection).get_table_names()} == {*UNNUMBERED}


def test_a_database_of_a_later_release_is_refused_and_left_alone(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(RejectError, match=r"has revision 9999, .* a later release of Millrace wrote it") as caught:
        Database(url_of(database))
    assert caught.value.reason == "DatabaseVersion"
    with database.reading() as connection:
        assert migrations.revision(connection) == "9999"


def test_a_table_of_somebody_elses_with_a_name_of_ours_stops_everything_before_it_begins(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/r.db"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE runs (run_uuid TEXT)"))
    with pytest.raises(Exception, match="table runs already exists"):
        Database(url)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == ["runs"]
    engine.dispose()


def test_of_many_that_start_at_once_one_makes_the_tables_and_all_have_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.writing() as connection:
        everything = MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
    together, read = threading.Barrier(4), migrations.revision

    def read_together(connection: Connection) -> str:
        found = read(connection)
        if not passed.is_set():  # each of them sees the empty database before any of them goes on
            together.wait(60)
            passed.set()
        return found

    passed, failed, opened = threading.Event(), [], []

    def start() -> None:
        try:
            opened.append(Database(url_of(database)))
        except Exception as error:
            failed.append(error)

    monkeypatch.setattr(migrations, "revision", read_together)
    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    ids = set()
    for each in opened:
        with each.reading() as connection:
            ids.add(state.read(connection).catalogue_id)
        each.close()
    assert len(ids) == 1


def test_a_database_that_is_up_to_date_is_opened_while_another_writes_to_it(database: Database) -> None:
    with database.writing():
        Database(url_of(database)).close()
