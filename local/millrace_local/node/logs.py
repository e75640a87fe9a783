"""Log files of containers in the format of the container runtime interface: ``<RFC 3339 time> stdout F <text>``.

stdout and stderr share one pipe, so their order is kept. A file that exceeds the limit is renamed to ``.1``. A
container
that writes faster than the disk blocks, as on any full pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

LARGEST_FILE = 10 * 1024 * 1024
LARGEST_CHUNK = 64 * 1024
# A longer line is written in parts; all but the last are tagged P.
LONGEST_LINE = 16 * 1024
# Kubernetes' limits for a termination message taken from the log.
TAIL_BYTES = 2048
TAIL_LINES = 80


class LogPipe:
    """A pipe whose output is written to ``file``. Pass ``writing`` to a process, then call ``started``."""

    def __init__(self, file: Path, *, now: Callable[[], datetime], limit: int = LARGEST_FILE) -> None:
        self._file = file
        self._now = now
        self._limit = limit
        self._rest = b""
        self._ended = asyncio.Event()
        self._output = file.open("ab", buffering=0)
        self._size = self._output.tell()
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    def started(self) -> None:
        """Closes this side's writing end, so that the pipe ends with the process's last copy of it."""
        os.close(self.writing)

    async def finish(self, seconds: float = 0.2) -> None:
        """Waits for the end of the output, for ``seconds`` seconds at most, and closes the file."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        if not self._ended.is_set():
            self._end()

    def _read(self) -> None:
        try:
            chunk = os.read(self._reading, LARGEST_CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._end()
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._write([(line, b"F") for line in lines])
        if len(self._rest) > LONGEST_LINE:
            self._write([(self._rest, b"P")])
            self._rest = b""

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._reading)
        os.close(self._reading)
        if self._rest:
            self._write([(self._rest, b"F")])
        self._output.close()
        self._ended.set()

    def _write(self, lines: list[tuple[bytes, bytes]]) -> None:
        if not lines:
            return
        time = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()
        data = b"".join(b"%s stdout %s %s\n" % (time, tag, line) for line, tag in lines)
        if self._size + len(data) > self._limit and self._size:
            self._output.close()
            self._file.replace(self._file.with_name(f"{self._file.name}.1"))
            self._output = self._file.open("ab", buffering=0)
            self._size = 0
        # On a full disk the log stops, not the container.
        with contextlib.suppress(OSError):
            self._size += self._output.write(data) or 0


def rotate_run(folder: Path, container: str) -> Path:
    """Renames the log of the last run to ``<container>.previous.log``; returns the file for the next run."""
    file = folder / f"{container}.log"
    if file.exists():
        file.replace(folder / f"{container}.previous.log")
    return file


def tail(file: Path) -> str:
    """The end of a log for a termination message: at most 2048 bytes and 80 lines, without the times."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - 4 * TAIL_BYTES))
            lines = opened.read().splitlines()[-TAIL_LINES:]
    except OSError:
        return ""
    text = b"\n".join(line.split(b" ", 3)[-1] for line in lines)
    return text[-TAIL_BYTES:].decode(errors="replace")
