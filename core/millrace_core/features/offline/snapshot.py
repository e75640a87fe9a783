"""What materialization writes of a view with aggregates: per entity a snapshot as of the end of the run.

A snapshot's event time is the end of the run, so the newest snapshot wins; it has no created time. Its last value is
the time of the entity's latest row (``definition.ROW_TIME``), by which readers know how long the features of that row
are visible and when a window has run empty. There is a snapshot of every entity with an event in some window, or with
a visible row where the view has features of rows; any other entity's would be empty, and no row says the same. What a
run writes depends on its end alone.

A run that has the whole history before it writes all snapshots. One that goes on from an earlier run leaves those that
stay as they are: of entities without an event in any window, now or at the end of the earlier run, and without a new
row. Readers know of them that the windows are empty, and their row is the same.
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

# Stands for a row that does not expire: 73,000 years.
NEVER: Final = 2**61


def window(definition: Definition, upto: int) -> TimeRange:
    """The event times that a run which ends at ``upto`` reads."""
    every, reach = definition.windows
    begins = max(upto, EARLIEST) // every * every - reach + 1
    if _row_bound(definition):
        if definition.ttl is None:
            return TimeRange(None, upto)
        begins = min(begins, upto - definition.ttl)
    return TimeRange(begins, upto)


def changed(
    definition: Definition, source: HistorySource, known: int, after: int, upto: int, created_after: int | None
) -> TimeRange:
    """The event times that a run which ends at ``upto`` reads where the store holds the snapshots of earlier runs.

    An entity whose last window has run empty since then is among them: what an expression over its row and its
    windows gives has changed. A row that came late, with an event time before all these, may be the latest of its
    entity; then it is all that ``window`` says.

    Args:
        definition: of the view.
        source: is looked through for rows that came late.
        known: up to which event time earlier runs have read.
        after: from which event time on rows are new.
        upto: the end of the run.
        created_after: rows of any event time are new that were created later than this; None where that is not known.
    """
    everything = window(definition, upto)
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
    """The snapshots as of the window's end, in batches; ``expires`` says up to when each has something to say.

    Memory is the engine's and one chunk's; an entity's events must fit into it.

    Raises:
        RejectError: a column does not hold what the definition says, or a sum does not fit into its type.
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
    """The snapshots of the chunk's entities, as far as they say anything."""
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
    columns = derivation.columns(columns, pa.array(visible[there]))
    row_times = int64_array(latest[there]).cast(ARROW["timestamp"])
    return Rows(
        [key.take(taken) for key in chunk.keys],
        int64_array(np.full(len(there), upto)),
        None,
        [*columns, row_times],
        chunk.done,
        int64_array(_expires(definition, latest[there])),
    )


def _values(
    features: Sequence[Feature], events: Events, entities: Numbers, grid: Numbers, visible: np.ndarray[Any, Any]
) -> list[pa.Array]:
    """The features of entities: aggregates at the grid's moment, columns of the latest row where it is visible."""
    windowed = [feature for feature in features if feature.aggregate]
    aggregates = iter(evaluate(windowed, events, entities, grid))
    latest = pa.array(events.begins[entities + 1] - 1, mask=~visible)
    return [
        next(aggregates) if feature.aggregate else events.values[feature.source_column].take(latest)  # type: ignore[index]
        for feature in features
    ]


def _expires(definition: Definition, latest: Numbers) -> Numbers:
    """Up to when a snapshot says anything: until its last window is empty and its row is no longer visible."""
    every, reach = definition.windows
    windows = -(-(latest + reach) // every) * every - 1
    if not _row_bound(definition):
        return windows
    return np.full_like(latest, NEVER) if definition.ttl is None else np.maximum(windows, latest + definition.ttl)


def _row_bound(definition: Definition) -> bool:
    return any(feature.row_bound and not feature.on_demand for feature in definition.features)
