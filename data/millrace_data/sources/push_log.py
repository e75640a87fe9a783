"""The log of pushed rows: Parquet files that are only ever added, one per push; it is the history of a ``push`` source.

A file is named by the push's id, so a push that is sent again adds nothing, and says in its metadata when it was
appended (``millrace.appended``, microseconds): files are read in that order. A file is whole or not there.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.types.conform import ARROW
from millrace_data.objects.faults import explained, listing, missing, unchanged
from millrace_data.objects.filesystem import open_filesystem
from millrace_data.sources import columns
from millrace_data.sources.columns import Place
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.parquet import ParquetSource
from millrace_data.sources.pinned import File, PinnedFiles

URI_FIELD: Final = "spec.source.push.uri"
_APPENDED: Final = b"millrace.appended"


class PushLog:
    """The log of one view.

    Raises:
        RejectError: the URI is wrong. ReportError: the view has no ``push`` source.
    """

    def __init__(self, definition: Definition, credentials: Credentials) -> None:
        self._definition = definition
        self._uri = _uri(definition)
        self._system, self._folder = open_filesystem(self._uri, credentials, URI_FIELD)

    @property
    def schema(self) -> pa.Schema:
        """Columns of the log, those that the definition reads, with the types that it declares."""
        return log_schema(self._definition)

    def append(self, rows: pa.Table, push_id: str, now: int) -> bool:
        """Adds rows.

        Args:
            rows: of ``schema``; columns that are not required may be absent.
            push_id: what tells this push from others.
            now: the present moment, microseconds.

        Returns:
            False where a push of this id is there already, and nothing was added.

        Raises:
            RejectError: access is denied. RetryError: the storage cannot be reached.
        """
        path = f"{self._folder}/{sha256(push_id.encode()).hexdigest()}.parquet"
        with explained(self._uri, URI_FIELD):
            if self._system.get_file_info(path).type != fs.FileType.NotFound:
                return False
            content = io.BytesIO()
            metadata = {**(rows.schema.metadata or {}), _APPENDED: str(now).encode()}
            pq.write_table(rows.replace_schema_metadata(metadata), content)
            self._put(path, content.getvalue())
        return True

    def _put(self, path: str, content: bytes) -> None:
        if not isinstance(self._system, fs.LocalFileSystem):
            with self._system.open_output_stream(path) as stream:  # an object is there once it is closed
                stream.write(content)
            return
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        partial = Path(f"{self._folder}/.{uuid4().hex}")
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # what was acknowledged outlives the machine's failure, and is never half there
        partial.replace(path)


def log_schema(definition: Definition) -> pa.Schema:
    """Join keys, times and source columns that a definition reads, with the types that it declares.

    A column whose type only its rows tell (a row filter's, for one) is not in it.
    """
    fields: dict[str, pa.DataType] = {key.name: ARROW[key.type] for key in definition.entities}
    fields[definition.timestamp_field] = ARROW["timestamp"]
    if definition.created_field is not None:
        fields.setdefault(definition.created_field, ARROW["timestamp"])
    for feature in definition.features:
        if feature.source_column and feature.source_column.type:
            fields.setdefault(feature.source_column.column, ARROW[feature.source_column.type])
    return pa.schema(list(fields.items()))


def open_source(definition: Definition, credentials: Credentials) -> tuple[ParquetSource, pa.Schema]:
    """Opens a view's log; one into which nothing was pushed yet has no rows.

    Raises:
        NotFoundError: there is no such bucket. RejectError: access is denied, a file is corrupt, or a column has
        another type. RetryError: the storage cannot be reached.
    """
    uri = _uri(definition)
    system, folder = open_filesystem(uri, credentials, URI_FIELD)
    with explained(uri, URI_FIELD, ask=listing(system, folder)):
        inside = system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        if not inside and uri.startswith("s3:") and not _exists(system, folder.partition("/")[0]):
            raise missing(uri, URI_FIELD)
        paths = sorted(info.path for info in inside if info.extension == "parquet" and info.type == fs.FileType.File)
    files = PinnedFiles(uri, URI_FIELD, credentials.door)
    with unchanged(uri, URI_FIELD), explained(uri, URI_FIELD):
        fragments = files.fragments([File(system, path) for path in paths])
    fragments.sort(key=_appended)
    places = [Place(fragment.path, fragment.physical_schema) for fragment in fragments]
    reading = columns.checked(definition, [*places, Place(uri, _declared(definition, places))], address=uri)
    return ParquetSource(uri, URI_FIELD, files, fragments, reading, columns.types(places)), reading.schema


def _exists(system: fs.FileSystem, path: str) -> bool:
    return bool(system.get_file_info(path).type != fs.FileType.NotFound)


def _declared(definition: Definition, places: Sequence[Place]) -> pa.Schema:
    """All needed columns, so that a log without any row, or without some column, can be read; as they were written."""
    fields = {name: pa.field(name, pa.null()) for name in columns.needed(definition)}
    for schema in [log_schema(definition), *(place.schema for place in places)]:
        fields.update({field.name: field for field in schema if field.name in fields})
    return pa.schema(list(fields.values()))


def _appended(fragment: ds.ParquetFileFragment) -> tuple[int, str]:
    metadata = fragment.metadata.metadata or {}
    return int(metadata.get(_APPENDED, b"0")), fragment.path


def _uri(definition: Definition) -> str:
    if definition.source.push is None:
        raise ReportError(
            f"feature view {definition.view!r} keeps no log of pushed rows",
            hint="Give it spec.source.push",
            field="spec.source",
            reason="NoPushLog",
        )
    return definition.source.push.uri
