"""Aggregates of a training set: for every (entity, moment) of a frame the values over the windows that end there.

History is read once. Only events inside of a wanted window are kept. The engine sorts them by entity, and spills what
exceeds its memory. Then the windows of each entity are looked up in its events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millrace_core.features.definition.definition import Definition, Feature
from millrace_core.features.evaluation import engine as engines
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.entity_frame import NONE, EntityFrame, SortedFrame
from millrace_core.features.history.history import NO_CREATED, History, HistorySource, TimeRange
from millrace_core.features.types.arrow_numpy import Numbers, integers
from millrace_core.features.types.conform import ARROW
from millrace_core.features.windows.events import Chunk, chunks, reads_of
from millrace_core.features.windows.window_functions import Events, evaluate, grid_of

# Moments that are evaluated together.
_MOMENTS: Final = 500_000
# Events that are evaluated together where each moment has events of its own (``created_cutoff``).
_EXPANDED: Final = 2_000_000


def join(
    definition: Definition,
    features: Sequence[Feature],
    source: HistorySource,
    frame: EntityFrame,
    engine: Engine | None,
) -> list[pa.Array]:
    """The aggregates, one array per feature, aligned with the frame's rows; null where a join key or moment is.

    Raises:
        RejectError: a column does not fit the definition, or a sum does not fit into its type.
        ReportError: memory or disk do not suffice.
    """
    ordered = frame.sorted(definition.join_keys)
    if not len(ordered.rows):
        return [pa.nulls(len(frame.moments), ARROW[feature.type]) for feature in features]
    every = max(feature.aggregate.every for feature in features if feature.aggregate)
    gridded = replace(ordered, moments=grid_of(ordered.moments, every))
    reach = max(feature.aggregate.window for feature in features if feature.aggregate)
    first, last = int(gridded.moments.min()), int(gridded.moments.max())
    history = History(definition, source, TimeRange(first - reach + 1, last))
    # Per feature its values in parts, and per part their places in the sorted frame.
    parts: list[list[pa.Array]] = [[] for _ in features]
    places: list[Numbers] = []
    with nullcontext(engine) if engine else engines.temporary() as sorter:
        events = _events(history, features, gridded, reach, cutoff=frame.created_cutoff)
        for chunk in chunks(events, [pa.int64()], features, sorter, created=frame.created_cutoff):
            for here, values in _answers(chunk, features, gridded, ordered if frame.created_cutoff else None):
                places.append(here)
                for part, value in zip(parts, values, strict=True):
                    part.append(value)
    return _aligned(features, parts, places, ordered, len(frame.moments))


def _events(
    history: History, features: Sequence[Feature], gridded: SortedFrame, reach: int, *, cutoff: bool
) -> Iterator[pa.RecordBatch]:
    """Events that are inside of a window, with entity codes in place of join keys."""
    keys = len(history.definition.join_keys)
    for batch in history.numbered(reads_of(features)):
        codes = gridded.codes(batch.columns[:keys])
        times = integers(batch.column(keys))
        known = codes != NONE
        if cutoff:
            known &= integers(batch.column(keys + 1)) != NO_CREATED
        # The first moment of the grid at or after the event. If its window does not reach the event, no later one does.
        place = gridded.place(np.where(known, codes, 0), times)
        known &= place < gridded.begins[codes + 1]
        known &= gridded.moments.take(place, mode="clip") - times < reach
        columns = [pa.array(codes), *batch.columns[keys:]]
        names = ["k0", *batch.schema.names[keys:]]
        yield pa.RecordBatch.from_arrays(columns, names).filter(pa.array(known))


def _answers(
    chunk: Chunk, features: Sequence[Feature], gridded: SortedFrame, cutoff: SortedFrame | None
) -> Iterator[tuple[Numbers, list[pa.Array]]]:
    """The aggregates at all moments of the chunk's entities, with their places in the sorted frame."""
    codes = integers(chunk.keys[0])
    entities, places = expanded(gridded.begins[codes], gridded.begins[codes + 1])
    if cutoff is None:
        for first in range(0, len(places), _MOMENTS):
            here, of = places[first : first + _MOMENTS], entities[first : first + _MOMENTS]
            yield here, evaluate(features, chunk.events, of, gridded.moments[here])
        return
    # Each moment sees events of its own, so each becomes an entity of its own.
    sizes = np.diff(chunk.events.begins)[entities]
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // _EXPANDED)) + 1
    for here in np.split(np.arange(len(places)), cuts):
        events = _seen(chunk, entities[here], cutoff.moments[places[here]])
        yield places[here], evaluate(features, events, np.arange(len(here)), gridded.moments[places[here]])


def _seen(chunk: Chunk, entities: Numbers, moments: Numbers) -> Events:
    """Per moment the events of its entity that had been created by then."""
    events = chunk.events
    owners, rows = expanded(events.begins[entities], events.begins[entities + 1])
    if chunk.created is not None:
        created = chunk.created[rows] <= moments[owners]
        owners, rows = owners[created], rows[created]
    begins = np.searchsorted(owners, np.arange(len(entities) + 1))
    taken = pa.array(rows)
    return Events(begins, events.times[rows], {read: values.take(taken) for read, values in events.values.items()})


def expanded(begins: Numbers, ends: Numbers) -> tuple[Numbers, Numbers]:
    """All numbers of some ranges, one after another, each with the index of its range (first in the result)."""
    sizes = ends - begins
    owner = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return owner, np.arange(len(owner)) - np.repeat(before - begins, sizes)


def _aligned(
    features: Sequence[Feature],
    parts: Sequence[list[pa.Array]],
    places: Sequence[Numbers],
    ordered: SortedFrame,
    count: int,
) -> list[pa.Array]:
    """Values in the order of the frame's rows; those of empty windows where no event was found."""
    found = sum(len(place) for place in places)
    empty, null = found, found + 1
    by_place = np.full(len(ordered.rows), empty)
    at = 0
    for place in places:
        by_place[place] = np.arange(at, at := at + len(place))
    by_row = np.full(count, null)
    by_row[ordered.rows] = by_place
    where: Any = pa.array(by_row)
    aligned = []
    for feature, part in zip(features, parts, strict=True):
        part.append(pa.array([feature.empty, None], ARROW[feature.type]))
        aligned.append(pa.concat_arrays(part).take(where))
        # So that only one feature at a time is in memory twice.
        part.clear()
    return aligned
