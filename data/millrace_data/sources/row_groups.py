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
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from millrace_core.features.history.history import TimeRange
from millrace_core.features.types.conform import MisfitError
from millrace_data.sources.pinned import AT_ONCE, PinnedFiles
from millrace_data.sources.reading import Reading

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
    reading: Reading,
    columns: Sequence[str],
    kept: Mapping[str, pa.BooleanArray] = MappingProxyType({}),
) -> Iterator[pa.RecordBatch]:
    """All rows of the groups.

    Args:
        groups: fragments of one row group each.
        files: that the fragments were opened with.
        reading: of the columns; a group that lacks one has nulls there.
        columns: wanted, in the order wanted; those of the names of folders are among them.
        kept: by the path of a file which of its rows are there; all of what is not said.
    """
    wanted = reading.over(pa.schema([reading.schema.field(name) for name in columns]))
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


def within(
    fragment: ds.ParquetFileFragment, reading: Reading, time_range: TimeRange
) -> Sequence[ds.ParquetFileFragment]:
    """The row groups of a file in which rows of a window may be; by the types that its times have in this file."""
    times = [name for name in (reading.timestamp, reading.created) if name is not None]
    physical, known = fragment.physical_schema, ds.get_partition_keys(fragment.partition_expression)
    there = {}
    for name in times:
        there[name] = reading.schema.field(name).type
        if name in known:
            # As its folder or its table spells it; of a text nothing can be said.
            there[name] = pa.string() if isinstance(known[name], str) else there[name]
        elif name in physical.names:
            there[name] = physical.field(name).type
    schema = pa.schema(list(there.items()))
    return fragment.split_by_row_group(reading.within(schema, time_range), schema)  # type: ignore[no-any-return]


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
    group: ds.ParquetFileFragment, files: PinnedFiles, wanted: Reading, kept: pa.BooleanArray | None
) -> Iterator[pa.RecordBatch]:
    local = _is_local(group)
    number = group.row_groups[0]
    rows = min(_ROWS, max(1, _BATCH * number.num_rows // max(number.total_byte_size, 1)))
    # What the names of the file's folders say of its rows; it wins over a column of the same name within.
    known = ds.get_partition_keys(group.partition_expression)
    there = [name for name in wanted.schema.names if name in group.physical_schema.names and name not in known]
    buffer = _BUFFER if local else 0
    with (
        files.open(group) as opened,
        pq.ParquetFile(opened, metadata=group.metadata, buffer_size=buffer, pre_buffer=not local) as file,
    ):
        first = sum(group.metadata.row_group(before).num_rows for before in range(number.id))
        for batch in file.iter_batches(rows, [number.id], there, use_threads=False):
            mask = None if kept is None else _mask(kept.slice(first, batch.num_rows), batch.num_rows)
            yield _fitted(batch, wanted, known, _Place(group.path, first, mask))
            first += batch.num_rows


class _Place(NamedTuple):
    """Where a batch is: its file, the number of its first row there, and which of its rows count."""

    path: str
    first: int
    kept: pa.BooleanArray | None


def _mask(kept: pa.BooleanArray, rows: int) -> pa.BooleanArray:
    """Which rows are there; those are that are not said."""
    rest = rows - len(kept)
    return pa.concat_arrays([kept, pa.array([True] * rest)]) if rest else kept


def _fitted(batch: pa.RecordBatch, wanted: Reading, known: Mapping[str, Any], place: _Place) -> pa.RecordBatch:
    """The columns as wanted: of the file, or of one ``known`` value, or null; without the rows that do not count."""
    if place.kept is not None:
        batch = batch.filter(place.kept)
    if batch.schema.equals(wanted.schema):
        return batch
    columns = []
    for field in wanted.schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            value = _column(field.name, pa.array([known.get(field.name)]), wanted, place._replace(first=0, kept=None))
            columns.append(pa.repeat(value[0], batch.num_rows))
        else:
            columns.append(_column(field.name, batch.column(index), wanted, place))
    return pa.RecordBatch.from_arrays(columns, schema=wanted.schema)


def _column(name: str, values: pa.Array, wanted: Reading, place: _Place) -> pa.Array:
    try:
        return wanted.array(name, values)
    except MisfitError as error:
        row = error.row if place.kept is None else int(np.flatnonzero(place.kept)[error.row])
        raise wanted.said(error, place.path, place.first + row) from error


def _is_local(group: ds.ParquetFileFragment) -> bool:
    return isinstance(group.filesystem, fs.LocalFileSystem)
