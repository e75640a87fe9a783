"""Parquet files as a source: one file, a folder or a pattern, read in the order of their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import TimeRange
from millrace_data.objects.faults import explained, listing, unchanged
from millrace_data.objects.filesystem import open_filesystem
from millrace_data.sources import bounds, columns, row_groups
from millrace_data.sources.columns import Place
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.files import find, partitioning

URI_FIELD: Final = "spec.source.parquet.uri"

FORMAT: Final = ds.ParquetFileFormat()


class ParquetSource:
    """Implements ``history.HistorySource`` over a fixed list of files, whose footers have been read.

    Args:
        definition: of the view.
        uri: of all files, for errors; ``field`` is where it came from.
        fragments: the files, in the order in which they are read.
        schema: of the needed columns, those of the folders' names included.
        columns: type of every column, needed or not.
        kept: by the path of a file which of its rows are there; all of what is not said.
    """

    def __init__(
        self,
        definition: Definition,
        uri: str,
        field: str,
        fragments: Sequence[ds.ParquetFileFragment],
        schema: pa.Schema,
        columns: Mapping[str, str],
        kept: Mapping[str, pa.BooleanArray] = MappingProxyType({}),
    ) -> None:
        self.columns = columns
        self._kept = kept
        self._uri = uri
        self._field = field
        self._timestamp = definition.timestamp_field
        self._created = definition.created_field
        self._fragments = fragments
        self._schema = schema

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """Batches of the columns; row groups outside the window are not read."""
        within = bounds.of_rows(self._timestamp, self._created, self._schema, time_range)
        with unchanged(self._uri, self._field), explained(self._uri, self._field):
            yield from row_groups.stream(self._groups(within), self._schema, columns, self._kept)

    def _groups(self, within: pc.Expression) -> Iterator[ds.ParquetFileFragment]:
        for fragment in self._fragments:
            yield from fragment.split_by_row_group(within, self._schema)


def open_source(definition: Definition, credentials: Credentials) -> tuple[ParquetSource, pa.Schema]:
    """Opens a view's files and checks that they hold what the definition says.

    Raises:
        NotFoundError: the file, folder or bucket is not there, or there is no Parquet file in it.
        RejectError: access is denied, a file is corrupt, a column is not there or has another type.
        RetryError: the storage cannot be reached.
    """
    if definition.source.parquet is None:  # opening.py chooses the module by the kind of the source
        raise ReportError(f"feature view {definition.view!r} has no Parquet source")
    uri = definition.source.parquet.uri
    system, path = open_filesystem(uri, credentials, URI_FIELD)
    with explained(uri, URI_FIELD, ask=listing(system, path.partition("*")[0].rstrip("/"))):
        paths = find(uri, system, path, URI_FIELD)
        folders = partitioning(definition, paths, URI_FIELD)
        fragments = [FORMAT.make_fragment(each, system, folders.of(each)) for each in paths]
        read_footers(fragments)
    return checked_source(definition, uri, URI_FIELD, paths, fragments, folders.schema)


def read_footers(fragments: Sequence[ds.ParquetFileFragment]) -> None:
    """Reads the metadata of many files, side by side."""
    with ThreadPoolExecutor(row_groups.AT_ONCE) as pool:
        list(pool.map(lambda fragment: fragment.ensure_complete_metadata(), fragments))


def checked_source(
    definition: Definition,
    uri: str,
    field: str,
    paths: Sequence[str],
    fragments: Sequence[ds.ParquetFileFragment],
    folders: pa.Schema,
) -> tuple[ParquetSource, pa.Schema]:
    """The source over these files, once their columns fit; ``folders`` are the columns of folders' names."""
    places = [
        Place(path, _with(fragment.physical_schema, folders)) for path, fragment in zip(paths, fragments, strict=True)
    ]
    schema = columns.checked(definition, places, address=uri)
    return ParquetSource(definition, uri, field, fragments, schema, columns.types(places)), schema


def _with(schema: pa.Schema, folders: pa.Schema) -> pa.Schema:
    # A folder's name wins over a column of the same name within, as it does for other readers.
    own = [field for field in schema if field.name not in folders.names]
    return pa.schema([*own, *folders])
