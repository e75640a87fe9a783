"""The evidence lake as a place: files below one URI, each written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

from pyarrow import fs

from millrace_core.base.errors import RejectError
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.faults import Purpose, explained, gone
from millrace_data.objects.filesystem import ObjectStoreSettings, open_filesystem

PURPOSE: Final = Purpose("spec.inference.log.credentialsSecretRef", "LakeNotFound", "LakeUnavailable")
FIELD: Final = "spec.inference.log.uri"

_CHUNK: Final = 8 * 1024 * 1024


class File(NamedTuple):
    """A file of the lake. ``path`` is below its URI."""

    path: str
    bytes: int
    written: datetime

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


class Lake:
    """One lake.

    Args:
        uri: ``file:///path`` or ``s3://bucket/path``.
        environ: has the credentials (``filesystem.ObjectStoreSettings``).
        door: says where it may go.

    Raises:
        RejectError: the URI is none of these, or not allowed.
    """

    def __init__(self, uri: str, environ: Mapping[str, str], door: Door = OPEN, *, field: str = FIELD) -> None:
        if not uri.startswith(("file://", "s3://")):
            raise RejectError(
                f"{uri!r} is no place of evidence",
                hint="Write file:///absolute/path or s3://bucket/path",
                field=field,
                reason="BadUri",
            )
        self.uri = uri.rstrip("/")
        self.field = field
        self.system, self.root = open_filesystem(uri, ObjectStoreSettings.load(environ).through(door), field)
        self._local = isinstance(self.system, fs.LocalFileSystem)

    def put(self, path: str, source: Path) -> None:
        """Copies a local file, which is there whole when this returns, and not at all, or as it was, where it fails.

        Only a file that is whole already is brought here: a stream to S3 that somebody stops using becomes an object.

        Raises:
            RejectError, RetryError: it cannot be written.
        """
        target = self.full(path)
        with self.explained(path):
            if not self._local:
                with source.open("rb") as content, self.system.open_output_stream(target) as sink:
                    while chunk := content.read(_CHUNK):
                        sink.write(chunk)
                return
            folder = Path(target).parent
            folder.mkdir(parents=True, exist_ok=True)
            # Another writer of the same file has another name meanwhile; readers know none of these.
            partial = folder / f".{uuid4().hex}"
            try:
                with source.open("rb") as content, partial.open("xb") as sink:
                    shutil.copyfileobj(content, sink, _CHUNK)
                    sink.flush()
                    os.fsync(sink.fileno())
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)

    def files(self, folder: str, *, recursive: bool = False) -> list[File]:
        """The files of a folder in the order of their names; none where it is not there.

        Raises:
            RejectError, RetryError: it cannot be listed.
        """
        found = [each for each in self._listed(folder, recursive=recursive) if each.type == fs.FileType.File]
        cut = len(self.root) + 1
        return sorted(File(each.path[cut:], each.size, each.mtime) for each in found)

    def folders(self, folder: str) -> list[str]:
        """The paths of the folders in one."""
        cut = len(self.root) + 1
        found = [each for each in self._listed(folder) if each.type == fs.FileType.Directory]
        return sorted(each.path[cut:] for each in found)

    def delete(self, path: str) -> None:
        """Deletes a file, or nothing where there is none."""
        with self.explained(path):
            try:
                self.system.delete_file(self.full(path))
            except OSError as error:
                if not gone(error):
                    raise

    def delete_folder(self, folder: str) -> None:
        """Deletes a folder with all that is in it."""
        for each in self.files(folder, recursive=True):
            self.delete(each.path)
        if self._local:  # elsewhere a folder is what its files are called
            with self.explained(folder), suppress(FileNotFoundError):
                self.system.delete_dir(self.full(folder))

    def full(self, path: str) -> str:
        """A path below the URI as the file system has it."""
        return f"{self.root}/{path}"

    @contextmanager
    def explained(self, path: str) -> Iterator[None]:
        """Has faults of the store be errors of the house."""
        with explained(f"{self.uri}/{path}", self.field, purpose=PURPOSE):
            yield

    def _listed(self, folder: str, *, recursive: bool = False) -> list[Any]:
        with self.explained(folder):
            return list(
                self.system.get_file_info(fs.FileSelector(self.full(folder), allow_not_found=True, recursive=recursive))
            )
