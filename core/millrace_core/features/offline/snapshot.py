"""What materialization writes of a view with aggregates: a snapshot per entity as of the end of the run.

A snapshot's event time is the end of the run, so the newest snapshot wins. It has no created time. Its last value is
the time of the entity's latest row (``definition.ROW_TIME``). By it readers know how long the row-bound features are
visible, and when a window has run empty.

There is a snapshot of every entity with an event in some window, and, where the view has row-bound features, of every
entity with a visible row. The snapshot of any other entity would be empty, and having no row means the same. What a run
writes depends on its end alone.

A run over the whole history writes all snapshots. A run that continues an earlier one leaves out those that stay as
they are: of entities without a new row, and without an event in any window now or at the end of the earlier run.
Readers know that the windows of these are empty, and their row is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millrace_core.features.definition.definition import Definition, Feature
from millrace_core.features.evaluation.derivation import Derivation
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import History, HistorySource, Rows, TimeRange
from millrace_core.features.types.arrow_numpy import Numbers, int64_array
from millrace_core.features.types.conform import ARROW, KEY_ARROW
from millrace_core.features.windows.events import Chunk, chunks, reads_of
from millrace_core.features.windows.range_queries import first_above
from millrace_core.features.windows.window_functions import EARLIEST, Events, evaluate, grid_of

# Stands for a time that never comes: in 73,000 years.
NEVER: Final = 2**61


def time_range(definition: Definition, upto: int) -> TimeRange:
    """The event times that a run which ends at ``upto`` reads."""
    every, reach = definition.windows
    begins = max(upto, EARLIEST) // every * every - reach + 1
    if _row_bound(definition):
        if definition.ttl is None:
            return TimeRange(None, upto)
        begins = min(begins, upto - definition.ttl)
    return TimeRange(begins, upto)


def changed_range(
    definition: Definition, source: HistorySource, known: int, after: int, upto: int, created_after: int | None
) -> TimeRange:
    """The event times that a run which ends at ``upto`` reads where the store holds the snapshots of earlier runs.

    Entities whose last window has run empty since then are included: an expression over their row and their windows may
    have changed. A late row, with an event time before all these, may be the latest of its entity. If there is one, the
    run reads the whole range of ``time_range``.

    Args:
        definition: the view's.
        source: is searched for late rows.
        known: the event time up to which earlier runs have read.
        after: rows of later event times are new.
        upto: the end of the run.
        created_after: rows that were created later than this are new, whatever their event time; None: unknown.
    """
    everything = time_range(definition, upto)
    every, reach = definition.windows
    earliest = min(int(grid_of(np.array([known]), every)[0]) - reach, known, after) + 1
    if everything.earliest is not None and everything.earliest >= earliest:
        return everything
    if created_after is not None:
        before = TimeRange(everything.earliest, earliest - 1, created_after)
        if any(len(times) for times in History(definition, source, before).event_times()):
            return everything
    return everything._replace(earliest=earliest)


def snapshots(definition: Definition, source: HistorySource, within: TimeRange, engine: Engine) -> Iterator[Rows]:
    """The snapshots as of the range's end, in batches, with the times at which they expire (``expires``).

    Memory is bounded by the engine and one chunk. The events of one entity must fit into it.

    Raises:
        RejectError: a column does not fit the definition, or a sum does not fit into its type.
        ReportError: memory or disk do not suffice.
    """
    history = History(definition, source, within)
    types = [KEY_ARROW[key.type] for key in definition.join_keys]
    derivation = Derivation(definition, [feature for feature in definition.features if not feature.on_demand])
    batches = history.numbered(reads_of(derivation.reads))
    for chunk in chunks(batches, types, derivation.reads, engine):
        rows = _rows(definition, derivation, chunk, within.latest)
        if len(rows.event_times):
            yield rows


def _rows(definition: Definition, derivation: Derivation, chunk: Chunk, upto: int) -> Rows:
    """The snapshots of the chunk's entities, without empty ones."""
    begins, times, _ = chunk.events
    every, reach = definition.windows
    count = len(begins) - 1
    latest = times[begins[1:] - 1]
    visible = np.full(count, _row_bound(definition))
    if definition.ttl is not None:
        visible &= latest >= upto - definition.ttl
    grid = grid_of(np.full(count, upto), every)
    high = first_above(times, begins[:-1], begins[1:], grid)
    low = first_above(times, begins[:-1], high, grid - reach)
    there = np.flatnonzero(visible | (low < high))
    taken = pa.array(there)
    columns = _values(derivation.reads, chunk.events, there, grid[there], visible[there])
    columns, errors = derivation.columns(columns, pa.array(visible[there]))
    row_times = int64_array(latest[there]).cast(ARROW["timestamp"])
    return Rows(
        [key.take(taken) for key in chunk.keys],
        int64_array(np.full(len(there), upto)),
        None,
        [*columns, row_times],
        chunk.done,
        int64_array(_expires(definition, latest[there])),
        errors,
    )


def _values(
    features: Sequence[Feature], events: Events, entities: Numbers, grid: Numbers, visible: np.ndarray[Any, Any]
) -> list[pa.Array]:
    """The features of entities: aggregates at moments of the grid, columns of the latest row where it is visible."""
    windowed = [feature for feature in features if feature.aggregate]
    aggregates = iter(evaluate(windowed, events, entities, grid))
    latest = pa.array(events.begins[entities + 1] - 1, mask=~visible)
    return [
        next(aggregates) if feature.aggregate else events.values[feature.source_column].take(latest)  # type: ignore[index]
        for feature in features
    ]


def _expires(definition: Definition, latest: Numbers) -> Numbers:
    """When a snapshot expires: when its last window is empty and its row no longer visible."""
    every, reach = definition.windows
    windows = -(-(latest + reach) // every) * every - 1
    if not _row_bound(definition):
        return windows
    return np.full_like(latest, NEVER) if definition.ttl is None else np.maximum(windows, latest + definition.ttl)


def _row_bound(definition: Definition) -> bool:
    return any(feature.row_bound and not feature.on_demand for feature in definition.features)
