"""Rows on the pod's own volume, until they are in the lake.

A segment is one file, ``<sequence>-<hour>.spool``, that becomes one file of the lake. It is a list of blocks, each::

    4 bytes magic · 4 bytes CRC-32 of the content · 8 bytes its length · content: one Arrow IPC stream

all little-endian. A block is there whole or not at all: what a crash cut off is not read. Blocks of one segment may
have other columns. A sequence is never given twice, though all segments of it have gone.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NamedTuple

import pyarrow as pa

from millrace_core.base.errors import RejectError, RetryError

_MAGIC: Final = b"MRS1"
_HEAD: Final = struct.Struct("<4sIQ")
_NAME: Final = re.compile(r"(\d{8,})-(\d+)\.spool")
_SEQUENCE: Final = "sequence"


class Segment(NamedTuple):
    """One file of the spool. ``hour`` is that of its rows, in hours since 1970."""

    sequence: int
    hour: int
    path: Path

    @property
    def bytes(self) -> int:
        """Its size; 0 where it has gone."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


class Spool:
    """The segments of one folder, of which one process at a time is the writer.

    Args:
        folder: is made where it is not there.
        field: the setting that names it.

    Raises:
        RejectError: the folder cannot be written. RetryError: another process writes there.
    """

    def __init__(self, folder: Path, field: str = "MILLRACE_LOG_SPOOL") -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = (folder / "lock").open("ab")
        except OSError as error:
            raise RejectError(
                f"the spool {folder} cannot be written: {error.strerror}", field=field, reason="BadSpool"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RetryError(f"another process writes to the spool {folder}", field=field) from error
        self._file: IO[bytes] | None = None
        self._open: Segment | None = None

    @property
    def open(self) -> Segment | None:
        """The segment that is written to."""
        return self._open

    def append(self, rows: pa.Table, hour: int) -> int:
        """Adds rows of one hour to the open segment, on disk when this returns; how large the segment is now, in bytes.

        A segment of another hour is closed before.

        Raises:
            OSError: it cannot be written; nothing is left of the rows.
        """
        if self._open is not None and self._open.hour != hour:
            self.close_segment()
        if self._file is None:
            self._begin(hour)
        file = self._file
        assert file is not None  # noqa: S101 for the type checker
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        content = sink.getvalue()
        began = file.tell()
        try:
            _write(file, _HEAD.pack(_MAGIC, zlib.crc32(content), content.size))
            _write(file, content)
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.seek(began)
                file.truncate(began)
            raise
        return file.tell()

    @property
    def last(self) -> int:
        """The sequence that was given last; 0: none was."""
        last = max((each.sequence for each in self._segments()), default=0)
        with suppress(FileNotFoundError, ValueError):
            last = max(last, int((self._folder / _SEQUENCE).read_text()))
        return last

    def close_segment(self) -> None:
        """Nothing more comes into the open segment."""
        if self._file is not None:
            self._file.close()
        self._file = self._open = None

    def closed(self) -> list[Segment]:
        """The segments that nothing more comes into, oldest first."""
        return [each for each in self._segments() if each != self._open]

    def bytes(self) -> int:
        """All that the spool takes."""
        return sum(each.bytes for each in self._segments())

    def remove(self, segment: Segment) -> None:
        """Its rows are in the lake, or given up."""
        segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets another process write here."""
        self.close_segment()
        self._lock.close()

    def segments(self) -> list[Segment]:
        """All of them, oldest first."""
        return self._segments()

    def _segments(self) -> list[Segment]:
        found = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        return sorted(Segment(int(name[1]), int(name[2]), path) for name, path in found if name)

    def _begin(self, hour: int) -> None:
        sequence = self._next()
        path = self._folder / f"{sequence:08d}-{hour}.spool"
        self._file = path.open("xb", buffering=0)
        self._open = Segment(sequence, hour, path)

    def _next(self) -> int:
        """A sequence that was never given; it counts as given from now on."""
        noted, last = self._folder / _SEQUENCE, self.last
        partial = self._folder / f"{_SEQUENCE}.new"
        with partial.open("w") as file:
            file.write(str(last + 1))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(noted)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return last + 1


def _write(file: IO[bytes], content: bytes | pa.Buffer) -> None:
    """Writes all of it: where a disk gets full, a write takes the beginning alone, and only the next one fails."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def read(path: Path) -> Iterator[pa.Table]:
    """The blocks of a segment, up to the first that is not whole."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, check, length = _HEAD.unpack(head)
            if magic != _MAGIC or length > path.stat().st_size:
                return
            content = file.read(length)
            if len(content) != length or zlib.crc32(content) != check:
                return
            yield pa.ipc.open_stream(content).read_all()


def rows(path: Path) -> int:
    """How many rows a segment has."""
    return sum(block.num_rows for block in read(path))
