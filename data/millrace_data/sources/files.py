"""Which files a URI means, and the columns that the names of their folders give (``column=value``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from millrace_core.api.feature import FeatureType
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.re2 import Pattern, compile_pattern, literal
from millrace_core.features.definition.definition import Definition
from millrace_core.features.types.conform import ARROW
from millrace_data.objects.faults import missing
from millrace_data.sources import columns

_EXTENSION: Final = "parquet"
_WILDCARD: Final = re.compile(r"\*\*/?|\*")


class Found(NamedTuple):
    """The Parquet files of a URI in their order; folders below ``root`` may give columns."""

    root: str
    paths: tuple[str, ...]


def find(uri: str, system: fs.FileSystem, path: str, field: str) -> Found:
    """The Parquet files that a URI means.

    They are the one file, those below the folder, or those that the pattern fits.

    Raises:
        NotFoundError: nothing is there, or no Parquet file.
    """
    first = path.find("*")
    root = path if first < 0 else path[:first].rpartition("/")[0]
    info = system.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        raise missing(uri, field)
    if info.type == fs.FileType.File:
        return Found(path.rpartition("/")[0], (path,))
    inside = system.get_file_info(fs.FileSelector(root, recursive=True))
    fits = _pattern(path).fullmatch if first >= 0 else None
    # Names that begin with _ or . are unfinished or bookkeeping, by the custom of all that write such folders; but _x=1
    # is the folder of a column.
    files = sorted(
        info.path
        for info in inside
        if info.type == fs.FileType.File
        and not _hidden(info.path[len(root) :])
        and (fits(info.path) if fits else info.extension == _EXTENSION)
    )
    if not files:
        raise NotFoundError(
            f"there is no {'file that fits' if fits else '*.parquet file in'} {uri}",
            hint="Write one there, or name another folder",
            field=field,
            reason="SourceEmpty",
        )
    return Found(root, tuple(files))


def _hidden(path: str) -> bool:
    *folders, name = path.split("/")
    return name.startswith(("_", ".")) or any(
        folder.startswith(".") or (folder.startswith("_") and "=" not in folder) for folder in folders
    )


def _pattern(path: str) -> Pattern:
    parts = []
    end = 0
    for wildcard in _WILDCARD.finditer(path):
        parts.append(literal(path[end : wildcard.start()]))
        parts.append({"*": "[^/]*", "**": ".*", "**/": "(?:.*/)?"}[wildcard.group()])
        end = wildcard.end()
    return compile_pattern("".join([*parts, literal(path[end:])]))


@dataclass(frozen=True)
class Folders:
    """The columns that folders' names give; ``of`` a path says their values."""

    schema: pa.Schema
    field: str
    root: str

    def of(self, path: str) -> pc.Expression:
        """What is known of every row of a file by its folders.

        Raises:
            RejectError: a value is not of the declared type; names the folder.
        """
        try:
            return ds.HivePartitioning(self.schema).parse(path.removeprefix(self.root))
        except pa.ArrowInvalid as error:
            raise RejectError(
                f"the folders of {path} do not fit the definition: {error}", field=self.field, reason="WrongColumnType"
            ) from error


def partitioning(definition: Definition, found: Found, field: str, *, without: Collection[str] = ()) -> Folders:
    """The columns of folders' names that the definition uses, each of the type that it is declared with.

    What stands above the root wins over no column of the files: ``v=77`` there may be part of any path. A ``Found``
    with the root "" asks for it, ``without`` the columns that the files have.
    """
    names = _names([path.removeprefix(found.root) for path in found.paths])
    needed = columns.needed(definition)
    types = _declared(definition)
    schema = pa.schema(
        [(name, types.get(name, pa.string())) for name in names if name in needed and name not in without]
    )
    return Folders(schema, field, found.root)


def _names(paths: Sequence[str]) -> Sequence[str]:
    """In every file's path; a name that only some have is no column."""
    each = [[part.partition("=")[0] for part in path.split("/")[:-1] if "=" in part] for path in paths]
    return [name for name in dict.fromkeys(each[0]) if all(name in names for names in each)]


def _declared(definition: Definition) -> dict[str, pa.DataType]:
    # Zones are not written in folders' names; a time without one is UTC.
    moment = pa.timestamp("us")
    types: dict[str, pa.DataType] = {definition.timestamp_field: moment}
    if definition.created_field is not None:
        types[definition.created_field] = moment
    declared: list[tuple[str, FeatureType]] = [(key.name, key.type) for key in definition.entities]
    declared += [
        (each.source_column.column, each.source_column.type)
        for each in definition.features
        if each.source_column and each.source_column.type
    ]
    for name, kind in declared:
        types.setdefault(name, moment if kind == "timestamp" else ARROW[kind])
    return types
