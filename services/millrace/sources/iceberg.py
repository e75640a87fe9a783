"""An Iceberg table as a source: the files of one snapshot of it, in the order of their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pyarrow as pa
from pydantic import ValidationError as PydanticError
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import (
    ForbiddenError,
    NoSuchNamespaceError,
    NoSuchTableError,
    OAuthError,
    UnauthorizedError,
    ValidationError,
)
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import DataScan, Table

from millrace.api.source import IcebergSource as Spec
from millrace.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace.features.definition import Definition
from millrace.features.history import Window
from millrace.sources import columns
from millrace.sources.columns import Place
from millrace.sources.filesystem import CREDENTIALS_FIELD, Credentials

FIELD: Final = "spec.source.iceberg"
_ROWS: Final = 65_536
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class IcebergSource:
    """Implements ``history.Source`` over one snapshot of a table."""

    def __init__(
        self,
        table: Table,
        snapshot: int | None,
        timestamp_field: str,
        schema: pa.Schema,
        columns: Mapping[str, str],
    ) -> None:
        self.columns = columns
        self._table = table
        self._snapshot = snapshot
        self._timestamp = timestamp_field
        self._schema = schema

    def scan(self, columns: Sequence[str], window: Window) -> Iterator[pa.RecordBatch]:
        """Batches of the columns, file by file; files outside the window are not read."""
        if self._snapshot is None:  # a table into which nothing was ever written
            return
        wanted = pa.schema([self._schema.field(name) for name in columns])
        with _explained(self._table):
            scan = self._scan(columns, window)
            reader = ArrowScan(self._table.metadata, self._table.io, scan.projection(), scan.row_filter)
            for task in sorted(scan.plan_files(), key=lambda task: task.file.file_path):
                # One file at a time: the reader itself mixes the batches of several.
                for batch in reader.to_record_batches([task]):
                    table = pa.Table.from_batches([batch]).select(list(columns)).cast(wanted)
                    yield from table.to_batches(_ROWS)

    def _scan(self, columns: Sequence[str], window: Window) -> DataScan:
        return self._table.scan(
            row_filter=self._within(window), selected_fields=tuple(columns), snapshot_id=self._snapshot
        )

    def _within(self, window: Window) -> BooleanExpression:
        kind = self._schema.field(self._timestamp).type
        if not pa.types.is_timestamp(kind):
            return AlwaysTrue()
        zoned = kind.tz is not None
        low, high = _moment(window.earliest, zoned=zoned), _moment(window.latest, zoned=zoned)
        # Their declared arguments are those of a model, not of the constructor.
        at_least, at_most = cast("Any", GreaterThanOrEqual), cast("Any", LessThanOrEqual)
        found: BooleanExpression = AlwaysTrue()
        if low is not None:
            found = And(found, at_least(self._timestamp, low))
        if high is not None:
            found = And(found, at_most(self._timestamp, high))
        return found


def _moment(microseconds: int | None, *, zoned: bool) -> str | None:
    """As Iceberg writes literals of time; None where a datetime cannot say it, which leaves the end open."""
    if microseconds is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return moment.isoformat() if zoned else moment.replace(tzinfo=None).isoformat()


def open_source(definition: Definition, credentials: Credentials) -> tuple[IcebergSource, pa.Schema]:
    """Opens one snapshot of a view's table: the one that the spec names, or the newest.

    Raises:
        NotFoundError: there is no such table or snapshot. RejectError: access is denied, or a column does not fit.
        RetryError: the catalog or the storage cannot be reached.
    """
    spec = definition.source.iceberg
    if spec is None:  # the door opens by kind
        raise ReportError(f"feature view {definition.view!r} has no Iceberg source")
    with _explained(spec):
        table = load_catalog(spec.catalog.name, **_properties(spec, credentials)).load_table(spec.table)
        snapshot = _snapshot(spec, table)
        kinds = table.scan(snapshot_id=snapshot).projection().as_arrow()
    places = [Place(spec.table, kinds)]
    schema = columns.checked(definition, places, address=spec.table)
    return IcebergSource(table, snapshot, definition.timestamp_field, schema, columns.types(places)), schema


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


def _properties(spec: Spec, credentials: Credentials) -> Mapping[str, str]:
    """Names: https://py.iceberg.apache.org/configuration/."""
    known = {
        "type": spec.catalog.type,
        "uri": credentials.iceberg_uri or spec.catalog.uri,
        "warehouse": spec.catalog.warehouse,
        "token": credentials.iceberg_token,
        "credential": credentials.iceberg_credential,
        "s3.endpoint": credentials.endpoint_url,
        "s3.access-key-id": credentials.access_key_id,
        "s3.secret-access-key": credentials.secret_access_key,
        "s3.session-token": credentials.session_token,
        "s3.region": credentials.region,
    }
    return {name: value for name, value in known.items() if value}


@contextmanager
def _explained(subject: Spec | Table) -> Iterator[None]:
    name = subject.table if isinstance(subject, Spec) else ".".join(subject.name())
    try:
        yield
    except MillraceError:
        raise
    except Exception as error:  # its catalogs and storages each have errors of their own
        raise _error(name, error) from error


def _error(name: str, error: Exception) -> MillraceError:
    said: Any = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if isinstance(error, NoSuchTableError | NoSuchNamespaceError):
        return NotFoundError(
            f"the catalog has no table {name}: {said}",
            hint="Check catalog and name",
            field=f"{FIELD}.table",
            reason="SourceNotFound",
        )
    if isinstance(error, UnauthorizedError | ForbiddenError | OAuthError | PermissionError):
        return RejectError(
            f"access to table {name} is denied: {said}",
            hint="Check ICEBERG_TOKEN or ICEBERG_CREDENTIAL, and the AWS keys, in the Secret",
            field=CREDENTIALS_FIELD,
            reason="AccessDenied",
        )
    if isinstance(error, ValidationError | PydanticError | ValueError | NotImplementedError | ImportError):
        return RejectError(f"table {name} cannot be read: {said}", field=FIELD, reason="UnreadableTable")
    return RetryError(f"table {name} could not be read: {said}", field=FIELD, reason="SourceUnavailable")
