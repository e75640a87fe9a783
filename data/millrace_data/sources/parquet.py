"""Parquet files as a source: one file, a folder or a pattern, read in the order of their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds

from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import TimeRange
from millrace_data.objects.faults import explained, listing, unchanged
from millrace_data.objects.filesystem import open_filesystem
from millrace_data.sources import columns, row_groups
from millrace_data.sources.columns import Place
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.files import Found, find, partitioning
from millrace_data.sources.pinned import File, PinnedFiles
from millrace_data.sources.reading import Reading

URI_FIELD: Final = "spec.source.parquet.uri"


class ParquetSource:
    """Implements ``history.HistorySource`` over a fixed list of files, whose footers have been read.

    Args:
        uri: of all files, for errors; ``field`` is where it came from.
        files: that the fragments were opened with.
        fragments: the files, in the order in which they are read.
        reading: of the needed columns, those of the folders' names included.
        columns: type of every column, needed or not.
        kept: by the path of a file which of its rows are there; all of what is not said.
    """

    def __init__(
        self,
        uri: str,
        field: str,
        files: PinnedFiles,
        fragments: Sequence[ds.ParquetFileFragment],
        reading: Reading,
        columns: Mapping[str, str],
        kept: Mapping[str, pa.BooleanArray] = MappingProxyType({}),
    ) -> None:
        self.columns = columns
        self._kept = kept
        self._uri = uri
        self._field = field
        self._files = files
        self._fragments = fragments
        self._reading = reading

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """Batches of the columns; row groups outside the window are not read."""
        with unchanged(self._uri, self._field), explained(self._uri, self._field), self._files.reading() as read:
            groups = self._groups(time_range, read)
            yield from row_groups.stream(groups, self._files, self._reading, columns, self._kept)

    def _groups(self, time_range: TimeRange, read: list[File]) -> Iterator[ds.ParquetFileFragment]:
        for fragment in self._fragments:
            if groups := row_groups.within(fragment, self._reading, time_range):
                read.append(File(fragment.filesystem, fragment.path))
                yield from groups


def open_source(definition: Definition, credentials: Credentials) -> tuple[ParquetSource, pa.Schema]:
    """Opens a view's files and checks that they hold what the definition says.

    Raises:
        NotFoundError: the file, folder or bucket is not there, or there is no Parquet file in it.
        RejectError: access is denied, a file is corrupt, a column is not there or has another type.
        RetryError: the storage cannot be reached, or a file changed or went meanwhile.
    """
    if definition.source.parquet is None:  # opening.py chooses the module by the kind of the source
        raise ReportError(f"feature view {definition.view!r} has no Parquet source")
    uri = definition.source.parquet.uri
    system, path = open_filesystem(uri, credentials, URI_FIELD)
    ask = listing(system, path.partition("*")[0].rstrip("/"))
    with explained(uri, URI_FIELD, ask=ask):
        found = find(uri, system, path, URI_FIELD)
    folders = partitioning(definition, found, URI_FIELD)
    files = PinnedFiles(uri, URI_FIELD, credentials.door)
    with unchanged(uri, URI_FIELD), explained(uri, URI_FIELD, ask=ask):
        fragments = files.fragments([File(system, each, folders.of(each)) for each in found.paths])
        own = {name for each in fragments for name in each.physical_schema.names}
        wider = partitioning(definition, Found("", found.paths), URI_FIELD, without=own - set(folders.schema.names))
        if len(wider.schema) > len(folders.schema):
            folders = wider
            fragments = files.fragments([File(system, each, folders.of(each)) for each in found.paths])
    places = [
        Place(each.path, _with(each.physical_schema, folders.schema), partial(_holds_nothing, each))
        for each in fragments
    ]
    reading = columns.checked(definition, places, address=uri)
    return ParquetSource(uri, URI_FIELD, files, fragments, reading, columns.types(places)), reading.schema


def _with(schema: pa.Schema, folders: pa.Schema) -> pa.Schema:
    # A folder's name wins over a column of the same name within, as it does for other readers.
    own = [field for field in schema if field.name not in folders.names]
    return pa.schema([*own, *folders])


def _holds_nothing(fragment: ds.ParquetFileFragment, column: str) -> bool:
    """Whether a file has no rows, or its statistics say that a column is null in every one."""
    metadata = fragment.metadata
    if not metadata.num_rows:  # then there need not be statistics
        return True
    places = [i for i in range(metadata.num_columns) if metadata.schema.column(i).path == column]
    if len(places) != 1:
        return False
    for number in range(metadata.num_row_groups):
        chunk = metadata.row_group(number).column(places[0])
        known = chunk.statistics
        if known is None or not known.has_null_count or known.null_count < metadata.row_group(number).num_rows:
            return False
    return True
