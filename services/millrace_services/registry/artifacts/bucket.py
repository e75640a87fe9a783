"""A bucket of S3, or a part of one, as a place of files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from pyarrow import fs

from millrace_core.base.errors import MillraceError, RetryError
from millrace_data.objects import faults
from millrace_data.objects.filesystem import ObjectStoreSettings, open_filesystem
from millrace_services.registry.artifacts.place import Content, Entry, no_file

_CHUNK: Final = 4 * 1024 * 1024
_FIELD: Final = "MILLRACE_ARTIFACTS"


class BucketPlace:
    """The objects below ``s3://bucket/prefix``.

    Args:
        environ: has the credentials (``filesystem.ObjectStoreSettings``).

    Raises:
        RejectError: URI or credentials are no such.
    """

    def __init__(self, uri: str, environ: Mapping[str, str]) -> None:
        self._uri = uri
        self._files, self._root = open_filesystem(uri, ObjectStoreSettings.load(environ), _FIELD)

    def listed(self, path: str) -> list[Entry]:
        """What is in a folder, by name."""
        selector = fs.FileSelector(self._at(path), allow_not_found=True)
        found = self._asked(lambda: self._files.get_file_info(selector))
        return sorted(Entry(each.base_name, each.size if each.is_file else None) for each in found if each.base_name)

    def opened(self, path: str) -> Content:
        """A file."""
        info = self._asked(lambda: self._files.get_file_info(self._at(path)))
        if not info.is_file:
            raise no_file(path)
        stream = self._asked(lambda: self._files.open_input_stream(self._at(path)))
        return Content(info.size, self._chunks(stream, info.size))

    def upload(self, path: str) -> BucketUpload:
        """Begins a file."""
        return BucketUpload(self, path)

    def delete(self, path: str) -> None:
        """Deletes a file, or a folder with all that is in it."""
        info = self._asked(lambda: self._files.get_file_info(self._at(path)))
        if info.type == fs.FileType.Directory:
            self._asked(lambda: self._files.delete_dir(self._at(path)))
        elif info.is_file:
            self._asked(lambda: self._files.delete_file(self._at(path)))

    def put(self, path: str, source: Any) -> None:
        """Sends a whole file; its object is there once all of it is."""

        def send() -> None:
            with self._files.open_output_stream(self._at(path)) as target:
                while piece := source.read(_CHUNK):
                    target.write(piece)

        self._asked(send)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _chunks(self, stream: Any, left: int) -> Iterator[bytes]:
        with stream:
            while left > 0 and (chunk := self._asked(partial(stream.read, min(_CHUNK, left)))):
                left -= len(chunk)
                yield chunk

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except MillraceError:
            raise
        except (OSError, ValueError) as error:
            raise RetryError(
                f"{self._uri} cannot be used: {faults.words(error)}",
                hint="Check the bucket, its region, and what the credentials may do",
                field=_FIELD,
                reason="ArtifactsUnavailable",
                delay=5,
            ) from error


class BucketUpload:
    """A file that is whole on this machine before it is sent on, so that one that is cut off leaves no object."""

    def __init__(self, place: BucketPlace, path: str) -> None:
        self._place = place
        self._path = path
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 closed by either of the two ways to end

    def write(self, piece: bytes) -> None:
        """Takes the next bytes."""
        try:
            self._file.write(piece)
        except OSError as error:
            raise RetryError(f"no room for an upload: {error.strerror}", reason="ArtifactsUnavailable") from error

    def finish(self) -> None:
        """Sends the file."""
        self._file.seek(0)
        self._place.put(self._path, self._file)

    def abandon(self) -> None:
        """Forgets it."""
        self._file.close()
