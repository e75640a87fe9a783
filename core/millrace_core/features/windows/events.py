"""History in the order of entities and times, in chunks of whole entities; sorted by the engine, which spills."""

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

# Events that are looked at together, unless one entity has more; an entity's are never parted.
CHUNK_ROWS: Final = 250_000
# The same in bytes.
_CHUNK_BYTES: Final = 128 << 20
_BATCH: Final = 20_000


class Chunk(NamedTuple):
    """Some entities, by their keys, with all their events; ``created`` times, where wanted, are the events'.

    ``done`` is the share of all events that come up to its end, 0 to 1.
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
        batches: of keys (as many columns as there are types), event, created, seq and what ``reads_of`` lists.
        key_types: of the keys.
        features: which read the events.
        engine: sorts.
        chunk_rows: least number of events in a chunk.
        created: whether chunks are to have created times.

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
        # What is not needed is not sorted, which is most of the work: few aggregates care for the order of equal times.
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
    """The batch in types that the engine has."""
    columns = batch.columns[: keys + 3]
    for read, values in zip(reads, batch.columns[keys + 3 :], strict=True):
        if read.type is None and read not in distinct:
            # To be counted only.
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
            # One entity alone: looking at it again and again would take ever longer.
            least *= 2
            continue
        yield table.slice(0, cut)
        waiting, count, least = table.slice(cut).to_batches(), count - cut, rows
        size = sum(each.nbytes for each in waiting)
    if count:
        yield pa.Table.from_batches(waiting)


def _ahead(tables: Iterator[pa.Table], other: Executor) -> Iterator[pa.Table]:
    """The tables, each fetched by another thread while the one before is worked on.

    Not so the first: the sort comes before it, and is not to keep a signal waiting.
    """
    table = next(tables, None)
    while table is not None:
        following = other.submit(next, tables, None)
        yield table
        table = following.result()


def _begins(table: pa.Table, keys: int) -> Numbers:
    """Rows that begin an entity."""
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
