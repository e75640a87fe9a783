"""A table or query of a database as a source: read as a stream, with columns and event times pushed down to it.

A database promises no order, so one is asked for: by event time, then by all other columns that the definition uses, in
the definition's order. Rows that are equal in all of these cannot be told apart. PostgreSQL is read in one transaction
(repeatable read), so that both scans of a run see the same rows; elsewhere a row that is written between them can show
as a source that changed while it was read, and the run is tried again.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from weakref import finalize

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from millrace.api.featureview import PostgresSource as Postgres
from millrace.api.featureview import SqlSource as Sql
from millrace.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace.features.definition import Definition
from millrace.features.history import Window
from millrace.sources import columns
from millrace.sources.filesystem import CREDENTIALS_FIELD, Credentials

_ROWS: Final = 20_000
_CONNECT_SECONDS: Final = 10
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What servers say, in their words, that no other attempt mends.
_DENIED: Final = ("password authentication failed", "access denied", "permission denied", "no password supplied")
_MISSING: Final = ("does not exist", "no such table", "doesn't exist", "unknown database")
_SELECT: Final = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


class WarehouseSource:
    """Implements ``history.Source`` over one table or query."""

    def __init__(self, connection: sa.Connection, rows: Any, field: str, definition: Definition) -> None:
        # Both scans belong to one transaction; it ends with the source.
        self._connection = connection
        finalize(self, connection.close)
        # As SQLAlchemy calls the types; a query's columns have none that is known beforehand.
        self.columns = {column.name: str(column.type) for column in rows.c}
        self._rows = rows
        self._field = field
        self._timestamp = rows.c[definition.timestamp_field]
        self._created = None if definition.created_field is None else rows.c[definition.created_field]
        others = [name for name in columns.needed(definition) if name != definition.timestamp_field]
        self._order = [self._timestamp, *(rows.c[name] for name in others)]

    def scan(self, columns: Sequence[str], window: Window) -> Iterator[pa.RecordBatch]:
        """Batches of the columns within the window, in order."""
        query = sa.select(*(self._rows.c[name] for name in columns))
        query = query.where(*self._within(window))
        kinds: dict[str, pa.DataType] = {}
        with _explained(self._field):
            found = self._connection.execution_options(yield_per=_ROWS).execute(query.order_by(*self._order))
            for part in found.partitions():
                by_column = list(zip(*part, strict=True))
                arrays = [
                    _array(name, values, kinds, self._field) for name, values in zip(columns, by_column, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _within(self, window: Window) -> Iterator[Any]:
        created = None if self._created is None else window.created_after
        bounds: tuple[tuple[Any, Callable[[Any, Any], Any], int | None], ...] = (
            (self._timestamp, operator.ge, window.earliest),
            (self._timestamp, operator.le, window.latest),
            (self._created, operator.gt, created),
        )
        for column, compare, microseconds in bounds:
            moment = None if microseconds is None else _moment(column, microseconds)
            if moment is not None:
                yield compare(column, moment)


def _moment(column: Any, microseconds: int) -> Any:
    """A moment as the column's type has it; None where a datetime cannot say it, which leaves that end open."""
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    zoned = isinstance(column.type, sa.DateTime) and column.type.timezone
    return sa.literal(moment if zoned else moment.replace(tzinfo=None))


def open_source(definition: Definition, credentials: Credentials) -> tuple[WarehouseSource, None]:
    """Connects to a view's database and checks that the columns are there; their types show as rows are read.

    Raises:
        NotFoundError: there is no such database, table or column. RejectError: access is denied, or the query is none.
        RetryError: the database cannot be reached.
    """
    spec = definition.source.postgres or definition.source.sql
    if spec is None:  # the door opens by kind
        raise RejectError("there is no database to read", field="spec.source")
    field = f"spec.source.{definition.source_kind}"
    url, options = _address(spec, credentials)
    with _explained(field):
        engine = sa.create_engine(url, poolclass=sa.NullPool, **options)
        connection = engine.connect()
        kinds = _columns(connection, spec, field)
    for name, where in columns.needed(definition).items():
        if name not in kinds:
            raise columns.absent(name, where, spec.table or "the query", list(kinds))
    return WarehouseSource(connection, _selectable(spec, kinds), field, definition), None


