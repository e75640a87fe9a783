"""Files of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millrace_core.base.destinations import Outgoing
from millrace_core.base.errors import RejectError, RetryError
from millrace_data.objects.base import CHUNK, ObjectRange
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.uri import ObjectUri


class FileReader:
    """A regular file of this machine."""

    def __init__(self, uri: ObjectUri, door: Door = OPEN, path: Path | None = None) -> None:
        self._uri = uri
        self._door = door
        self._path = path or uri.file

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[ObjectRange]:
        """Reads a range of the file, and looks afterwards whether it is still the same."""
        path = self._door.file(str(self._path), self._uri.field)
        try:
            # A pipe is opened at once, too, so that it can be refused.
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except OSError as error:
            reason = "AccessDenied" if isinstance(error, PermissionError) else "ModelNotFound"
            raise RejectError(
                f"cannot read {self._uri.shown}: {error.strerror}", field=self._uri.field, reason=reason
            ) from error
        with file:
            # A link may have been put in its way since.
            self._door.file(f"/proc/self/fd/{file.fileno()}", self._uri.field)
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RejectError(
                    f"{self._uri.shown} is no regular file", field=self._uri.field, reason="ModelNotFound"
                )
            file.seek(start)
            yield ObjectRange(_bounded(file, stop - start), status.st_size, f"{status.st_mtime_ns}", True)
            now = os.fstat(file.fileno())
        if (now.st_mtime_ns, now.st_size) != (status.st_mtime_ns, status.st_size):
            raise RetryError(f"{self._uri.shown} changed while it was read", field=self._uri.field, reason="Changed")


def mounted(uri: ObjectUri, volume: Path | None) -> FileReader:
    """The reader of ``pvc://claim/path``, which no link leads out of the volume, wherever files may be read else.

    Args:
        volume: where the claim is mounted.

    Raises:
        RejectError: nowhere.
    """
    if volume is None:
        raise RejectError(
            f"{uri.shown} is on a volume, and none is mounted here",
            hint="Let a ModelDeployment name it, whose pods have it mounted; or give the file's path",
            field=uri.field,
            reason="BadUri",
        )
    return FileReader(uri, Door(Outgoing(folders=(str(volume),))), volume / uri.key)


def _bounded(file: Any, left: int) -> Iterator[bytes]:
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk
