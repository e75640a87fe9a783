"""The files of a cell log: Parquet files of rows, and logs that list them (``millrace_core.features.windows.cells``).

A file is whole or not there, and never changed. What is there and cannot be used is a warning: the source has its rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from millrace_core.base.errors import SourceChangedError
from millrace_core.features.windows import cells
from millrace_core.features.windows.cells import CellRange, RunLog
from millrace_data.objects.faults import explained, of_store
from millrace_data.objects.filesystem import open_filesystem
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.pinned import AT_ONCE, File, PinnedFiles

logger = logging.getLogger(__name__)

URI_FIELD: Final = "spec.aggregation.partials.uri"
# Rows and bytes of a row group.
_ROWS: Final = 131_072
_BYTES: Final = 32 << 20


class CellFiles:
    """The folder of one view's cell logs, and below it ``<meaning>/<shard>-of-<shards>/``.

    Raises:
        RejectError: the URI is wrong, or access is denied. NotFoundError: there is no such bucket. RetryError: the
        storage cannot be reached.
    """

    def __init__(self, uri: str, folder: str, credentials: Credentials) -> None:
        self.uri = uri
        self.pinned = PinnedFiles(uri, URI_FIELD, credentials.door)
        self._system, root = open_filesystem(uri, credentials, URI_FIELD)
        self._folder = f"{root.rstrip('/')}/{folder}"

    def names(self) -> dict[str, list[str]]:
        """Names of all files, by the folder below this one that they are in."""
        with explained(self.uri, URI_FIELD):
            inside = self._system.get_file_info(fs.FileSelector(self._folder, allow_not_found=True, recursive=True))
        found: dict[str, list[str]] = {}
        for info in inside:
            if info.type == fs.FileType.File:
                folder, _, name = info.path[len(self._folder) + 1 :].rpartition("/")
                found.setdefault(folder, []).append(name)
        return found

    def log(self, folder: str, names: Iterable[str], began: int) -> RunLog | None:
        """The newest log of runs that began by then."""
        beginnings = (cells.beginning(name) for name in names if cells.is_log(name))
        for each in sorted((at for at in beginnings if at is not None and at <= began), reverse=True):
            path = self._path(folder, cells.log_name(each))
            try:
                with self._system.open_input_stream(path) as stream:
                    return cells.read(stream.read())
            except (OSError, ValueError) as error:
                self._refused(path, error)
        return None

    def readable(self, folder: str, pieces: Sequence[CellRange], columns: Sequence[str]) -> dict[str, Any]:
        """The files of pieces, opened; those that are not what they were written as are left out."""
        rows = {piece.file: piece.rows for piece in pieces if piece.file}

        def opened(file: str) -> ds.ParquetFileFragment | None:
            path = self._path(folder, file)
            try:
                (fragment,) = self.pinned.fragments([File(self._system, path)])
            except (OSError, pa.ArrowException) as error:
                self._refused(path, error)
                return None
            if fragment.metadata.num_rows != rows[file] or not set(columns) <= set(fragment.physical_schema.names):
                logger.warning("%s is another file than was written there; the source is read instead", path)
                return None
            return fragment

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return {file: found for file, found in zip(rows, pool.map(opened, rows), strict=True) if found is not None}

    @contextmanager
    def reading(self, fragment: ds.ParquetFileFragment) -> Iterator[None]:
        """While rows of a file are read. One that cannot be is removed, so that the next attempt asks the source.

        Raises:
            SourceChangedError: it cannot be read, or is gone.
        """
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            if not of_store(error):
                with suppress(OSError):
                    self._system.delete_file(fragment.path)
            raise SourceChangedError(
                f"{fragment.path} could not be read: {_first_line(error)}",
                hint="Run it again; what cannot be read here is read from the source",
                field=URI_FIELD,
            ) from error

    def write_log(self, folder: str, log: RunLog) -> None:
        """Writes a log. What it lists is there before."""
        with self.writing(folder, cells.log_name(log.began)) as sink, explained(self.uri, URI_FIELD):
            sink.write(cells.write(log))

    @contextmanager
    def writing(self, folder: str, name: str) -> Iterator[Any]:
        """A stream into a new file, which is there when that ends well."""
        path = self._path(folder, name)
        local = isinstance(self._system, fs.LocalFileSystem)
        partial = self._path(folder, f".{name}") if local else path
        with explained(self.uri, URI_FIELD):
            if local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            sink = self._system.open_output_stream(partial)
        try:
            yield sink
            with explained(self.uri, URI_FIELD):
                sink.close()  # an object is there once it is closed
                if local:
                    Path(partial).replace(path)
        except BaseException:
            with suppress(OSError):
                sink.close()
                self._system.delete_file(partial)
            raise

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Removes files; what cannot be removed waits for the next run."""
        try:
            for name in names:
                with suppress(FileNotFoundError):
                    self._system.delete_file(self._path(folder, name))
        except OSError as error:
            logger.warning("files in %s could not be removed: %s", self._path(folder, ""), _first_line(error))

    def _path(self, folder: str, name: str) -> str:
        return f"{self._folder}/{folder}/{name}"

    def _refused(self, path: str, error: Exception) -> None:
        """Says that a file is not used.

        Raises:
            MillraceError: instead, where it is the network's fault.
        """
        if of_store(error):
            with explained(self.uri, URI_FIELD):
                raise error
        logger.warning("%s cannot be used, and the source is read instead: %s", path, _first_line(error))


class CellWriter:
    """Writes rows into a file while they pass by, in row groups.

    Args:
        sink: stream into the file.
        declared: types of columns of which the source does not tell any, because there are nulls alone.
    """

    def __init__(self, sink: Any, declared: Mapping[str, pa.DataType]) -> None:
        self.rows = 0
        self.failure: str | None = None
        self._sink = sink
        self._declared = declared
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes rows; of those that do not go into one file with the others ``failure`` tells."""
        if self.failure is not None or not batch.num_rows:
            return
        try:
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._sink, self._schema(batch.schema), compression="zstd")
            schema = self._writer.schema
            self._waiting.append(batch if batch.schema.equals(schema) else batch.cast(schema))
            self.rows += batch.num_rows
            if sum(each.num_rows for each in self._waiting) >= _ROWS or sum(map(_size, self._waiting)) >= _BYTES:
                self._flush()
        except pa.ArrowException as error:
            self.failure = _first_line(error)

    def __enter__(self) -> CellWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and self._writer is not None:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()  # or it would do so later, when there is nothing to write to

    def close(self) -> None:
        """Writes what is left."""
        if self._writer is None:
            return
        try:
            if self.failure is None:
                self._flush()
            self._writer.close()
        except pa.ArrowException as error:
            self.failure = _first_line(error)

    def _flush(self) -> None:
        if self._writer is not None and self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting), _ROWS)
        self._waiting = []

    def _schema(self, came: pa.Schema) -> pa.Schema:
        return pa.schema(
            [
                field.with_type(self._declared.get(field.name, field.type)) if pa.types.is_null(field.type) else field
                for field in came
            ]
        )


def _size(batch: pa.RecordBatch) -> int:
    return int(batch.nbytes)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
