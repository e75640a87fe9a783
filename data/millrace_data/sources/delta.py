"""A Delta Lake table as a source: the files of one version of it, read as Parquet files are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyarrow import fs

from millrace_core.base.errors import NotFoundError, RejectError, ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import DescribedSource, TimeRange
from millrace_data.objects.faults import explained, missing, words
from millrace_data.objects.filesystem import open_filesystem
from millrace_data.sources import columns
from millrace_data.sources.columns import Place
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.parquet import ParquetSource
from millrace_data.sources.pinned import File, PinnedFiles

URI_FIELD: Final = "spec.source.delta.uri"
# What a table may ask of its readers.
_READER: Final = 3
_FEATURES: Final = frozenset(
    {"columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}
)
# And what it may ask for without having it: what shows in its schema where it has.
_WIDENED: Final = re.compile(r'"delta\.typeChanges"')
_VARIANT: Final = re.compile(r'"(type|elementType|keyType|valueType)"\s*:\s*"variant"')
_SHOWN_BY: Final[Mapping[str, re.Pattern[str]]] = {
    "typeWidening": _WIDENED,
    "typeWidening-preview": _WIDENED,
    "variantType": _VARIANT,
    "variantType-preview": _VARIANT,
    "variantShredding": _VARIANT,
    "variantShredding-preview": _VARIANT,
}
# Its own library takes such a name for that of another folder.
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")


class RenamedSource:
    """Implements ``history.HistorySource`` over one whose files call columns otherwise than the table does.

    Args:
        source: of the files.
        files: by the table's name of a column the files'.
        columns: type of every column of the table, needed or not.
    """

    def __init__(self, source: ParquetSource, files: Mapping[str, str], columns: Mapping[str, str]) -> None:
        self.columns = columns
        self._source = source
        self._files = files

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """The batches of the files, by the table's names."""
        for batch in self._source.scan([self._files[name] for name in columns], time_range):
            yield batch.rename_columns(list(columns))


def open_source(definition: Definition, credentials: Credentials) -> tuple[DescribedSource, pa.Schema]:
    """Opens one version of a view's table: the one that the spec names, or the newest.

    Raises:
        NotFoundError: there is no table, or no such version. RejectError: access is denied, the table uses what cannot
        be read, or a column does not fit. RetryError: the storage cannot be reached.
    """
    spec = definition.source.delta
    if spec is None:  # opening.py chooses the module by the kind of the source
        raise ReportError(f"feature view {definition.view!r} has no Delta source")
    with _explained(spec.uri, spec.version), explained(spec.uri, URI_FIELD):
        system, path = open_filesystem(spec.uri, credentials, URI_FIELD)
        _require_plain(path, spec.uri)
        # Its own library takes percent-encoded addresses alone.
        table = DeltaTable(f"{urlsplit(spec.uri).scheme}://{quote(path)}", spec.version, _options(credentials))
        _require_readable(table, spec.uri)
        whole = pa.schema(table.schema().to_arrow())
        names = {field.name: _in_files(field) for field in whole}
        pinned = PinnedFiles(spec.uri, URI_FIELD, credentials.door)
        fragments = pinned.fragments(_files(table, whole, names, system, path))
        kept = {f"{path}/{name}": rows for name, rows in _kept(table).items()}
    name = f"{spec.uri} (version {table.version()})"
    places = [Place(name, whole)]
    reading, types = columns.checked(definition, places, address=name), columns.types(places)
    if all(name == other for name, other in names.items()):
        return ParquetSource(spec.uri, URI_FIELD, pinned, fragments, reading, types, kept), reading.schema
    source = ParquetSource(spec.uri, URI_FIELD, pinned, fragments, reading.renamed(names), types, kept)
    return RenamedSource(source, names, types), reading.schema


def _require_plain(path: str, uri: str) -> None:
    if found := _ESCAPE.search(path):
        raise RejectError(
            f"{uri} has {found[0]} in the name of a folder, which Delta's library takes for an escaped character",
            hint="Rename the folder",
            field=URI_FIELD,
            reason="BadUri",
        )


def _require_readable(table: DeltaTable, uri: str) -> None:
    protocol = table.protocol()
    schema = table.schema().to_json()
    foreign = sorted(
        each
        for each in set(protocol.reader_features or ()) - _FEATURES
        if each not in _SHOWN_BY or _SHOWN_BY[each].search(schema)
    )
    if protocol.min_reader_version > _READER or foreign:
        asked = ", ".join(foreign) or f"version {protocol.min_reader_version} of the protocol"
        raise RejectError(
            f"{uri} asks its readers for {asked}, which is not known here",
            hint="Drop the feature from the table, or write it without",
            field=URI_FIELD,
            reason="UnreadableTable",
        )
    mapped = (table.metadata().configuration or {}).get("delta.columnMapping.mode", "none") != "none"
    if mapped and table.metadata().partition_columns:
        raise RejectError(
            f"{uri} is partitioned and maps its columns (delta.columnMapping.mode)",
            hint="Write it without one of the two",
            field=URI_FIELD,
            reason="UnreadableTable",
        )


def _in_files(field: pa.Field) -> str:
    """What a column is called in the files: another name where the table was renamed, or is ready to be."""
    physical = (field.metadata or {}).get(b"delta.columnMapping.physicalName")
    return str(field.name) if physical is None else str(physical.decode())


def _files(
    table: DeltaTable, whole: pa.Schema, names: Mapping[str, str], system: fs.FileSystem, root: str
) -> list[File]:
    """The table's files, in the order of their paths, with what their folders and statistics say."""
    physical = pa.schema([field.with_name(names[field.name]) for field in whole])
    files = table._table.dataset_partitions(physical, None)
    return [File(system, f"{root}/{path}", known) for path, known in sorted(files, key=itemgetter(0))]


def _kept(table: DeltaTable) -> dict[str, pa.BooleanArray]:
    """By path which rows of a file are there, of files with deletion vectors."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    root = unquote(table.table_uri).rstrip("/") + "/"
    return {
        unquote(row["filepath"].as_py()).removeprefix(root): row["selection_vector"].values
        for batch in table.deletion_vectors()
        for row in pa.record_batch(batch).to_struct_array()
    }


def _options(credentials: Credentials) -> dict[str, str]:
    """Names: https://docs.rs/object_store/latest/object_store/aws/enum.AmazonS3ConfigKey.html."""
    endpoint = credentials.endpoint_url
    options = {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "AWS_REGION": credentials.region,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true" if endpoint and urlsplit(endpoint).scheme == "http" else None,
        "AWS_SKIP_SIGNATURE": "true" if credentials.anonymous else None,
        "AWS_EC2_METADATA_DISABLED": "true" if credentials.door.guarded else None,
        "proxy_url": credentials.door.passage.url if credentials.door.guarded else None,
    }
    return {name: value for name, value in options.items() if value}


@contextmanager
def _explained(uri: str, version: int | None) -> Iterator[None]:
    try:
        yield
    except TableNotFoundError as error:
        raise missing(uri, URI_FIELD) from error
    except DeltaError as error:
        said = words(error)
        if version is not None and "version" in said.lower():
            raise NotFoundError(
                f"{uri} has no version {version}: {said}",
                hint="Leave version out for the newest",
                field="spec.source.delta.version",
                reason="SourceNotFound",
            ) from error
        raise RejectError(
            f"{uri} cannot be read as a Delta table: {said}",
            hint="Check the table with the engine that writes it",
            field=URI_FIELD,
            reason="UnreadableTable",
        ) from error
