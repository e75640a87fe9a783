"""A model in a registry of OCI: an artifact, whose layers are files, or an image (a modelcar), whose are archives.

No kubelet is needed for it that mounts images, and no container of the image runs: blobs are fetched as any other file,
in parts, resumed, and each is checked against its digest. Of an archive only regular files are read, as a stream, and
nothing of it is unpacked but what the model needs.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import pyarrow as pa

from millrace_core.base.errors import RejectError, RetryError
from millrace_data.objects import uri as uris
from millrace_data.objects.base import CHUNK, ObjectRange, ObjectReader
from millrace_data.objects.uri import ObjectUri
from millrace_services.inference.download import Download
from millrace_services.inference.model_files import Downloaded
from millrace_services.inference.oci_registry import Layer, Registry

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MEMBERS: Final = 1_000_000
# What archives hold beside a model: a base image, say.
_BESIDE_BYTES: Final = 4 * 1024**3
_GONE: Final = ".wh."
_ALL_GONE: Final = ".wh..wh..opq"
_SHOWN: Final = 5


class _File(NamedTuple):
    """Where a file is: the layer, and which member of its archive, None where the layer is the file."""

    layer: Layer
    member: int | None


class OciModel:
    """The model of one artifact or image.

    Args:
        folder: where archives are kept until ``forget``.
        most: bytes that all archives may have.
    """

    def __init__(self, uri: ObjectUri, registry: Registry, folder: Path, most: int) -> None:
        self._uri = uri
        self._registry = registry
        self._folder = folder
        self._most = most
        self._archives: dict[str, Download] = {}
        try:
            self._files = self._found()
            self._main = self._chosen(urlsplit(uri.text).fragment)
        except RejectError:
            self.forget()
            raise

    def file(self, name: str = "") -> tuple[ObjectUri, ObjectReader]:
        """The reader of the model's own file, or of one beside it.

        Raises:
            RejectError: there is none.
        """
        path = "/".join([*self._main.split("/")[:-1], name]) if name else self._main
        found = self._files.get(path)
        if found is None:
            raise self._reject(f"has no file {path}, which {self._main} names", "ModelNotFound")
        shown = self._uri._replace(shown=f"{self._uri.shown}#{path}")
        if found.member is None:
            return shown, self._registry.reader(found.layer)
        return shown, _Member(shown, self._archives[found.layer.digest].partial, found, self._limit)

    def require(self, name: str, file: Downloaded) -> None:
        """Checks a file that was fetched against the digest of its layer.

        Raises:
            RetryError: it has another one.
        """
        path = "/".join([*self._main.split("/")[:-1], name]) if name else self._main
        found = self._files[path]
        if found.member is None:
            self._require(found.layer, file)

    def forget(self) -> None:
        """Removes the archives."""
        for archive in self._archives.values():
            archive.discard()

    @property
    def _limit(self) -> int:
        return self._most + _BESIDE_BYTES

    def _found(self) -> dict[str, _File]:
        """All files by their paths: whatever an upper layer has at a path, or took away, hides what lower ones have.

        Source: OCI image format, layer.md, "Applying Changesets" and "Whiteouts", which are about lower layers alone.
        """
        files: dict[str, _File] = {}
        gone: set[str] = set()
        for layer in reversed(self._registry.layers()):
            if layer.name:
                if (path := uris.relative(layer.name)) is None:
                    raise self._reject(f"has a file called {layer.name[:200]!r}, which is no path below it", "BadModel")
                files.setdefault(path, _File(layer, None))
                continue
            here, its_gone = self._unpacked(layer)
            for path, file in here.items():
                if file is not None and path not in files and not _hidden(path, gone):
                    files[path] = file
            gone |= its_gone | here.keys()
        return files

    def _unpacked(self, layer: Layer) -> tuple[dict[str, _File | None], set[str]]:
        """What is at the paths of one archive, None where that is no file, and the paths that it takes from lower ones.

        Of several members with one path the last is there, as if they were unpacked one after the other.
        """
        here: dict[str, _File | None] = {}
        gone: set[str] = set()
        for number, member in enumerate(self._members(self._archive(layer))):
            folder, _, last = member.name.removeprefix("./").rpartition("/")
            if last.startswith(_GONE):
                gone.add(folder if last == _ALL_GONE else f"{folder}/{last.removeprefix(_GONE)}".lstrip("/"))
                continue
            path = uris.relative(member.name)
            if path is None or member.isdir():
                here.pop(path or "", None)
            elif member.islnk():
                here[path] = here.get(uris.relative(member.linkname) or "")
            else:
                here[path] = _File(layer, number) if member.isfile() else None
        return here, gone

    def _archive(self, layer: Layer) -> Path:
        """The archive of a layer, whole on this disk."""
        others = sum(archive.partial.stat().st_size for archive in self._archives.values())
        path = self._folder / f".layer-{layer.digest.removeprefix('sha256:')}"
        archive = Download(self._uri, self._registry.reader(layer), path, most=self._most, others=others)
        fetched = archive.fetch()
        try:
            self._require(layer, fetched)
        except RetryError:
            archive.discard()
            raise
        self._archives[layer.digest] = archive
        return archive.partial

    def _members(self, path: Path) -> Iterator[tarfile.TarInfo]:
        with _archive(path, self._uri, self._limit) as archive:
            for number, member in enumerate(archive):
                if number > _MEMBERS:
                    raise self._reject(f"has an archive of more than {_MEMBERS} files", "BadModel")
                if member.name.startswith("/") or ".." in member.name.split("/"):
                    said = f"has an archive with {member.name[:200]!r}, which leads out of it"
                    raise self._reject(said, "BadModel")
                yield member

    def _require(self, layer: Layer, file: Downloaded) -> None:
        if file.digest != layer.digest:
            raise RetryError(
                f"{self._uri.shown}: the registry sent {file.digest} for the blob {layer.digest}",
                field=self._uri.field,
                reason="DigestMismatch",
            )

    def _chosen(self, named: str) -> str:
        if named:
            path = uris.relative(named)
            if path is None or path not in self._files:
                raise self._reject(f"has no file {named}", "ModelNotFound", self._listed(list(self._files)))
            return path
        models = [path for path in self._files if path.endswith(".onnx")]
        if len(models) == 1:
            return models[0]
        if models:
            raise self._reject(f"has {len(models)} ONNX files", "BadUri", self._listed(models))
        raise self._reject("has no file that ends with .onnx", "ModelNotFound", self._listed(list(self._files)))

    def _listed(self, paths: list[str]) -> str:
        shown = ", ".join(path[:100] for path in sorted(paths)[:_SHOWN]) or "nothing"
        more = " and more" if len(paths) > _SHOWN else ""
        return f"Name the one that is meant behind a #, as in {self._uri.shown}#path: it has {shown}{more}"

    def _reject(self, said: str, reason: str, hint: str = "") -> RejectError:
        return RejectError(f"{self._uri.shown} {said}", hint=hint, field=self._uri.field, reason=reason)


class _Member:
    """A file of an archive that is on this disk."""

    def __init__(self, uri: ObjectUri, path: Path, file: _File, limit: int) -> None:
        self._uri = uri
        self._path = path
        self._file = file
        self._limit = limit

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[ObjectRange]:
        """The whole file, whatever the range: an archive is read from its beginning."""
        del start, stop
        with _archive(self._path, self._uri, self._limit) as archive:
            for number, member in enumerate(archive):
                if number == self._file.member:
                    stream = cast("IO[bytes]", archive.extractfile(member))
                    yield ObjectRange(_chunks(stream), member.size, self._file.layer.digest, False)
                    return


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


class _Bounded:
    """A stream that ends with an error after so many bytes: a small archive may be large inside."""

    def __init__(self, stream: Any, most: int, uri: ObjectUri) -> None:
        self._stream = stream
        self._left = most
        self._uri = uri

    def read(self, size: int) -> bytes:
        try:
            data = bytes(self._stream.read(size))
        except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
            raise _damaged(self._uri, error) from error
        self._left -= len(data)
        if self._left < 0:
            raise RejectError(
                f"{self._uri.shown} has an archive that is too large inside",
                hint="Serve a smaller image, or have the operator's MILLRACE_MODEL_MAX_BYTES raised",
                field=self._uri.field,
                reason="TooLarge",
            )
        return data


@contextmanager
def _archive(path: Path, uri: ObjectUri, most: int) -> Iterator[tarfile.TarFile]:
    try:
        with path.open("rb") as file:
            head = file.read(len(_ZSTD))
            file.seek(0)
            stream: Any = file
            if head.startswith(_GZIP):
                stream = gzip.GzipFile(fileobj=file)
            elif head == _ZSTD:
                stream = pa.CompressedInputStream(file, "zstd")
            bounded = cast("IO[bytes]", _Bounded(stream, most, uri))
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                yield archive
    except tarfile.TarError as error:
        raise _damaged(uri, error) from error


def _damaged(uri: ObjectUri, error: Exception) -> RejectError:
    return RejectError(
        f"{uri.shown} has a layer that is no archive, or a damaged one: {type(error).__name__}",
        hint="Push files with their names (oras push … model.onnx), or build an image whose layers hold them",
        field=uri.field,
        reason="BadModel",
    )


def _hidden(path: str, gone: set[str]) -> bool:
    """Whether the path, or a folder that it is in, is gone; the folder of all is ""."""
    parts = path.split("/")
    return any("/".join(parts[:end]) in gone for end in range(len(parts) + 1))
