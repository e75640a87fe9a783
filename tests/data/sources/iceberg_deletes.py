"""Deletes of Iceberg tables as other engines write them, beside the data; the library here only rewrites data."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

# Numbers of the columns of position deletes: https://iceberg.apache.org/spec/#reserved-field-ids
_PATH, _POSITION = 2147483546, 2147483545


class _Writer(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class _Deletes(_FastAppendFiles):
    """A snapshot that adds delete files alone."""

    def new_manifest_writer(self, spec: PartitionSpec) -> _Writer:
        return _Writer(spec, self.schema(), self.new_manifest_output(), self._snapshot_id, self._compression)


def delete_positions(table: Table, path: str, positions: list[int]) -> None:
    """Deletes rows of a data file by their numbers."""
    fields = Schema(NestedField(_PATH, "file_path", StringType()), NestedField(_POSITION, "pos", LongType()))
    rows = [{"file_path": path, "pos": position} for position in positions]
    _delete(table, fields, rows, DataFileContent.POSITION_DELETES, None)


def delete_equal(table: Table, column: str, values: list[Any]) -> None:
    """Deletes all rows in which a column has one of some values."""
    field = table.schema().find_field(column)
    rows = [{column: value} for value in values]
    _delete(table, Schema(field), rows, DataFileContent.EQUALITY_DELETES, [field.field_id])


def _delete(
    table: Table, schema: Schema, rows: list[dict[str, Any]], content: DataFileContent, equality: list[int] | None
) -> None:
    path = f"{table.location()}/data/{uuid4()}-deletes.parquet"
    output = table.io.new_output(path)
    with output.create() as stream:
        pq.write_table(pa.Table.from_pylist(rows, schema_to_pyarrow(schema)), stream)
    with table.transaction() as transaction:
        snapshot = _Deletes(Operation.OVERWRITE, transaction, table.io)
        file = DataFile.from_args(
            content=content,
            file_path=path,
            file_format=FileFormat.PARQUET,
            partition=Record(),
            record_count=len(rows),
            file_size_in_bytes=len(output),
            column_sizes={},
            value_counts={},
            null_value_counts={},
            nan_value_counts={},
            lower_bounds={},
            upper_bounds={},
            equality_ids=equality,
        )
        file.spec_id = table.spec().spec_id
        snapshot.append_data_file(file)
        snapshot.commit()
    table.refresh()
