"""History in the order of entities and times, in chunks of whole entities. The engine sorts, and spills to disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Feature, SourceColumn
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.types.arrow_numpy import Numbers, integers
from millrace_core.features.types.conform import ARROW
from millrace_core.features.windows.window_functions import Events, comparable

# Events of a chunk. One entity may have more: its events stay together.
CHUNK_ROWS: Final = 250_000
# Bytes of a chunk.
_CHUNK_BYTES: Final = 128 << 20
_BATCH: Final = 20_000


class Chunk(NamedTuple):
    """Some entities, by their keys, with all their events, and the created times of these where they are wanted.

    ``done`` is the part of all events that has come by the end of this chunk, 0 to 1.
    """

    keys: list[pa.Array]
    events: Events
    created: Numbers | None
    done: float


def reads_of(features: Iterable[Feature]) -> list[SourceColumn]:
    """The columns that features are made from, each once."""
    return list(dict.fromkeys(feature.source_column for feature in features if feature.source_column))


def chunks(
    batches: Iterable[pa.RecordBatch],
    key_types: Sequence[pa.DataType],
    features: Sequence[Feature],
    engine: Engine,
    chunk_rows: int = CHUNK_ROWS,
    *,
    created: bool = False,
) -> Iterator[Chunk]:
    """Sorts events.

    Args:
        batches: columns are the keys (as many as types), event, created, seq and those of ``reads_of``.
        key_types: types of the keys.
        features: the features that are computed from the events.
        engine: sorts.
        chunk_rows: least number of events in a chunk.
        created: whether chunks have created times.

    Raises:
        RejectError: a column has a type whose values cannot be told apart.
        ReportError: memory or disk do not suffice.
    """
    reads = reads_of(features)
    distinct = {f.source_column for f in features if f.aggregate and f.aggregate.function == "count_distinct"}
    count = done = 0

    def sortable() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for batch in batches:
            count += batch.num_rows
            yield _sortable(batch, len(key_types), reads, distinct)

    fed = sortable()
    first = next(fed, None)
    if first is None:
        return
    keys = [f"k{index}" for index in range(len(key_types))]
    values = [f"v{index}" for index in range(len(reads))]
    with engine.connection() as session, ThreadPoolExecutor(1) as other:
        session.feed("events", first.schema, chain([first], fed))
        # Sorting is most of the work, and few aggregates depend on the order of equal times: sort by what they need.
        placed = any(f.aggregate is None or f.aggregate.function in ("first", "last") for f in features)
        columns = ", ".join([*keys, "event", *values, *(["created"] if created else [])])
        order = ", ".join([*keys, "event", *(["created", "seq"] if placed else [])])
        query = f"select {columns} from events order by {order}"  # noqa: S608 our own names
        ordered = session.stream(query, min(chunk_rows, _BATCH))
        for table in _ahead(_whole_entities(ordered, len(keys), chunk_rows), other):
            done += table.num_rows
            yield _chunk(table, key_types, reads, done / count, created=created)


def _sortable(
    batch: pa.RecordBatch, keys: int, reads: Sequence[SourceColumn], distinct: set[SourceColumn | None]
) -> pa.RecordBatch:
    """The batch in types that the engine can sort."""
    columns = batch.columns[: keys + 3]
    for read, values in zip(reads, batch.columns[keys + 3 :], strict=True):
        if read.type is None and read not in distinct:
            # It is only counted.
            values = pc.if_else(values.is_valid(), True, None)  # noqa: PLW2901
        elif read.type is None:
            values = comparable(values)  # noqa: PLW2901
            if pa.types.is_nested(values.type) or pa.types.is_decimal256(values.type):
                raise RejectError(
                    f"column {read.column!r} has the type {values.type}, whose values cannot be told apart",
                    hint="count_distinct takes bool, numbers, strings, bytes and timestamps",
                    field="spec.features",
                    reason="WrongColumnType",
                )
        elif read.type == "timestamp":
            values = values.cast(pa.int64())  # noqa: PLW2901
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _whole_entities(batches: Iterable[pa.RecordBatch], keys: int, rows: int) -> Iterator[pa.Table]:
    """Cuts a sorted stream between entities."""
    waiting: list[pa.RecordBatch] = []
    count, size, least = 0, 0, rows
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        size += batch.nbytes
        if count < least and size < _CHUNK_BYTES * (least / rows):
            continue
        table = pa.Table.from_batches(waiting)
        cut = int(_begins(table, keys)[-1])
        if cut == 0:
            # One entity alone fills the chunk. The limit grows, or finding its end would take quadratic time.
            least *= 2
            continue
        yield table.slice(0, cut)
        waiting, count, least = table.slice(cut).to_batches(), count - cut, rows
        size = sum(each.nbytes for each in waiting)
    if count:
        yield pa.Table.from_batches(waiting)


def _ahead(tables: Iterator[pa.Table], other: Executor) -> Iterator[pa.Table]:
    """The tables, each fetched by another thread while the caller works on the one before.

    The first is fetched by the caller's thread: the sort comes before it, and must not delay a signal.
    """
    table = next(tables, None)
    while table is not None:
        following = other.submit(next, tables, None)
        yield table
        table = following.result()


def _begins(table: pa.Table, keys: int) -> Numbers:
    """The first row of each entity."""
    changed = np.zeros(table.num_rows, bool)
    changed[:1] = True
    for index in range(keys):
        column = table.column(index).combine_chunks()
        changed[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(changed)


def _chunk(
    table: pa.Table, key_types: Sequence[pa.DataType], reads: Sequence[SourceColumn], done: float, *, created: bool
) -> Chunk:
    count = len(key_types)
    begins = _begins(table, count)
    keys = [
        table.column(index).take(pa.array(begins)).cast(kind).combine_chunks() for index, kind in enumerate(key_types)
    ]
    values = {read: _cast(table.column(count + 1 + index).combine_chunks(), read) for index, read in enumerate(reads)}
    times = integers(table.column(count).combine_chunks())
    written = integers(table.column("created").combine_chunks()) if created else None
    return Chunk(keys, Events(np.append(begins, table.num_rows), times, values), written, done)


def _cast(values: pa.Array, read: SourceColumn) -> pa.Array:
    return values if read.type is None else values.cast(ARROW[read.type])
