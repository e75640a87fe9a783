"""An Iceberg table as a source: the files of one snapshot of it, in the order of their paths.

Deletes that other engines keep beside the data (by position, or as bitmaps) are applied; those by value are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, Final, cast

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.table import Table

from millrace_core.api.source import IcebergSourceSpec as Spec
from millrace_core.api.source import TimeUnit
from millrace_core.base.errors import NotFoundError, ReportError, RetryError
from millrace_core.base.timeouts import CONNECT_SECONDS, IDLE_SECONDS
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import TimeRange
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.filesystem import ATTEMPTS, endpoint
from millrace_data.sources import bounds, columns, iceberg_door, iceberg_files
from millrace_data.sources.columns import Place
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.iceberg_errors import FIELD, explained
from millrace_data.sources.pinned import PinnedFiles
from millrace_data.sources.reading import Reading

# How long a catalog may take to load a table.
_SECONDS: Final = 60.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class IcebergSource:
    """Implements ``history.HistorySource`` over one snapshot of a table.

    Args:
        table: whichever snapshot is its newest.
        snapshot: the one that is read; None of a table into which nothing was ever written.
        kinds: types of the table's columns.
        reading: of the needed columns.
        columns: type of every column, needed or not.
        door: says which local files may be read.
    """

    def __init__(
        self,
        table: Table,
        snapshot: int | None,
        kinds: pa.Schema,
        reading: Reading,
        columns: Mapping[str, str],
        door: Door = OPEN,
    ) -> None:
        self.columns = columns
        self._table = table
        self._snapshot = snapshot
        self._files = PinnedFiles(".".join(table.name()), FIELD, door)
        self._reading = reading
        self._kinds = kinds

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """Batches of the columns, file by file; files outside the window are not read."""
        if self._snapshot is None:
            return
        with explained(".".join(self._table.name()), opened=True):
            scan = self._table.scan(
                row_filter=self._within(time_range), selected_fields=tuple(columns), snapshot_id=self._snapshot
            )
            yield from iceberg_files.stream(scan, self._files, self._reading, columns, time_range)

    def _within(self, time_range: TimeRange) -> BooleanExpression:
        reading = self._reading
        # Their declared arguments are those of a model, not of the constructor.
        at_least, at_most = cast("Any", GreaterThanOrEqual), cast("Any", LessThanOrEqual)
        found: BooleanExpression = AlwaysTrue()
        for column, compare, microseconds in (
            (reading.timestamp, at_least, time_range.earliest),
            (reading.timestamp, at_most, time_range.latest),
            (reading.created, at_least, time_range.created_after),
        ):
            bound = (
                None
                if microseconds is None or column is None
                else self._bound(column, microseconds, last=compare is at_most)
            )
            if bound is not None:
                found = And(found, compare(*bound))
        return found

    def _bound(self, column: str, microseconds: int, *, last: bool) -> tuple[str, str | int] | None:
        """A column and a literal for it; None where that end is better left open.

        Filters know columns by the names that the table has now, snapshots by those that they were written with.
        """
        literal = _literal(self._kinds.field(column).type, microseconds, self._reading.units.get(column), last=last)
        field = self._table.scan(snapshot_id=self._snapshot).projection().find_field(column).field_id
        name = self._table.schema().find_column_name(field)
        return None if name is None or literal is None else (name, literal)


def _literal(kind: pa.DataType, microseconds: int, unit: TimeUnit | None, *, last: bool) -> str | int | None:
    """As Iceberg writes literals of time; None where it has none."""
    if unit is not None and pa.types.is_int64(kind):
        return bounds.count(microseconds, unit, last=last)
    if not pa.types.is_timestamp(kind) or kind.unit != "us":
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return moment.isoformat() if kind.tz is not None else moment.replace(tzinfo=None).isoformat()


def open_source(definition: Definition, credentials: Credentials) -> tuple[IcebergSource, pa.Schema]:
    """Opens one snapshot of a view's table: the one that the spec names, or the newest.

    Raises:
        NotFoundError: there is no such table or snapshot. RejectError: access is denied, or a column does not fit.
        RetryError: the catalog or the storage cannot be reached.
    """
    spec = definition.source.iceberg
    if spec is None:  # opening.py chooses the module by the kind of the source
        raise ReportError(f"feature view {definition.view!r} has no Iceberg source")
    with explained(spec.table, opened=False):
        table = _in_time(lambda: _table(spec, credentials))
        snapshot = _snapshot(spec, table)
        kinds = table.scan(snapshot_id=snapshot).projection().as_arrow()
    places = [Place(spec.table, kinds)]
    reading = columns.checked(definition, places, address=spec.table)
    source = IcebergSource(table, snapshot, kinds, reading, columns.types(places), credentials.door)
    return source, reading.schema


def _table(spec: Spec, credentials: Credentials) -> Table:
    properties = _properties(spec, credentials)
    if credentials.door.guarded:
        return iceberg_door.catalog(spec, properties, credentials).load_table(spec.table)
    return load_catalog(spec.catalog.name, **properties).load_table(spec.table)


def _in_time(call: Callable[[], Table]) -> Table:
    """The call's result. The client of REST catalogs knows no timeout; the thread of one that hangs is left behind.

    Raises:
        RetryError: there was none within a minute.
    """
    answer: Future[Table] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except Exception as error:  # handed to whoever waits
            answer.set_exception(error)

    Thread(target=run, name="iceberg-catalog", daemon=True).start()
    done, _ = wait([answer], _SECONDS)
    if not done:
        raise RetryError(
            f"the catalog gives no answer within {_SECONDS:g} s",
            hint="Check that it is up and reachable",
            field=f"{FIELD}.catalog",
            reason="SourceUnavailable",
        )
    return answer.result()


def _snapshot(spec: Spec, table: Table) -> int | None:
    if spec.snapshot_id is not None:
        if table.snapshot_by_id(spec.snapshot_id) is None:
            raise NotFoundError(
                f"table {spec.table} has no snapshot {spec.snapshot_id}",
                hint="Leave snapshotId out for the newest",
                field=f"{FIELD}.snapshotId",
                reason="SourceNotFound",
            )
        return spec.snapshot_id
    newest = table.current_snapshot()
    return None if newest is None else newest.snapshot_id


def _properties(spec: Spec, credentials: Credentials) -> Mapping[str, Any]:
    """Names: https://py.iceberg.apache.org/configuration/."""
    endpoint(credentials.endpoint_url)
    uri = credentials.iceberg_uri or spec.catalog.uri
    known = {
        "type": spec.catalog.type,
        "uri": uri,
        "warehouse": spec.catalog.warehouse,
        "token": credentials.iceberg_token,
        "credential": credentials.iceberg_credential,
        "scope": credentials.iceberg_scope,
        "oauth2-server-uri": credentials.iceberg_oauth2_uri or f"{(uri or '').rstrip('/')}/v1/oauth/tokens",
        # Whoever reads a catalog makes none.
        "init_catalog_tables": "false",
        # Those of a client are S3's and Glue's; keys that a catalog hands out for a table come before them.
        "client.access-key-id": credentials.access_key_id,
        "client.secret-access-key": credentials.secret_access_key,
        "client.session-token": credentials.session_token,
        "client.region": credentials.region,
        "s3.endpoint": credentials.endpoint_url,
        "glue.endpoint": credentials.endpoint_url,
        "s3.connect-timeout": str(CONNECT_SECONDS),
        "s3.request-timeout": str(IDLE_SECONDS),
        "glue.max-retries": ATTEMPTS,
    }
    return {name: value for name, value in known.items() if value}
