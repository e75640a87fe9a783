"""The one place where data files of sources are opened, each held to the version that it had at first.

A computation reads its files several times: their footers, then times and keys, then features. Two files of which one
was put over the other between these would give rows that no version of the source ever had. So a file's version is
taken before its footer is read, compared with every opening after that, and once more at the end of each pass.

What tells versions apart: of local files inode, size and time of modification; of objects whatever the store says of
them (for S3 size, ETag, version id and time); elsewhere size and time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from millrace_core.base.errors import SourceChangedError
from millrace_data.objects.door import OPEN, Door

FORMAT: Final = ds.ParquetFileFormat()
# Files at once: each is a round trip where they are far away.
AT_ONCE: Final = 16


class File(NamedTuple):
    """A Parquet file; ``known`` is what its folders or its table say of every row."""

    system: fs.FileSystem
    path: str
    known: pc.Expression | None = None


class _Version(NamedTuple):
    size: int
    marks: tuple[Any, ...]


class PinnedFiles:
    """The files of one source, as they were when each was first opened.

    Args:
        uri: of all files, for errors.
        field: where the URI came from.
        door: says which local files may be read, whatever links lead there.
    """

    def __init__(self, uri: str, field: str, door: Door = OPEN) -> None:
        self._uri = uri
        self._field = field
        self._door = door
        self._versions: dict[str, _Version] = {}

    def fragments(self, files: Sequence[File]) -> list[ds.ParquetFileFragment]:
        """The files with their footers, read side by side.

        Raises:
            SourceChangedError: one is no longer what it was at first. FileNotFoundError: one is not there. Otherwise
            as Arrow.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._fragment, files))

    def open(self, fragment: ds.ParquetFileFragment) -> pa.NativeFile:
        """The file of a fragment, opened to be read.

        Raises:
            SourceChangedError: it is no longer what it was at first. Otherwise as Arrow.
        """
        self._allow(fragment.filesystem, fragment.path)
        file, version = _opened(fragment.filesystem, fragment.path)
        self._compare(fragment.path, version)
        return file

    def pin(self, system: fs.FileSystem, path: str) -> int:
        """Holds a file to the version that it has now, or had at first; its size.

        Raises:
            SourceChangedError: it has another than at first. Otherwise as Arrow.
        """
        self._allow(system, path)
        version = _version(system, path)
        self._compare(path, version)
        return version.size

    def _allow(self, system: fs.FileSystem, path: str) -> None:
        if isinstance(system, fs.LocalFileSystem):
            self._door.file(path, self._field)

    @contextmanager
    def reading(self) -> Iterator[list[File]]:
        """One pass. Whoever reads appends the files that are read; at the end they must be what they were at first.

        Raises:
            SourceChangedError: one is not, or cannot be read because it is not.
        """
        read: list[File] = []
        try:
            yield read
        except (OSError, pa.ArrowException):
            self._check(read)  # what was written over may read as corrupt
            raise
        self._check(read)

    def _fragment(self, file: File) -> ds.ParquetFileFragment:
        size = self.pin(file.system, file.path)
        fragment = FORMAT.make_fragment(file.path, file.system, file.known, file_size=size)
        with self.reading() as read:
            read.append(file)
            fragment.ensure_complete_metadata()
        return fragment

    def _check(self, files: Iterable[File]) -> None:
        each = {file.path: file for file in files}.values()  # threads are for many round trips
        if len(each) <= 1 or all(isinstance(file.system, fs.LocalFileSystem) for file in each):
            for file in each:
                self._same(file)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._same, each))

    def _same(self, file: File) -> None:
        try:
            version = _version(file.system, file.path)
        except FileNotFoundError as error:
            raise self._changed(file.path) from error
        self._compare(file.path, version)

    def _compare(self, path: str, version: _Version) -> None:
        if self._versions.setdefault(path, version) != version:
            raise self._changed(path)

    def _changed(self, path: str) -> SourceChangedError:
        return SourceChangedError(
            f"{path}, of {self._uri}, was replaced, written over or deleted while it was read", field=self._field
        )


def _version(system: fs.FileSystem, path: str) -> _Version:
    if isinstance(system, fs.LocalFileSystem):
        return _of_status(Path(path).stat())
    file, version = _opened(system, path)
    file.close()
    return version


def _opened(system: fs.FileSystem, path: str) -> tuple[pa.NativeFile, _Version]:
    """A file and its version: of the very file that is open, where it is local."""
    if isinstance(system, fs.LocalFileSystem):
        local = pa.OSFile(path)
        return local, _of_status(os.fstat(local.fileno()))
    file = system.open_input_file(path)
    marks: tuple[Any, ...] = tuple(sorted(file.metadata().items()))
    if not marks:
        marks = (system.get_file_info(path).mtime_ns,)
    return file, _Version(file.size(), marks)


def _of_status(status: os.stat_result) -> _Version:
    return _Version(status.st_size, (status.st_ino, status.st_mtime_ns))
