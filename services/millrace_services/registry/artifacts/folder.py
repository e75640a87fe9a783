"""A folder of this machine, which replicas may share, as a place of files."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.shown import shown
from millrace_services.registry.artifacts.paths import UPLOADS
from millrace_services.registry.artifacts.place import Content, Entry, no_file
from millrace_services.registry.mlflow.errors import invalid

_CHUNK: Final = 1024 * 1024
# No upload takes as long: what is older was left by a process that was killed.
_STALE_SECONDS: Final = 2 * 24 * 3600
_CANNOT_BE: Final = frozenset(
    {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOTEMPTY}
)


class FolderPlace:
    """A folder, which is made where there is none.

    Raises:
        RejectError: it cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        try:
            (root / UPLOADS).mkdir(parents=True, exist_ok=True)
            self._root = root.resolve(strict=True)
            _clear(self._root / UPLOADS)
        except OSError as error:
            raise RejectError(
                f"files of runs cannot be kept in {root}: {error.strerror}",
                hint="Give a folder that this process may write to, or s3://bucket/prefix",
                field="MILLRACE_ARTIFACTS",
                reason="BadArtifacts",
            ) from error

    def listed(self, path: str) -> list[Entry]:
        """What is in a folder, by name."""
        with _explained(path):
            folder = self._within(path)
            if not folder.is_dir():
                return []
            found = []
            with os.scandir(folder) as entries:
                for each in entries:
                    if not path and each.name == UPLOADS:
                        continue
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        found.append(Entry(each.name, None if each.is_dir() else each.stat().st_size))
            return sorted(found)

    def opened(self, path: str) -> Content:
        """A file."""
        with _explained(path):
            try:
                file = self._within(path).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise no_file(path) from error
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                file.close()
                raise no_file(path)
            return Content(status.st_size, _chunks(file, status.st_size))

    def upload(self, path: str) -> FolderUpload:
        """Begins a file."""
        with _explained(path):
            return FolderUpload(self._root / UPLOADS / uuid.uuid4().hex, self._within(path), path)

    def delete(self, path: str) -> None:
        """Deletes a file, or a folder with all that is in it."""
        with _explained(path):
            found = self._within(path)
            if found == self._root:  # a link that leads here
                raise invalid(f"Invalid path: {shown(path, 200)}")
            if found.is_dir():
                shutil.rmtree(found)
            else:
                with suppress(FileNotFoundError, NotADirectoryError):
                    found.unlink()

    def _within(self, path: str) -> Path:
        """Where a path is. No link that somebody put there leads out."""
        real = Path(os.path.realpath(self._root / path))
        if not real.is_relative_to(self._root):
            raise invalid(f"Invalid path: {shown(path, 200)}")
        return real


class FolderUpload:
    """A file that is written beside its place, and moved there."""

    def __init__(self, draft: Path, target: Path, path: str) -> None:
        self._draft = draft
        self._target = target
        self._path = path
        self._file: IO[bytes] = draft.open("xb")

    def write(self, piece: bytes) -> None:
        """Takes the next bytes."""
        with _explained(self._path):
            self._file.write(piece)

    def finish(self) -> None:
        """Puts the file in its place."""
        with _explained(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._draft.replace(self._target)
            folder = os.open(self._target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def abandon(self) -> None:
        """Forgets it."""
        with suppress(OSError):
            self._file.close()
        self._draft.unlink(missing_ok=True)


def _chunks(file: IO[bytes], left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _clear(uploads: Path) -> None:
    for each in uploads.iterdir():
        with suppress(OSError):
            if time.time() - each.stat().st_mtime > _STALE_SECONDS:
                each.unlink()


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _CANNOT_BE:
            raise invalid(f"Invalid path: {shown(path, 200)}: {error.strerror}") from error
        raise RetryError(
            f"files of runs cannot be read or written now: {error.strerror}", reason="ArtifactsUnavailable", delay=5
        ) from error
