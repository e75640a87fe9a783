"""Data files of an Iceberg table as one stream of batches.

Iceberg's own reader holds all of a file, or many batches ahead, so most files are read as other Parquet files are. It
reads those that have to be read otherwise: with deletes, or written before columns were renamed or came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.io.pyarrow import ArrowScan, PyArrowFileIO, _read_all_delete_files
from pyiceberg.manifest import FileFormat
from pyiceberg.table import DataScan, FileScanTask

from millrace_core.features.history.history import TimeRange
from millrace_core.features.types.conform import MisfitError
from millrace_data.sources import row_groups
from millrace_data.sources.pinned import File, PinnedFiles
from millrace_data.sources.reading import Reading

_FIELD_ID: Final = b"PARQUET:field_id"
_ROWS: Final = 65_536


def stream(
    scan: DataScan, files: PinnedFiles, reading: Reading, columns: Sequence[str], time_range: TimeRange
) -> Iterator[pa.RecordBatch]:
    """The rows of a scan's files, in the order of their paths.

    Args:
        scan: of the columns; its filter is applied as far as whole files go.
        files: of the table, as they were first read.
        reading: of the columns, and of those of the times.
        columns: wanted, in the order wanted.
        time_range: rules out row groups.
    """
    tasks = sorted(scan.plan_files(), key=lambda task: task.file.file_path)
    fragments = _fragments(scan, tasks, files)
    numbers = {name: scan.projection().find_field(name).field_id for name in columns}
    reader = ArrowScan(scan.table_metadata, scan.io, scan.projection(), scan.row_filter)
    plain = {path: each for path, each in fragments.items() if _has(each.physical_schema, numbers)}
    with files.reading() as read:
        for as_parquet, some in groupby(tasks, key=lambda task: task.file.file_path in plain):
            if as_parquet:
                chosen = [plain[task.file.file_path] for task in some]
                read.extend(File(fragment.filesystem, fragment.path) for fragment in chosen)
                groups = (each for one in chosen for each in row_groups.within(one, reading, time_range))
                yield from row_groups.stream(groups, files, reading, columns)
                continue
            for task in some:
                read.extend(_pinned(scan, task, files))
                first = 0
                for batch in _batches(reader, task):
                    yield from _fitted(batch, reading, columns, task.file.file_path, first)
                    first += batch.num_rows


def _fitted(
    batch: pa.RecordBatch, reading: Reading, columns: Sequence[str], path: str, first: int
) -> Iterator[pa.RecordBatch]:
    """The columns as wanted, in batches of a few rows; ``first`` is the number of the first among those not deleted."""
    try:
        arrays = [reading.array(name, batch.column(name)) for name in columns]
    except MisfitError as error:
        raise reading.said(error, path, first + error.row) from error
    made = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    for start in range(0, made.num_rows, _ROWS):
        yield made.slice(start, _ROWS)


def _fragments(
    scan: DataScan, tasks: Sequence[FileScanTask], files: PinnedFiles
) -> Mapping[str, ds.ParquetFileFragment]:
    """The Parquet files without deletes, their footers read, by location."""
    found = {
        task.file.file_path: file
        for task in tasks
        if task.file.file_format == FileFormat.PARQUET and not task.delete_files
        for file in _located(scan, task.file.file_path)
    }
    return dict(zip(found, files.fragments(list(found.values())), strict=True))


def _located(scan: DataScan, location: str) -> Sequence[File]:
    """A file where Arrow has it; none where the table is read through something else."""
    io = scan.io
    if not isinstance(io, PyArrowFileIO):
        return ()
    scheme, host, path = PyArrowFileIO.parse_location(location, io.properties)
    return (File(io.fs_by_scheme(scheme, host), path),)


def _pinned(scan: DataScan, task: FileScanTask, files: PinnedFiles) -> Sequence[File]:
    """The files that Iceberg's own reader opens for a task, held to the versions that they have."""
    found = [file for each in (task.file, *task.delete_files) for file in _located(scan, each.file_path)]
    for file in found:
        files.pin(file.system, file.path)
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
