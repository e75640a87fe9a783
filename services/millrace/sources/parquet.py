"""Parquet files as a source: one file, or all ``*.parquet`` files below a folder, in the order of their paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from millrace.base.errors import NotFoundError, RejectError
from millrace.features.conform import require_fit
from millrace.features.definition import Definition
from millrace.features.history import Window
from millrace.sources import bounds, row_groups
from millrace.sources.filesystem import URI_FIELD, Credentials, explained, missing, open_filesystem

_FORMAT: Final = ds.ParquetFileFormat()
_NAMES_SHOWN: Final = 30


class ParquetSource:
    """Implements ``history.Source`` over a fixed list of files, whose footers have been read."""

    def __init__(self, definition: Definition, fragments: Sequence[ds.ParquetFileFragment], schema: pa.Schema) -> None:
        self._uri = definition.source.parquet.uri
        self._timestamp = definition.timestamp_field
        self._created = definition.created_field
        self._fragments = fragments
        self._schema = schema

    def scan(self, columns: Sequence[str], window: Window) -> Iterator[pa.RecordBatch]:
        """Batches of the columns; row groups outside the window are not read."""
        within = bounds.within(self._timestamp, self._schema.field(self._timestamp).type, window)
        if window.created_after is not None and self._created is not None:
            within &= bounds.written_after(self._created, self._schema.field(self._created).type, window.created_after)
        with explained(self._uri):
            yield from row_groups.stream(self._groups(within), self._schema, columns)

    def _groups(self, within: pc.Expression) -> Iterator[ds.ParquetFileFragment]:
        for fragment in self._fragments:
            yield from fragment.split_by_row_group(within, self._schema)


def open_source(definition: Definition, credentials: Credentials) -> ParquetSource:
    """Opens a view's source and checks that it holds what the definition says.

    Raises:
        NotFoundError: the file, folder or bucket is not there, or there is no Parquet file in it.
        RejectError: access is denied, a file is corrupt, a column is not there or has another type.
        RetryError: the storage cannot be reached.
    """
    uri = definition.source.parquet.uri
    with explained(uri):
        system, path = open_filesystem(uri, credentials)
        paths = _paths(uri, system, path)
        fragments = [_FORMAT.make_fragment(each, system) for each in paths]
        with ThreadPoolExecutor(row_groups.AT_ONCE) as pool:
            list(pool.map(lambda fragment: fragment.ensure_complete_metadata(), fragments))
    schema = _schema(definition, paths, [fragment.physical_schema for fragment in fragments])
    return ParquetSource(definition, fragments, schema)


def _paths(uri: str, system: fs.FileSystem, path: str) -> list[str]:
    found = system.get_file_info(path)
    if found.type == fs.FileType.NotFound:
        raise missing(uri)
    if found.type == fs.FileType.File:
        return [path]
    inside = system.get_file_info(fs.FileSelector(path, recursive=True))
    files = sorted(
        info.path
        for info in inside
        # Names that begin so are unfinished or bookkeeping, by the custom of all that write such folders.
        if info.type == fs.FileType.File and info.extension == "parquet" and not info.base_name.startswith(("_", "."))
    )
    if not files:
        raise NotFoundError(
            f"there is no *.parquet file in {uri}",
            hint="Write one there, or name another folder",
            field=URI_FIELD,
            reason="SourceEmpty",
        )
    return files


def _schema(definition: Definition, paths: Sequence[str], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns that the definition uses, over all files, once they are known to be there and to fit."""
    fields = []
    everywhere = _required(definition)
    for column, where in {**everywhere, **_optional(definition)}.items():
        types = []
        for path, schema in zip(paths, schemas, strict=True):
            place = schema.get_all_field_indices(column)
            if len(place) > 1:
                raise RejectError(f"{path} has the column {column!r} more than once", field=where)
            types += [schema.field(place[0])] if place else []
            if column in everywhere and not place:
                raise _absent(column, where, path, schema)
        if not types:
            raise _absent(column, where, definition.source.parquet.uri, schemas[0])
        fields.append(_unified(column, where, types))
    schema = pa.schema(fields)
    _check_types(definition, schema)
    return schema


def _required(definition: Definition) -> dict[str, str]:
    """Columns without which a row of a file means nothing, each with the field of the definition that names it."""
    columns = {key.name: f"spec.entities[{index}].name" for index, key in enumerate(definition.join_keys)}
    columns[definition.timestamp_field] = "spec.source.timestampField"
    return columns


def _optional(definition: Definition) -> dict[str, str]:
    """Columns that older files may lack, where they count as null."""
    columns = {
        feature.read.column: f"spec.features[{index}].{'aggregate.' if feature.aggregate else ''}column"
        for index, feature in enumerate(definition.features)
        if feature.read
    }
    if definition.created_field is not None:
        columns.setdefault(definition.created_field, "spec.source.createdTimestampField")
    return {name: field for name, field in columns.items() if name not in _required(definition)}


def _unified(column: str, where: str, fields: Sequence[pa.Field]) -> pa.Field:
    try:
        return pa.unify_schemas([pa.schema([field]) for field in fields], promote_options="permissive").field(0)
    except pa.ArrowException as error:
        types = ", ".join(sorted({str(field.type) for field in fields}))
        raise RejectError(
            f"column {column!r} has types that do not go together in different files: {types}",
            hint="Write the files with one type",
            field=where,
            reason="WrongColumnType",
        ) from error


def _check_types(definition: Definition, schema: pa.Schema) -> None:
    for index, key in enumerate(definition.join_keys):
        require_fit(schema.field(key.name).type, key.type, column=key.name, field=f"spec.entities[{index}]")
    for name, field in (
        (definition.timestamp_field, "spec.source.timestampField"),
        (definition.created_field, "spec.source.createdTimestampField"),
    ):
        if name is not None:
            require_fit(schema.field(name).type, "timestamp", column=name, field=field)
    for index, feature in enumerate(definition.features):
        if feature.read and feature.read.type:
            column, declared = feature.read.column, feature.read.type
            require_fit(schema.field(column).type, declared, column=column, field=f"spec.features[{index}]")


def _absent(column: str, where: str, path: str, schema: pa.Schema) -> NotFoundError:
    names = ", ".join(schema.names[:_NAMES_SHOWN])
    return NotFoundError(
        f"{path} has no column {column!r}", hint=f"It has: {names}", field=where, reason="ColumnNotFound"
    )
