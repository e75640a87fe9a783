"""Registries over SQLite's files, and over PostgreSQL where a server and a driver are installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, text, update

from millrace_services.registry.database import Database
from millrace_services.registry.tables import meta, metadata
from tests.postgres import postgres_server

KINDS = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL database of a server of our own."""
    with postgres_server() as server:
        yield server.url.render_as_string(hide_password=False)


@pytest.fixture
def without_tables(postgres: str) -> Iterator[str]:
    """The same, in which there is nothing, not even tables."""
    _drop_tables(postgres)
    yield postgres
    _drop_tables(postgres)


@pytest.fixture(scope="session")
def only_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables of this release, which took most of a test's time."""
    path = tmp_path_factory.mktemp("tables") / "r.db"
    Database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind with nothing in its tables."""
    if request.param == "postgres":
        opened = Database(request.getfixturevalue("postgres"))
        yield opened
        _empty(opened)
    else:
        shutil.copy(request.getfixturevalue("only_tables"), tmp_path / "r.db")
        opened = Database(f"sqlite:///{tmp_path}/r.db")
        yield opened
    opened.close()


@pytest.fixture(params=KINDS)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind whose tables are the test's own."""
    postgres = request.param == "postgres"
    opened = Database(request.getfixturevalue("without_tables") if postgres else f"sqlite:///{tmp_path}/r.db")
    yield opened
    opened.close()


def _empty(database: Database) -> None:
    with database.writing() as connection:
        for table in reversed(metadata.sorted_tables):
            if table is not meta:
                connection.execute(delete(table))
        connection.execute(delete(meta).where(meta.c.key.not_in(("catalogue_id", "revision"))))
        connection.execute(update(meta).where(meta.c.key == "revision").values(value="0"))


def _drop_tables(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
