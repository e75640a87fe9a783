"""How long a statement of a run may take in a database, and what SQLite, which runs in our process, may do for one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

# Of one text or blob of SQLite, or of one row.
_SQLITE_BYTES: Final = 64 << 20
# Steps of SQLite's machine between two looks at the clock: some ten thousandths of a second.
_STEPS: Final = 10_000
_ALLOWED: Final = frozenset(
    [sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_TRANSACTION]
)
# Those that describe a table take its name; others are read without a value, which would change them.
_DESCRIBING: Final = frozenset(["table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"])
_READ: Final = frozenset(["data_version", "journal_mode", "foreign_key_list"])


class SqliteClock:
    """Ends statements of SQLite that take too long; ``start`` begins the time of one anew.

    Args:
        seconds: for a statement until its first rows, and for each batch of rows.
        clock: seconds, as ``time.monotonic`` has them.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.start()

    def start(self) -> None:
        """A statement, or the next batch of its rows, begins."""
        self._until = self._clock() + self._seconds

    def passed(self) -> bool:
        """Whether the time is over."""
        return self._clock() > self._until


def limit(connection: sa.Connection, seconds: float) -> SqliteClock | None:
    """Limits the statements of a connection, each to these seconds; what a server limits more is left so.

    Returns:
        The clock of SQLite, to be started before each batch; None for servers, which have their own.
    """
    dialect = connection.dialect
    match dialect.name:
        case "sqlite":
            return _limit_sqlite(connection, seconds)
        case "postgresql":
            for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
                connection.exec_driver_sql(
                    "select set_config(name, %(most)s, false) from pg_settings "
                    "where name = %(name)s and setting::bigint not between 1 and %(most)s::bigint",
                    {"name": name, "most": str(int(seconds * 1000))},
                )
        case "mysql" | "mariadb" if getattr(dialect, "is_mariadb", False):
            _set_least(connection, "max_statement_time", f"{seconds:f}")
        case "mysql":
            _set_least(connection, "max_execution_time", str(int(seconds * 1000)))
    return None


def _set_least(connection: sa.Connection, name: str, most: str) -> None:
    """Sets a variable of MySQL of which 0 is no limit."""
    own = f"@@session.{name}"
    connection.exec_driver_sql(f"set session {name} = if({own} > 0 and {own} < {most}, {own}, {most})")


def _limit_sqlite(connection: sa.Connection, seconds: float) -> SqliteClock:
    driver: Any = connection.connection.driver_connection
    # zeroblob and hex make values of any size otherwise.
    driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _SQLITE_BYTES)
    driver.set_authorizer(_authorized)
    clock = SqliteClock(seconds)
    driver.set_progress_handler(clock.passed, _STEPS)
    return clock


def _authorized(action: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
    """Rows are read, and nothing else: no other file, no setting, no code."""
    allowed = action in _ALLOWED
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = second != "load_extension"
    elif action == sqlite3.SQLITE_PRAGMA:
        allowed = first in _DESCRIBING or (first in _READ and second is None)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
