"""Objects of S3, or of what speaks its protocol, through Arrow's file system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from millrace_core.base.errors import RetryError
from millrace_data.objects import faults, filesystem
from millrace_data.objects.base import ObjectRange
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.uri import ObjectUri

# A chunk is a request of its own, and several are held at once: larger ones are no faster and take more memory.
_CHUNK: Final = 2 * 1024 * 1024


class S3Reader:
    """An object of S3 or anything that speaks its protocol."""

    def __init__(self, uri: ObjectUri, environ: Mapping[str, str], door: Door = OPEN) -> None:
        self._uri = uri
        self._path = f"{uri.host}/{uri.key}"
        self._system = filesystem.s3_filesystem(filesystem.ObjectStoreSettings.load(environ).through(door))
        ask = faults.listing(self._system, self._path)
        self._explained: Callable[[], AbstractContextManager[None]] = lambda: faults.explained(
            uri.shown, uri.field, purpose=faults.MODELS, ask=ask
        )

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[ObjectRange]:
        """Reads a range of the object, and looks afterwards whether it is still the same."""
        with self._explained():
            file, tag = self._opened()
            size = int(file.size())
        yield ObjectRange(self._chunks(file, start, min(stop, size)), size, tag, True)
        with self._explained():
            _, tag_now = self._opened()
        if tag_now != tag:
            raise RetryError(f"{self._uri.shown} changed while it was read", field=self._uri.field, reason="Changed")

    def _opened(self) -> tuple[Any, str]:
        file = self._system.open_input_file(self._path)
        return file, file.metadata().get("ETag", b"").decode()

    def _chunks(self, file: Any, start: int, stop: int) -> Iterator[bytes]:
        for position in range(start, stop, _CHUNK):
            with self._explained():
                chunk = file.read_at(min(_CHUNK, stop - position), position)
            yield chunk
