"""A table or query of a database as a source: read as a stream, with columns and event times pushed down to it.

A database promises no order, so one is asked for: by event time, then by all other columns that the definition uses, in
the definition's order. Rows that are equal in all of these cannot be told apart. PostgreSQL and MySQL are read in one
transaction (repeatable read), so that both scans of a run see the same rows, and so is SQLite where its journal is a
WAL. Without one a transaction would keep its writers waiting, so it is asked at the end of each scan whether somebody
wrote. Elsewhere a row that is written between scans can show as a source that changed while it was read.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from weakref import finalize

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import mysql

from millrace_core.api.source import PostgresSourceSpec as Postgres
from millrace_core.api.source import SqlSourceSpec as Sql
from millrace_core.base.errors import NotFoundError, RejectError, ReportError, SourceChangedError
from millrace_core.base.timeouts import CONNECT_SECONDS
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import TimeRange
from millrace_core.features.types.conform import MisfitError
from millrace_core.features.types.kinds import is_moment
from millrace_data.sources import bounds, columns, database_columns, database_door, statement_limits
from millrace_data.sources.columns import Place
from millrace_data.sources.credentials import CREDENTIALS_FIELD, Credentials
from millrace_data.sources.database_columns import Column
from millrace_data.sources.database_errors import explained
from millrace_data.sources.reading import Reading
from millrace_data.sources.statement_limits import SqliteClock

_ROWS: Final = 20_000
# A batch has as many rows as have so many bytes in texts and the like, going by those before them.
_FIRST_ROWS: Final = 1_000
_BATCH_BYTES: Final = 64 << 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# SQLite keeps times as text in several spellings (with T or a space, with or without a fraction or a zone), which
# compare as times do only where the days differ.
_SPELLING: Final = timedelta(days=2)
# So that a time without a zone, in a bound or in a column, is UTC and not the server's own. MySQL would end a
# connection whose rows wait for a minute, and its transactions are to write nothing, as PostgreSQL's do not.
_MYSQL: Final = (
    "set time_zone = '+00:00', net_write_timeout = 600",
    "set session transaction read only",
)
_SETUP: Final[Mapping[str, Sequence[str]]] = {
    "postgresql": ("set time zone 'UTC'",),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "duckdb": ("set TimeZone = 'UTC'",),
}
_WAL: Final = "Run it again when nobody writes, or set pragma journal_mode = wal: then a run sees one state of it"
_SELECT: Final = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


class WarehouseSource:
    """Implements ``history.HistorySource`` over one table or query."""

    def __init__(
        self,
        connection: sa.Connection,
        rows: Any,
        there: Mapping[str, Column],
        field: str,
        reading: Reading,
        place: str,
        clock: SqliteClock | None = None,
    ) -> None:
        self._clock = clock
        # Both scans belong to one transaction; it ends with the source.
        self._connection = connection
        self._version = _version(connection)
        finalize(self, _close, connection)
        self.columns = {name: column.description for name, column in there.items()}
        self._rows = rows
        self._kinds = {name: column.kind for name, column in there.items() if column.kind is not None}
        self._there = there
        self._field = field
        self._reading = reading
        self._place = place
        first = () if reading.timestamp is None else (rows.c[reading.timestamp],)
        others = [name for name in reading.schema.names if name != reading.timestamp]
        # Two texts that MySQL's collations call equal are in no order.
        exact = connection.dialect.name in ("mysql", "mariadb")
        others_in_order = (sa.cast(rows.c[name], sa.LargeBinary) if exact else self._value(name) for name in others)
        self._order = [*first, *others_in_order]

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """Batches of the columns within the window, in order."""
        query = sa.select(*(self._value(name) for name in columns))
        query = query.where(*self._within(time_range))
        kinds = dict(self._kinds)
        with explained(self._field):
            self._start()
            found = self._connection.execution_options(stream_results=True).execute(query.order_by(*self._order))
            cursor = found.cursor
            try:
                first = 0
                for part in self._timed(_parts(found)):
                    by_column = dict(zip(columns, zip(*part, strict=True), strict=True))
                    arrays = [self._array(name, values, kinds, first) for name, values in by_column.items()]
                    yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
                    first += len(part)
            except Exception:
                _leave(cursor)
                raise
            if _version(self._connection) != self._version:
                raise SourceChangedError("the database was written to while it was read", hint=_WAL, field=self._field)

    def _start(self) -> None:
        if self._clock is not None:
            self._clock.start()

    def _timed(self, parts: Iterator[Any]) -> Iterator[Any]:
        """The parts, each with the time of its own that a server gives by itself."""
        for part in parts:
            yield part
            self._start()

    def _array(self, name: str, values: Sequence[Any], kinds: dict[str, pa.DataType], first: int) -> pa.Array:
        try:
            return self._reading.array(name, database_columns.array(name, values, kinds, self._field))
        except MisfitError as error:
            raise self._reading.said(error, self._place, first + error.row) from error

    def _value(self, name: str) -> Any:
        column = self._rows.c[name]
        if self._there[name].text is not None:
            return sa.cast(column, self._there[name].text)
        # MySQL shows six digits of a single, and all of a double.
        return column * sa.literal_column("1e0") if isinstance(column.type, mysql.FLOAT) else column

    def _within(self, time_range: TimeRange) -> Iterator[Any]:
        wider = _SPELLING if self._connection.dialect.name == "sqlite" else timedelta()
        limits: tuple[tuple[str | None, Callable[[Any, Any], Any], int | None, timedelta], ...] = (
            (self._reading.timestamp, operator.ge, time_range.earliest, -wider),
            (self._reading.timestamp, operator.le, time_range.latest, wider),
            (self._reading.created, operator.gt, time_range.created_after, -wider),
        )
        for name, compare, microseconds, change in limits:
            if name is None or microseconds is None:
                continue
            limit = self._limit(name, microseconds, change, last=compare is operator.le)
            if limit is not None:
                yield compare(self._rows.c[name], limit)

    def _limit(self, name: str, microseconds: int, change: timedelta, *, last: bool) -> Any:
        """A moment as the column's type has it; None where that cannot be said, which leaves that end open."""
        kind, unit = self._there[name].kind, self._reading.units.get(name)
        if unit is not None:
            whole = kind is not None and pa.types.is_integer(kind)
            return sa.literal(bounds.count(microseconds, unit, last=last)) if whole else None
        if kind is not None and not is_moment(kind):
            return None
        return _moment(self._rows.c[name], microseconds, change)


def _parts(found: Any) -> Iterator[Any]:
    rows = _FIRST_ROWS
    while part := found.fetchmany(rows):
        yield part
        size = sum(len(value) for row in part for value in row if isinstance(value, (str, bytes)))
        rows = max(1, min(_ROWS, 4 * rows, len(part) * _BATCH_BYTES // max(1, size)))


def _version(connection: sa.Connection) -> Any:
    """Of SQLite: another where somebody else has written, unless this connection's transaction does not see that."""
    return connection.exec_driver_sql("pragma data_version").scalar() if connection.dialect.name == "sqlite" else None


def _close(connection: sa.Connection) -> None:
    with suppress(exc.SQLAlchemyError):  # the server may have gone before
        _leave(connection.connection.driver_connection)
        connection.invalidate()  # closing in good order would first read what is left of a scan
        connection.close()


def _leave(reading: Any) -> None:
    """Lets a cursor or connection of pymysql go that would read all that is left, even where the server has gone."""
    result: Any = getattr(reading, "_result", None)
    if getattr(result, "unbuffered_active", False):
        result.unbuffered_active = False


def _moment(column: Any, microseconds: int, change: timedelta) -> Any:
    """A moment as the column's type has it; None where a datetime cannot say it, which leaves that end open."""
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds) + change
    except OverflowError:
        return None
    zoned = isinstance(column.type, sa.DateTime) and column.type.timezone
    return sa.literal(moment if zoned else moment.replace(tzinfo=None))


def open_source(definition: Definition, credentials: Credentials) -> tuple[WarehouseSource, pa.Schema | None]:
    """Connects to a view's database and checks that the columns are there and fit, as far as their types are known.

    Raises:
        NotFoundError: there is no such database, table or column. RejectError: access is denied, the query is none, or
        a column does not fit. RetryError: the database cannot be reached. ReportError: the driver is not installed.
    """
    spec = definition.source.postgres or definition.source.sql
    if spec is None:  # opening.py chooses the module by the kind of the source
        raise ReportError(f"feature view {definition.view!r} has no database")
    field = f"spec.source.{definition.source_kind}"
    with explained(field):
        connection = _engine(spec, credentials, field).connect()
        try:
            return _opened(definition, spec, connection, field, credentials.sql_seconds)
        except BaseException:
            connection.close()
            raise


def _opened(
    definition: Definition, spec: Postgres | Sql, connection: sa.Connection, field: str, seconds: float
) -> tuple[WarehouseSource, pa.Schema | None]:
    clock = statement_limits.limit(connection, seconds)
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("pragma journal_mode").scalar() == "wal":
        connection.exec_driver_sql("begin")
    there = _columns(definition, spec, connection, field)
    for name, where in columns.needed(definition).items():
        if name in there:
            database_columns.require_native(name, there[name], where)
    if connection.dialect.name != "postgresql":
        there |= {name: there[name].as_boolean() for name in _used_as(definition, "bool") if name in there}
    there |= {name: there[name].as_whole() for name in _used_as(definition, "int32", "int64") if name in there}
    name = spec.table or "the query"
    # A null fits everything: what is not known yet is looked at row by row.
    kinds = pa.schema([(each, column.kind or pa.null()) for each, column in there.items()])
    reading = columns.checked(definition, [Place(name, kinds)], address=name)
    source = WarehouseSource(connection, _selectable(spec, there), there, field, reading, name, clock)
    return source, reading.schema if all(there[each].kind for each in reading.schema.names) else None


def _engine(spec: Postgres | Sql, credentials: Credentials, field: str) -> sa.Engine:
    url = _address(spec, credentials)
    options: dict[str, Any] = {}
    if url.get_backend_name() in ("postgresql", "mysql", "mariadb"):
        options["isolation_level"] = "REPEATABLE READ"
    if url.get_backend_name() == "postgresql":
        options["execution_options"] = {"postgresql_readonly": True}
    place = f"{field}.host" if isinstance(spec, Postgres) else CREDENTIALS_FIELD
    return database_door.opened(url, credentials.door, place, **options)


def _address(spec: Postgres | Sql, credentials: Credentials) -> sa.URL:
    if isinstance(spec, Postgres):
        return sa.URL.create(
            "postgresql+psycopg",
            credentials.pg_user,
            credentials.pg_password,
            spec.host,
            spec.port,
            spec.database,
            {"sslmode": spec.ssl_mode, "connect_timeout": str(int(CONNECT_SECONDS))},
        )
    if not credentials.sql_url:
        raise RejectError(
            "SQL_URL is missing",
            hint="Set SQL_URL to SQLAlchemy's URL of the database (on a cluster in the Secret of credentialsSecretRef)",
            field=CREDENTIALS_FIELD,
        )
    try:
        return sa.make_url(credentials.sql_url)
    except exc.ArgumentError as error:
        raise RejectError(
            "SQL_URL is no URL of a database",
            hint="Write it as dialect+driver://user:password@host/database",
            field=CREDENTIALS_FIELD,
        ) from error


def _columns(definition: Definition, spec: Postgres | Sql, connection: sa.Connection, field: str) -> dict[str, Column]:
    dialect = connection.dialect.name
    for statement in _SETUP.get(dialect, ()):
        connection.exec_driver_sql(statement)
    if spec.query is not None:
        _require_select(spec.query, f"{field}.query")
    elif dialect != "postgresql" and (declared := _declared(spec.table or "", connection, field)) is not None:
        return declared
    nothing = sa.select(sa.text("*")).select_from(_from(spec)).where(sa.false())
    found = connection.execute(nothing)
    if dialect == "postgresql":
        description: Any = found.cursor.description if found.cursor else ()
        return {each[0]: database_columns.of_number(each[1], each[4], each[5]) for each in description}
    unknown = Column(sa.types.NullType())
    there = dict.fromkeys(found.keys(), unknown)
    if dialect == "sqlite":  # which has no type for times: they are text until somebody says so
        there.update(
            {
                name: database_columns.of_declared(sa.DateTime())
                for name in _used_as(definition, "timestamp")
                if name in there and name not in Reading.of(definition, {}).units
            }
        )
    return there


def _declared(table: str, connection: sa.Connection, field: str) -> dict[str, Column] | None:
    """None where the dialect cannot tell; what else is wrong shows when the table is asked."""
    schema, _, name = table.rpartition(".")
    try:
        found = sa.inspect(connection).get_columns(name, schema or None)
    except exc.NoSuchTableError as error:
        raise NotFoundError(
            f"there is no table {table}", hint="Check the name", field=f"{field}.table", reason="SourceNotFound"
        ) from error
    except (exc.DBAPIError, NotImplementedError):
        connection.rollback()
        return None
    return {each["name"]: database_columns.of_declared(each["type"]) for each in found}


def _used_as(definition: Definition, *declared: str) -> Iterator[str]:
    """The source's own columns that the definition reads as one of these types."""
    for name, found in columns.uses(definition).items():
        if name not in definition.computed and any(use.declared in declared for use in found):
            yield name


def _require_select(query: str, field: str) -> None:
    """Without a semicolon no driver can be made to run a second statement."""
    if not _SELECT.match(query):
        raise RejectError("one select statement is expected", hint="Begin it with select or with", field=field)
    if ";" in _bare(query):
        raise RejectError(
            "one select statement is expected, a semicolon came within it",
            hint="Leave it out, in texts and comments too",
            field=field,
        )


def _from(spec: Postgres | Sql) -> Any:
    """What follows ``from``. A query stands in brackets, on lines of its own because it may end with a comment."""
    if spec.table is not None:
        schema, _, name = spec.table.rpartition(".")
        return sa.table(name, schema=schema or None)
    # Its colons are no parameters.
    return sa.text("(" + _bare(spec.query or "").replace(":", "\\:") + "\n) as source")


def _selectable(spec: Postgres | Sql, there: Mapping[str, Column]) -> Any:
    named = [sa.column(name, column.declared) for name, column in there.items()]
    if spec.table is not None:
        schema, _, name = spec.table.rpartition(".")
        return sa.table(name, *named, schema=schema or None)
    return sa.text(_bare(spec.query or "").replace(":", "\\:") + "\n").columns(*named).subquery("source")


def _bare(query: str) -> str:
    return query.strip().rstrip(";")
