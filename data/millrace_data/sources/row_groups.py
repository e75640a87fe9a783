"""Row groups of Parquet files as one stream of batches, in order, read a little ahead and never whole.

A row group may be as large as its writer liked. From a local disk it is therefore decoded batch by batch, each column
from a small buffer: that takes a quarter of the memory that Arrow's own scanner takes, and fresh memory is what reading
costs most. Over a network a row group is fetched with few requests, and several at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from millrace_data.sources.pinned import AT_ONCE, PinnedFiles

# Bytes that may be held ahead of the reader; more would only hold memory.
_AHEAD: Final = 48 << 20
# What a local row group holds while it is read: buffers and pages of its columns, and a batch.
_LOCAL: Final = 24 << 20
_BUFFER: Final = 256 << 10
# Rows and bytes per batch.
_ROWS: Final = 65_536
_BATCH: Final = 16 << 20


def stream(
    groups: Iterable[ds.ParquetFileFragment],
    files: PinnedFiles,
    schema: pa.Schema,
    columns: Sequence[str],
    kept: Mapping[str, pa.BooleanArray] = MappingProxyType({}),
) -> Iterator[pa.RecordBatch]:
    """All rows of the groups.

    Args:
        groups: fragments of one row group each.
        files: that the fragments were opened with.
        schema: names and types of the columns; a group that lacks one has nulls there.
        columns: wanted, in the order wanted; those of the names of folders are among them.
        kept: by the path of a file which of its rows are there; all of what is not said.
    """
    wanted = pa.schema([schema.field(name) for name in columns])
    ahead: deque[tuple[_Lane, int]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for group in groups:
            held = group.row_groups[0].total_byte_size
            if _is_local(group):
                held = min(held, _LOCAL)
            while ahead and (len(ahead) >= AT_ONCE or sum(each for _, each in ahead) + held > _AHEAD):
                yield from ahead.popleft()[0].batches()
            ahead.append((_Lane(pool, _decoded(group, files, wanted, kept.get(group.path))), held))
        while ahead:
            yield from ahead.popleft()[0].batches()


class _Lane:
    """One row group, of which the next batch is always being made."""

    def __init__(self, pool: ThreadPoolExecutor, batches: Iterator[pa.RecordBatch]) -> None:
        self._pool = pool
        self._batches = batches
        self._next = self._submit()

    def batches(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._next.result()) is not None:
            self._next = self._submit()
            yield batch

    def _submit(self) -> Future[pa.RecordBatch | None]:
        return self._pool.submit(next, self._batches, None)


def _decoded(
    group: ds.ParquetFileFragment, files: PinnedFiles, wanted: pa.Schema, kept: pa.BooleanArray | None
) -> Iterator[pa.RecordBatch]:
    local = _is_local(group)
    number = group.row_groups[0]
    rows = min(_ROWS, max(1, _BATCH * number.num_rows // max(number.total_byte_size, 1)))
    # What the names of the file's folders say of its rows; it wins over a column of the same name within.
    known = ds.get_partition_keys(group.partition_expression)
    there = [name for name in wanted.names if name in group.physical_schema.names and name not in known]
    buffer = _BUFFER if local else 0
    with (
        files.open(group) as opened,
        pq.ParquetFile(opened, metadata=group.metadata, buffer_size=buffer, pre_buffer=not local) as file,
    ):
        batches = file.iter_batches(rows, [number.id], there, use_threads=False)
        if kept is not None:
            first = sum(group.metadata.row_group(before).num_rows for before in range(number.id))
            batches = _there(batches, kept.slice(first))
        for batch in batches:
            yield _fitted(batch, wanted, known)


def _there(batches: Iterable[pa.RecordBatch], kept: pa.BooleanArray) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        mask, kept = kept.slice(0, batch.num_rows), kept.slice(batch.num_rows)
        rest = batch.num_rows - len(mask)
        yield batch.filter(pa.concat_arrays([mask, pa.array([True] * rest)]) if rest else mask)


def _fitted(batch: pa.RecordBatch, wanted: pa.Schema, known: Mapping[str, Any]) -> pa.RecordBatch:
    """The columns as wanted: of the file, or of one ``known`` value, or null."""
    if batch.schema.equals(wanted):
        return batch
    columns = []
    for field in wanted:
        place = batch.schema.get_field_index(field.name)
        if place < 0:
            columns.append(pa.repeat(pa.scalar(known.get(field.name), field.type), batch.num_rows))
        else:
            columns.append(batch.column(place).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def _is_local(group: ds.ParquetFileFragment) -> bool:
    return isinstance(group.filesystem, fs.LocalFileSystem)
