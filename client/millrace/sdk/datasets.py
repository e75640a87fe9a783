"""Datasets: training sets that stay what they are, named by their content.

A dataset is a folder ``<uri>/<content id>`` with two files: ``data.parquet``, and ``manifest.json``, which says which
query of which definitions made it. Nothing ever writes into one again, and one without its manifest does not exist.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from millrace.sdk.registry import Registry
from millrace.sdk.tabular import Tabular
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError
from millrace_core.features.types.content_id import content_id
from millrace_data.objects.faults import explained
from millrace_data.objects.filesystem import open_filesystem
from millrace_data.sources.credentials import Credentials

logger = logging.getLogger(__name__)

DATA: Final = "data.parquet"
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_PREFIX: Final = "sha256:"


@dataclass(frozen=True)
class Dataset(Tabular):
    """A saved training set. ``manifest`` is what ``manifest.json`` holds."""

    uri: str
    manifest: Mapping[str, Any]
    table: pa.Table

    @property
    def id(self) -> str:
        """The content id, ``sha256:…``."""
        return str(self.manifest["id"])

    @classmethod
    def load(cls, uri: str | os.PathLike[str]) -> Self:
        """A dataset from the folder that ``save`` answered.

        Raises:
            NotFoundError: there is no dataset. RejectError: it is damaged, or a newer Millrace wrote it.
        """
        uri = _uri(uri)
        with _reading(uri):
            system, path = open_filesystem(uri, Credentials.load(os.environ))
            manifest = _manifest(uri, system, path)
            try:
                table = pq.read_table(f"{path}/{DATA}", filesystem=system)
            except (pa.ArrowInvalid, FileNotFoundError) as error:
                raise _damaged(uri, f"{DATA} cannot be read: {error}") from error
        if content_id(table) != manifest["id"]:
            raise _damaged(uri, f"its content is {content_id(table)}, its manifest says {manifest['id']}")
        frame = manifest["entityFrame"]
        if content_id(table.select(frame["columns"])) != frame["digest"]:
            raise _damaged(uri, "its entity frame has another digest than its manifest says")
        return cls(uri, manifest, table)


@dataclass(frozen=True)
class Origin:
    """Where a training set comes from.

    Attributes:
        query: the arguments: features, timestamp column, cutoff, names, entities.
        views: per view its project, name, schema hash, source and watermark.
        frame: the columns of the entity frame.
    """

    query: Mapping[str, Any]
    views: Sequence[Mapping[str, Any]]
    frame: Sequence[str]


def save(table: pa.Table, origin: Origin, uri: str | os.PathLike[str], registry: Registry | None) -> Dataset:
    """Writes a dataset below ``uri``, whole or not at all; where it is there already it stays as it is.

    A registry that does not answer is a warning.

    Raises:
        RejectError: the place cannot be written, or a column's type cannot be kept. RetryError: it cannot be reached.
    """
    base = _uri(uri)
    with _writing(base), tempfile.TemporaryDirectory() as scratch:
        # What Parquet gives back is what a later `load` sees: it knows no seconds, for one.
        data = Path(scratch) / DATA
        pq.write_table(table, data)
        table = pq.read_table(data)
        identity = content_id(table)
        manifest = _described(table, origin, identity)
        (Path(scratch) / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        name = identity.removeprefix(_PREFIX)
        place = f"{base.rstrip('/')}/{name}"
        system, path = open_filesystem(place, Credentials.load(os.environ))
        if system.get_file_info(f"{path}/{MANIFEST}").type == fs.FileType.NotFound:
            (_put_locally if isinstance(system, fs.LocalFileSystem) else _put)(Path(scratch), system, path)
        saved = Dataset(place, _manifest(place, system, path), table)
    _register(saved, registry)
    return saved


def _put(scratch: Path, system: fs.FileSystem, path: str) -> None:
    """To a store where an object is whole or absent; the manifest comes last, and makes it a dataset."""
    for name in (DATA, MANIFEST):
        with system.open_output_stream(f"{path}/{name}") as target:
            target.write((scratch / name).read_bytes())


def _put_locally(scratch: Path, system: fs.FileSystem, path: str) -> None:  # noqa: ARG001 alike with _put
    """Into a folder of another name, which is then renamed."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=final.parent, prefix=".unfinished-"))
    try:
        for name in (DATA, MANIFEST):
            shutil.copyfile(scratch / name, unfinished / name)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(final)
        except OSError:
            if not (final / MANIFEST).exists():  # somebody else was faster with the same, which is as good
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _described(table: pa.Table, origin: Origin, identity: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "id": identity,
        "createdAt": timestamps.render(datetime.now(UTC)),
        "rows": table.num_rows,
        "columns": [{"name": field.name, "type": str(field.type)} for field in table.schema],
        "entityFrame": {"columns": list(origin.frame), "digest": content_id(table.select(list(origin.frame)))},
        "query": dict(origin.query),
        "views": [dict(view) for view in origin.views],
        "code": {"millrace": version("millrace"), **_commit()},
    }


def _commit() -> dict[str, Any]:
    """The commit of the present folder, and whether anything differs from it; nothing where there is none."""
    try:
        outputs = [
            subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": outputs[0], "clean": not outputs[1]}


def _manifest(uri: str, system: fs.FileSystem, path: str) -> dict[str, Any]:
    if system.get_file_info(f"{path}/{MANIFEST}").type != fs.FileType.File:
        raise NotFoundError(
            f"there is no dataset {uri}",
            hint="Pass the folder that save() answered, which is named by the content id",
            field="uri",
            reason="DatasetNotFound",
        )
    with system.open_input_stream(f"{path}/{MANIFEST}") as stream:
        content = stream.read()
    try:
        manifest: dict[str, Any] = orjson.loads(content)
        known = manifest["format"] == FORMAT
        manifest["id"], manifest["entityFrame"]["digest"], manifest["entityFrame"]["columns"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(uri, f"{MANIFEST} is no manifest: {error!r}") from error
    if not known:
        raise RejectError(
            f"{uri} has the format {manifest['format']}, this version reads {FORMAT}", hint="Use a newer Millrace"
        )
    return manifest


def _register(saved: Dataset, registry: Registry | None) -> None:
    if registry is None:
        return
    try:
        registry.put_dataset({**saved.manifest, "uri": saved.uri})
    except MillraceError as error:
        logger.warning("the dataset %s is saved but not in the registry: %s", saved.uri, error)


def _damaged(uri: str, why: str) -> RejectError:
    return RejectError(
        f"the dataset {uri} is damaged: {why}",
        hint="Restore it from a copy, or make it again and save it elsewhere",
        field="uri",
        reason="CorruptDataset",
    )


def _uri(uri: str | os.PathLike[str]) -> str:
    text = os.fspath(uri)
    scheme, separator, _ = text.partition("://")
    if separator and scheme not in ("file", "s3"):
        raise RejectError(f"{text!r} came; a path, file:///path or s3://bucket/path is expected", field="uri")
    return text if separator else Path(text).absolute().as_uri()


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        with explained(uri):
            yield
    except MillraceError as error:
        # The file systems are made for sources, and name their fields.
        error.field = "uri"
        raise


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    try:
        with _reading(uri):
            yield
    except MillraceError as error:
        if error.reason != "AccessDenied":
            raise
        raise RejectError(
            f"{uri} cannot be written: {error.message}",
            hint="Check who may write there (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)",
            field="uri",
            reason="AccessDenied",
        ) from error