def _address(spec: Postgres | Sql, credentials: Credentials) -> tuple[sa.URL, dict[str, Any]]:
    if isinstance(spec, Postgres):
        url = sa.URL.create(
            "postgresql+psycopg",
            credentials.pg_user,
            credentials.pg_password,
            spec.host,
            spec.port,
            spec.database,
            {"sslmode": spec.ssl_mode, "connect_timeout": str(_CONNECT_SECONDS)},
        )
        return url, {"isolation_level": "REPEATABLE READ", "execution_options": {"postgresql_readonly": True}}
    if not credentials.sql_url:
        raise RejectError(
            "SQL_URL is missing",
            hint="Put SQLAlchemy's URL of the database under SQL_URL into the Secret that credentialsSecretRef names",
            field=CREDENTIALS_FIELD,
        )
    try:
        return sa.make_url(credentials.sql_url), {}
    except exc.ArgumentError as error:
        raise RejectError(
            "SQL_URL is no URL of a database",
            hint="Write it as dialect+driver://user:password@host/database",
            field=CREDENTIALS_FIELD,
        ) from error


def _columns(connection: sa.Connection, spec: Postgres | Sql, field: str) -> dict[str, Any]:
    """The columns that are there with the database's types; those of a query have none."""
    if spec.table is not None:
        schema, _, name = spec.table.rpartition(".")
        try:
            return {each["name"]: each["type"] for each in sa.inspect(connection).get_columns(name, schema or None)}
        except exc.NoSuchTableError as error:
            raise NotFoundError(
                f"there is no table {spec.table}",
                hint="Check the name",
                field=f"{field}.table",
                reason="SourceNotFound",
            ) from error
    if not _SELECT.match(spec.query or ""):
        raise RejectError(
            "one select statement is expected", hint="Begin it with select or with", field=f"{field}.query"
        )
    found = connection.execute(sa.text(f"select * from ({_bare(spec)}) as source where 1 = 0"))  # noqa: S608 theirs
    return dict.fromkeys(found.keys(), sa.types.NullType())


def _selectable(spec: Postgres | Sql, kinds: dict[str, Any]) -> Any:
    if spec.table is not None:
        schema, _, name = spec.table.rpartition(".")
        return sa.table(name, *(sa.column(each, kind) for each, kind in kinds.items()), schema=schema or None)
    return sa.text(_bare(spec)).columns(*(sa.column(name) for name in kinds)).subquery("source")


def _bare(spec: Postgres | Sql) -> str:
    """The query without a semicolon at its end, and with colons that are no parameters."""
    return (spec.query or "").strip().rstrip(";").replace(":", "\\:")


def _array(name: str, values: Sequence[Any], kinds: dict[str, pa.DataType], field: str) -> pa.Array:
    """One column of a batch; its type is that of the first batch that has a value there."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, Decimal):
        values = [None if value is None else float(value) for value in values]
    elif isinstance(first, UUID):
        values = [None if value is None else str(value) for value in values]
    elif isinstance(first, memoryview):
        values = [None if value is None else bytes(value) for value in values]
    elif first is not None and not isinstance(first, bool | int | float | str | bytes | date | list):
        raise RejectError(
            f"column {name!r} holds values of the kind {type(first).__name__}, which no feature has",
            hint="Read it through a query that casts it",
            field=field,
            reason="WrongColumnType",
        )
    try:
        array = pa.array(values, kinds.get(name))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise RejectError(
            f"column {name!r} holds values that do not go together: {error}", field=field, reason="WrongColumnType"
        ) from error
    if not pa.types.is_null(array.type):
        kinds.setdefault(name, array.type)
    return array


@contextmanager
def _explained(field: str) -> Iterator[None]:
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise _error(field, error) from error
    except ImportError as error:
        raise RejectError(
            f"the driver {error.name} is not installed", hint=f"pip install {error.name}", field=CREDENTIALS_FIELD
        ) from error


def _error(field: str, error: exc.SQLAlchemyError) -> MillraceError:
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    said = str(cause).splitlines()[0].rstrip(".") if str(cause) else type(cause).__name__
    lower = str(cause).lower()
    if any(mark in lower for mark in _DENIED):
        return RejectError(
            f"the database denies access: {said}",
            hint="Check user and password in the Secret, and what they may read",
            field=CREDENTIALS_FIELD,
            reason="AccessDenied",
        )
    if any(mark in lower for mark in _MISSING):
        return NotFoundError(f"the database says: {said}", field=field, reason="SourceNotFound")
    if isinstance(error, exc.ProgrammingError | exc.DataError | exc.NoSuchModuleError):
        return RejectError(f"the database refuses the query: {said}", field=field, reason="BadQuery")
    return RetryError(
        f"the database could not be read: {said}",
        hint="Check that it is up and reachable",
        field=field,
        reason="SourceUnavailable",
    )
