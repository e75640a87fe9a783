"""Errors of databases and of their drivers, as what is to be done about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace_core.base.shown import line
from millrace_data.sources.credentials import CREDENTIALS_FIELD

# What servers say, in their words, that no other attempt mends.
_DENIED: Final = (
    "password authentication failed",
    "access denied",
    "command denied",
    "permission denied",
    "no password supplied",
    "not authorized",
)
_MISSING: Final = ("does not exist", "no such table", "doesn't exist", "unknown database")
_NO_TIME: Final = (
    "timestamp too large",
    "timestamp too small",
    "date too large",
    "date too small",
    "(before year 1)",
    "(after year 10k)",
)
# What PostgreSQL, MariaDB, MySQL and SQLite say of statements that ``statement_limits`` ended.
_STOPPED: Final = (
    "due to statement timeout",
    "idle-in-transaction timeout",
    "max_statement_time exceeded",
    "maximum statement execution time exceeded",
    "interrupted",
)
_WRONG: Final = ("syntax error", "incomplete input", "no such column", "no such function", "unknown column")

# What brings a driver's module, where pip calls it otherwise.
_BROUGHT_BY: Final[Mapping[str, str]] = {
    "psycopg": "'millrace[postgres]'",
    "pymysql": "'millrace[mysql]'",
    "MySQLdb": "'millrace[mysql]', and write the URL as mysql+pymysql://",
}


@contextmanager
def explained(field: str) -> Iterator[None]:
    """Turns errors of SQLAlchemy and of drivers into what is to be done about them; ``field`` is the source's.

    Raises:
        NotFoundError: there is no such database or table. RejectError: access is denied, the statement is wrong, or a
        value is none of its type. ReportError: a driver is not installed. RetryError: anything else.
    """
    try:
        yield
    except exc.NoSuchModuleError as error:
        raise ReportError(
            f"no installed package knows this kind of database: {error}",
            hint="Check how the URL begins (dialect+driver://), or install the package with that dialect of SQLAlchemy",
            field=field,
            reason="LibraryMissing",
        ) from error
    except exc.SQLAlchemyError as error:
        raise explain(field, error) from error
    except ImportError as error:
        raise missing_library(error, field) from error
    except ValueError as error:  # a text that is no time, as SQLAlchemy makes times of SQLite's texts
        raise RejectError(
            f"a value is not of its column's type: {line(str(error))}", field=field, reason="WrongColumnType"
        ) from error


def missing_library(error: ImportError, field: str) -> ReportError:
    """The error for a driver that is not installed."""
    name = error.name or str(error)
    return ReportError(
        f"sources of this kind need {name}, which is not installed",
        hint=f"Install it with: pip install {_BROUGHT_BY.get(name, name)}",
        field=field,
        reason="LibraryMissing",
    )


def explain(field: str, error: exc.SQLAlchemyError) -> MillraceError:
    """What is to be done about an error of SQLAlchemy."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    text = _said(cause)
    said, lower = line(text).rstrip("."), text.lower()
    if any(mark in lower for mark in _DENIED):
        return RejectError(
            f"the database denies access: {said}",
            hint="Check user and password (on a cluster in the Secret), and what they may read",
            field=CREDENTIALS_FIELD,
            reason="AccessDenied",
        )
    if any(mark in lower for mark in _MISSING):
        return NotFoundError(f"the database says: {said}", field=field, reason="SourceNotFound")
    if any(mark in lower for mark in _NO_TIME):
        return RejectError(
            f"a time of the source cannot be read: {said}",
            hint="Times are from year 1 to 9999, and infinity is none: leave such rows out by a query, or make null of "
            "them with nullif",
            field=field,
            reason="WrongColumnType",
        )
    if any(mark in lower for mark in _STOPPED):
        return RejectError(
            f"the query took too long, and was stopped: {said}",
            hint="Make it simpler, give its time column an index, or raise MILLRACE_SQL_SECONDS (on a cluster in the "
            "Secret); where the server's own limit is lower, that one",
            field=field,
            reason="QueryTooSlow",
        )
    wrong = any(mark in lower for mark in _WRONG)
    if wrong or isinstance(error, exc.ProgrammingError | exc.DataError | exc.NotSupportedError):
        return RejectError(f"the database refuses the query: {said}", field=field, reason="BadQuery")
    return RetryError(
        f"the database could not be read: {said}",
        hint="Check that it is up and reachable",
        field=field,
        reason="SourceUnavailable",
    )


def _said(cause: BaseException) -> str:
    """What it says; MySQL's drivers put a number before it."""
    match cause.args:
        case (int(), str(text)) if text:
            return text
    return str(cause) or type(cause).__name__
