"""A model on its way: its own file, then those beside it that it names, then a look whether it is a model at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from millrace_core.base.errors import RejectError
from millrace_core.base.settings import with_secret
from millrace_data.objects.base import ObjectReader
from millrace_data.objects.door import Door
from millrace_data.objects.reader import reader_of
from millrace_data.objects.uri import ObjectUri
from millrace_services.inference import model_files
from millrace_services.inference.download import Download, on_disk, sync_folder
from millrace_services.inference.model_files import Downloaded
from millrace_services.inference.settings import FetchSettings

# A larger model is loaded by the server alone: here it would take the memory of a server, and as much time again.
_LOADED_BYTES: Final = 64 * 1024 * 1024


class Place(Protocol):
    """Where a model is."""

    def file(self, name: str = "") -> tuple[ObjectUri, ObjectReader]:
        """The model's own file, or one beside it.

        Raises:
            RejectError: it cannot be there.
        """

    def require(self, name: str, file: Downloaded) -> None:
        """Checks a file that was fetched against what the place says of it.

        Raises:
            RetryError: it is another one.
        """

    def forget(self) -> None:
        """Removes what was kept to read it."""


class Folder:
    """The folder of a file, wherever that is."""

    def __init__(self, source: ObjectUri, open_file: Callable[[ObjectUri], ObjectReader]) -> None:
        self._source = source
        self._open = open_file

    def file(self, name: str = "") -> tuple[ObjectUri, ObjectReader]:
        """The model's own file, or one beside it."""
        source = self._source.beside(name) if name else self._source
        return source, self._open(source)

    def require(self, name: str, file: Downloaded) -> None:
        """A folder says nothing of its files."""

    def forget(self) -> None:
        """Nothing was kept."""


def place_of(source: ObjectUri, settings: FetchSettings, environ: Mapping[str, str]) -> Place:
    """The place that a URI names.

    Raises:
        RejectError: credentials are no such, or there is no such artifact. RetryError: its registry does not answer.
    """
    secret, door = with_secret(environ), Door(settings.outgoing)
    if source.scheme == "oci":
        from millrace_services.inference.oci_image import OciModel  # noqa: PLC0415 Arrow takes a while
        from millrace_services.inference.oci_registry import Registry  # noqa: PLC0415

        return OciModel(source, Registry(source, secret, door), settings.path.parent, settings.max_bytes)
    return Folder(source, lambda each: reader_of(each, secret, door, settings.volume))


class Incoming:
    """The model that comes to ``path``.

    Args:
        most: bytes that all its files may have.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._most = most
        self._part = path.with_name(path.name + model_files.PART)

    def fetch(self, place: Place, check: Callable[[Downloaded], None]) -> Downloaded:
        """Brings a model from its place, and puts it into its own.

        Args:
            check: raises RejectError for a digest that is not the one wanted.

        Raises:
            RejectError: there is no such file, no access, or it is not the model, or none. Nothing of it is left.
            RetryError: the place is unreachable, the download broke off, or there is no room. What came is kept.
        """
        downloads: list[Download] = []
        try:
            found = self._files(place, downloads)
            check(found)
            for beside in downloads[1:]:
                beside.arrive()
            self._try(found, downloads[0].shown)
        except RejectError:
            for download in downloads:
                download.discard()
            for beside in downloads[1:]:
                beside.path.unlink(missing_ok=True)
            place.forget()
            raise
        self.arrive(found)
        place.forget()
        return found

    def arrive(self, found: Downloaded) -> None:
        """Puts the model's own file in its place, by which all of it is there, and notes its digest."""
        note = model_files.digest_file(self._path)
        fresh = note.with_name(f"{note.name}{model_files.PART}")
        with on_disk(self._path):
            fresh.write_text(found.digest)
            fresh.replace(note)
            self._part.replace(self._path)
            self._part.with_name(f"{self._part.name}.json").unlink(missing_ok=True)
            sync_folder(self._path.parent)

    def _files(self, place: Place, downloads: list[Download]) -> Downloaded:
        own = self._file(place, "", downloads, 0)
        beside: dict[str, Downloaded] = {}
        size = own.bytes
        for name in model_files.names_beside(self._part, self._path, downloads[0].shown):
            beside[name] = self._file(place, name, downloads, size)
            size += beside[name].bytes
        return model_files.combined(own, beside)

    def _file(self, place: Place, name: str, downloads: list[Download], others: int) -> Downloaded:
        source, reader = place.file(name)
        path = self._path.parent / name if name else self._path
        download = Download(source, reader, path, most=self._most, others=others)
        downloads.append(download)
        fetched = download.fetch()
        try:
            place.require(name, fetched)
        except Exception:
            download.discard()
            raise
        return fetched

    def _try(self, found: Downloaded, shown: str) -> None:
        if found.bytes > _LOADED_BYTES:
            return
        from millrace_services.inference import session  # noqa: PLC0415 ONNX Runtime takes a while, and its memory

        session.load(self._part, "cpu", 1, shown=shown, optimize=False)
