"""The database: opened and checked once, written by one transaction at a time, read by any number.

Opening it brings its tables to what this release has (``migrations``). SQLite runs in WAL mode with full
synchronisation, so that what was acknowledged survives a kill and a power cut alike.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import (
    TimeoutError as NoConnectionError,
)

from millrace_core.base.errors import RejectError, ReportError, RetryError
from millrace_services.registry import migrations
from millrace_services.registry.tables import meta

# Any number that nothing else in the database takes for its advisory locks.
_WRITE_LOCK: Final = 0x6D696C6C
# A process whose machine is gone keeps its transaction, and with it the lock, until the server ends it. Meanwhile the
# writes of others are refused (503), and tried again by whoever sent them.
_BOUNDED: Final = "SET LOCAL idle_in_transaction_session_timeout = '10s'"
_LOCK_SECONDS: Final = 5
# Several that start at once wait for the one that changes the tables.
_MIGRATION_SECONDS: Final = 60
_DIALECTS: Final = ("sqlite", "postgresql")
# What is too large stays too large: https://www.sqlite.org/limits.html, and class 54 of PostgreSQL.
_LIMITS: Final = re.compile(
    "too many SQL variables|too many FROM clause terms|at most [0-9]+ tables in a join|pattern too complex"
    "|Expression tree is too large|too many terms|too big|stack depth limit|number of (query )?parameters"
)


class Database:
    """An open database. Several processes may have the same one of PostgreSQL open."""

    def __init__(self, url: str) -> None:
        """Opens the database, creating file and tables where there are none, and changing tables of earlier releases.

        Raises:
            RejectError: the URL, its driver or the database's version is not one that this program can use.
            RetryError: the database cannot be reached or written.
        """
        self._url = _parsed(url)
        self.shown = self._url.render_as_string(hide_password=True)
        # Device and number of SQLite's file as it was opened.
        self._opened: tuple[int, int] | None = None
        self._engine = self._connected()
        # ON CONFLICT is written per dialect; only the one in use is worth the time of its import.
        on_postgres = self._engine.dialect.name == "postgresql"
        self._snapshot = {"isolation_level": "REPEATABLE READ"} if on_postgres else {}
        dialect = import_module(f"sqlalchemy.dialects.{self._engine.dialect.name}")
        self._upsert: Callable[[Table], Any] = dialect.insert
        self._migrate()
        self._opened = self._file_now()

    @property
    def file(self) -> str:
        """The path of SQLite's file; empty on PostgreSQL."""
        return self._url.database or "" if self._url.drivername.partition("+")[0] == "sqlite" else ""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one consistent state."""
        self._require_file()
        with self.explained(), self._engine.connect().execution_options(**self._snapshot) as connection:
            yield connection

    @contextmanager
    def writing(self, lock_seconds: int = _LOCK_SECONDS) -> Iterator[Connection]:
        """The only transaction that writes, committed at the end of the block and undone by an error.

        Args:
            lock_seconds: how long it waits for another one that writes, on PostgreSQL.
        """
        self._require_file()
        with self.explained(), self._engine.connect().execution_options(write=True) as connection, connection.begin():
            if self._engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{lock_seconds}s'; {_BOUNDED}"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITE_LOCK})
            yield connection
            self._require_file()

    def upsert(self, connection: Connection, table: Table, row: dict[str, Any], keep: Sequence[str] = ()) -> None:
        """Writes a row over the one with the same primary key; the columns ``keep`` stay what they were."""
        keys = [column.name for column in table.primary_key]
        changed = {name: value for name, value in row.items() if name not in (*keys, *keep)}
        statement = self._upsert(table).values(**row)
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _connected(self) -> Engine:
        if self._url.drivername.partition("+")[0] not in _DIALECTS:
            raise _bad_url(f"{self.shown} is neither SQLite nor PostgreSQL")
        file = self._url.database if self._url.drivername == "sqlite" else None
        if self._url.drivername == "sqlite" and file in (None, "", ":memory:"):
            raise _bad_url(f"{self.shown} names no file, so it would forget everything")
        try:
            if file:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(self._url, pool_pre_ping=self._url.drivername != "sqlite")
        except (NoSuchModuleError, ImportError) as error:
            install = "for PostgreSQL install psycopg and write postgresql+psycopg://"
            raise _bad_url(f"{self.shown}: {error}; {install}") from error
        except OSError as error:
            raise RetryError(f"{self.shown}: {error.strerror}", reason="DatabaseUnavailable") from error
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        return engine

    def _file_now(self) -> tuple[int, int] | None:
        if self._url.drivername.partition("+")[0] != "sqlite":
            return None
        try:
            found = Path(self._url.database or "").stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _require_file(self) -> None:
        # SQLite goes on with a file that has no name any more: what it acknowledged would be gone with the process.
        if self._opened is not None and self._file_now() != self._opened:
            raise RetryError(
                f"the file of the database {self.shown} was removed or replaced since it was opened",
                hint="Put the same file back, or restart the registry, which then takes the file that is there",
                reason="DatabaseUnavailable",
                delay=2,
            )

    def _migrate(self) -> None:
        with self.reading() as connection:
            if migrations.revision(connection) == migrations.NEWEST:
                return
        with self.writing(_MIGRATION_SECONDS) as connection:
            found = migrations.upgrade(connection)
            if found != migrations.NEWEST:
                raise RejectError(
                    f"the database {self.shown} has revision {found}, this program knows those up to "
                    f"{migrations.NEWEST}: a later release of Millrace wrote it",
                    hint="Run that release, or give a copy of the database from before it",
                    field="MILLRACE_DATABASE_URL",
                    reason="DatabaseVersion",
                )
            if connection.scalar(select(meta.c.value).where(meta.c.key == "catalogue_id")) is None:
                new = {"catalogue_id": uuid.uuid4().hex, "revision": "0"}
                connection.execute(insert(meta), [{"key": key, "value": value} for key, value in new.items()])

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Third-party errors as ours, with the database named and its password not."""
        try:
            yield
        except DataError as error:
            raise RejectError(f"the database does not take this value: {_reason(error)}") from error
        except (OperationalError, NoConnectionError) as error:
            if _LIMITS.search(_reason(error)):
                raise RejectError(
                    f"the request is larger than the database can answer: {_reason(error)}",
                    hint="Ask for less at once",
                ) from error
            raise RetryError(
                f"the database {self.shown} cannot be used: {_reason(error)}", reason="DatabaseUnavailable", delay=2
            ) from error
        except DatabaseError as error:
            if self._engine.dialect.name == "sqlite" and "not a database" in str(error):
                raise RejectError(
                    f"{self.shown} is no SQLite database",
                    hint="Give another file; the operator fills a new one again",
                    field="MILLRACE_DATABASE_URL",
                    reason="BadDatabase",
                ) from error
            raise ReportError(f"the database {self.shown} refuses: {_reason(error)}") from error


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _bad_url("MILLRACE_DATABASE_URL is no database URL") from error


def _bad_url(sentence: str) -> RejectError:
    return RejectError(
        sentence,
        hint="Write sqlite:////absolute/path.db or postgresql+psycopg://user@host/database",
        field="MILLRACE_DATABASE_URL",
        reason="BadDatabase",
    )


def _reason(error: SQLAlchemyError) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "case_sensitive_like=ON"):
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own knows the letters of ASCII alone.
        connection.create_function("lower", 1, lambda given: given and str(given).lower(), deterministic=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turned writer could not wait for another writer: it would have to see what it already read
        # change.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
