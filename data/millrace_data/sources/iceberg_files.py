"""Data files of an Iceberg table as one stream of batches.

Iceberg's own reader holds all of a file, or many batches ahead, so most files are read as other Parquet files are. It
reads those that have to be read otherwise: with deletes, or written before columns were renamed or came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.io.pyarrow import ArrowScan, PyArrowFileIO, _read_all_delete_files
from pyiceberg.manifest import FileFormat
from pyiceberg.table import DataScan, FileScanTask

from millrace_data.sources import row_groups
from millrace_data.sources.parquet import FORMAT, read_footers

_FIELD_ID: Final = b"PARQUET:field_id"
_ROWS: Final = 65_536


def stream(
    scan: DataScan, schema: pa.Schema, columns: Sequence[str], within: pc.Expression
) -> Iterator[pa.RecordBatch]:
    """The rows of a scan's files, in the order of their paths.

    Args:
        scan: of the columns; its filter is applied as far as whole files go.
        schema: names and types of the columns, and of those that ``within`` is about.
        columns: wanted, in the order wanted.
        within: rules out row groups.
    """
    tasks = sorted(scan.plan_files(), key=lambda task: task.file.file_path)
    fragments = _fragments(scan, tasks)
    numbers = {name: scan.projection().find_field(name).field_id for name in columns}
    reader = ArrowScan(scan.table_metadata, scan.io, scan.projection(), scan.row_filter)
    wanted = pa.schema([schema.field(name) for name in columns])
    plain = {path: each for path, each in fragments.items() if _has(each.physical_schema, numbers)}
    for as_parquet, files in groupby(tasks, key=lambda task: task.file.file_path in plain):
        if as_parquet:
            groups = (
                group for task in files for group in plain[task.file.file_path].split_by_row_group(within, schema)
            )
            yield from row_groups.stream(groups, schema, columns)
            continue
        for task in files:
            for batch in _batches(reader, task):
                yield from pa.Table.from_batches([batch]).select(list(columns)).cast(wanted).to_batches(_ROWS)


def _fragments(scan: DataScan, tasks: Sequence[FileScanTask]) -> Mapping[str, ds.ParquetFileFragment]:
    """The Parquet files without deletes, their footers read, by location."""
    io = scan.io
    if not isinstance(io, PyArrowFileIO):
        return {}
    found = {}
    for task in tasks:
        if task.file.file_format == FileFormat.PARQUET and not task.delete_files:
            scheme, host, path = PyArrowFileIO.parse_location(task.file.file_path, io.properties)
            found[task.file.file_path] = FORMAT.make_fragment(path, io.fs_by_scheme(scheme, host))
    read_footers(list(found.values()))
    return found


def _has(schema: pa.Schema, numbers: Mapping[str, int]) -> bool:
    """Whether a file calls all columns as they are called in the scan; numbers say which column is which."""
    return all(
        (place := schema.get_field_index(name)) >= 0
        and (schema.field(place).metadata or {}).get(_FIELD_ID) == b"%d" % number
        for name, number in numbers.items()
    )


def _batches(reader: ArrowScan, task: FileScanTask) -> Iterator[pa.RecordBatch]:
    """A file's batches as they are decoded; the reader's public verb decodes all of the file first."""
    deletes = _read_all_delete_files(reader._io, [task])
    return reader._record_batches_from_scan_tasks_and_deletes([task], deletes)
