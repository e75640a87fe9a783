"""The point-in-time join of one view: for every (entity, moment) the row that was visible then, and the aggregates.

The frame is sorted by entity and moment. Each row of history is placed, by a search among its entity's moments, at the
first moment that sees it. There the greatest (event, created, row number) is kept. At the end the best row of each
moment is carried on to the later moments of its entity. So history is streamed once, in any order, and never sorted.
Memory holds the frame and some batches, whatever the length of the history. Features are read last, for the winning
rows alone (``history``).

An ``ASOF`` join sorts history, which does more work for the same result (``benchmarks/point_in_time.py``): the frame,
which is sorted here, is usually much smaller. And here nothing has to spill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from millrace_core.features.definition.definition import Definition, Feature
from millrace_core.features.evaluation.derivation import Derivation
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.evaluation.program import Computed
from millrace_core.features.history.entity_frame import NONE, EntityFrame, SortedFrame
from millrace_core.features.history.history import NO_CREATED, History, HistorySource, TimeRange
from millrace_core.features.types.arrow_numpy import Numbers, integers
from millrace_core.features.types.conform import ARROW
from millrace_core.features.windows import aggregate_join

_LOWEST: Final = -(2**63)


def join(
    definition: Definition,
    features: Sequence[Feature],
    source: HistorySource,
    frame: EntityFrame,
    engine: Engine | None = None,
) -> list[pa.Array]:
    """The features as they were visible, one array per feature, aligned with the frame's rows; null where nothing was.

    Aggregates are those of the last windows that had ended. Expressions are computed from columns and aggregates, and
    on-demand ones from the frame's ``request``, too.

    Args:
        definition: the view's.
        features: the wanted features of the view, in order.
        source: the view's.
        frame: entities and moments.
        engine: sorts the events of aggregates. By default one with a spill directory of its own.

    Raises:
        RejectError: a column does not fit the definition, or a request field is missing.
        ReportError: memory or disk do not suffice.
        SourceChangedError: the source changed meanwhile.
    """
    return search(definition, features, source, frame, engine)().values


def search(
    definition: Definition,
    features: Sequence[Feature],
    source: HistorySource,
    frame: EntityFrame,
    engine: Engine | None = None,
) -> Callable[[], Computed]:
    """The first half of a ``join``: finds the rows that were visible, and computes aggregates.

    Returns:
        The second half, to be called once: reads the features of these rows, and says for how many rows of the frame
        expressions failed. It may run in another thread while another
        view is searched: one mostly reads, the other mostly computes.
    """
    derivation = Derivation(definition, features)
    columns = [feature for feature in derivation.reads if not feature.aggregate]
    windowed = [feature for feature in derivation.reads if feature.aggregate]
    values: dict[str, pa.Array] = {}
    winners = np.full(len(frame.moments), NONE)
    history = None
    if columns or not windowed:
        history = _winners(definition, source, frame, winners)
    if windowed:
        found = aggregate_join.join(definition, windowed, source, frame, engine)
        values |= {feature.name: column for feature, column in zip(windowed, found, strict=True)}

    def fetch() -> Computed:
        found = _fetch(history, columns, winners)
        have = values | {feature.name: column for feature, column in zip(columns, found, strict=True)}
        reads = [have[feature.name] for feature in derivation.reads]
        return derivation.columns(reads, pa.array(winners != NONE), frame.request, _entities(definition, frame))

    return fetch


def _entities(definition: Definition, frame: EntityFrame) -> pa.Array:
    """Which rows of the frame have an entity and a moment, that is, no null."""
    found = np.zeros(len(frame.moments), bool)
    found[frame.sorted(definition.join_keys).rows] = True
    return pa.array(found)


def _winners(definition: Definition, source: HistorySource, frame: EntityFrame, winners: Numbers) -> History | None:
    """Sets ``winners`` to the row of history that each row of the frame sees; None where no row can see any."""
    ordered = frame.sorted(definition.join_keys)
    if not len(ordered.rows):
        return None
    earliest = None if definition.ttl is None else max(int(ordered.moments.min()) - definition.ttl, _LOWEST)
    history = History(definition, source, TimeRange(earliest, int(ordered.moments.max())))
    best = _BestRows(len(ordered.rows))
    for placed in _placed(history, ordered, cutoff=frame.created_cutoff):
        best.merge(placed)
    best.carry_on(ordered, cutoff=frame.created_cutoff)
    winners[ordered.rows] = best.seq
    if definition.ttl is not None:
        oldest = np.maximum(ordered.moments, _LOWEST + definition.ttl) - definition.ttl
        winners[ordered.rows[best.event < oldest]] = NONE
    return history


class _PlacedRows(NamedTuple):
    """Rows of history, each with its place: the first moment in the sorted frame that sees it.

    ``created`` is None where rows have no created times.
    """

    place: Numbers
    event: Numbers
    created: Numbers | None
    seq: Numbers


class _BestRows:
    """The best row of history per place of the sorted frame."""

    def __init__(self, count: int) -> None:
        self.event = np.full(count, _LOWEST)
        self.created = np.full(count, NO_CREATED)
        self.seq = np.full(count, NONE)

    def merge(self, placed: _PlacedRows) -> None:
        """Keeps the greatest (event, created, row number) per place."""
        place, event, created, seq = placed
        before = self.event[place]
        ahead = event >= before
        place, event, before, created, seq = _those(ahead, place, event, before, created, seq)
        np.maximum.at(self.event, place, event)
        place, newer, created, seq = _those(event == self.event[place], place, event > before, created, seq)
        self.created[place[newer]], self.seq[place[newer]] = NO_CREATED, NONE
        if created is not None:
            before = self.created[place]
            np.maximum.at(self.created, place, created)
            place, newer, seq = _those(created == self.created[place], place, created > before, seq)
            self.seq[place[newer]] = NONE
        np.maximum.at(self.seq, place, seq)

    def carry_on(self, ordered: SortedFrame, *, cutoff: bool) -> None:
        """Gives every place the best row of its entity so far."""
        found = np.flatnonzero(self.seq != NONE)
        # A row that is first seen at a later moment is newer, unless it was seen late because of its created time.
        ranked = np.lexsort((self.seq[found], self.created[found], self.event[found])) if cutoff else slice(None)
        by_rank = np.concatenate([[0], found[ranked]])
        rank = np.zeros(len(self.seq), np.int64)
        rank[by_rank[1:]] = np.arange(1, len(by_rank))
        # Ranks of a later entity begin above all ranks of an earlier one, so nothing is carried across entities.
        begin = ordered.entities * len(by_rank)
        winner = np.maximum.accumulate(begin + rank) - begin
        source = by_rank[winner]
        self.event = np.where(winner, self.event[source], _LOWEST)
        self.seq = np.where(winner, self.seq[source], NONE)


def _placed(history: History, ordered: SortedFrame, *, cutoff: bool) -> Iterator[_PlacedRows]:
    """All rows of history that some moment sees. Batches are placed in parallel."""
    waiting: deque[Future[_PlacedRows]] = deque()
    created = history.definition.created_field is not None
    workers = pa.cpu_count()
    with ThreadPoolExecutor(workers) as pool:
        for batch in history.numbered():
            waiting.append(pool.submit(_place, batch, ordered, created=created, cutoff=cutoff))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _place(batch: pa.RecordBatch, ordered: SortedFrame, *, created: bool, cutoff: bool) -> _PlacedRows:
    *keys, event, written, seq = batch.columns
    entities = ordered.codes(keys)
    known = entities != NONE
    times, moments = integers(event), integers(written) if created else None
    if cutoff:
        known &= False if moments is None else moments != NO_CREATED
    entities, times, moments, numbers = _those(known, entities, times, moments, integers(seq))
    place = ordered.place(entities, times if not cutoff or moments is None else np.maximum(times, moments))
    seen = place < ordered.begins.take(entities + 1)
    return _PlacedRows(*_those(seen, place, times, moments, numbers))


def _those(chosen: Any, *columns: Any) -> Sequence[Any]:
    """The chosen values of each column; a column that is None stays None."""
    if chosen.all():
        return columns
    rows = np.flatnonzero(chosen)
    return [None if column is None else column.take(rows) for column in columns]


def _fetch(history: History | None, features: Sequence[Feature], winners: Numbers) -> list[pa.Array]:
    numbers, places = np.unique(winners, return_inverse=True)
    missing = winners == NONE
    if missing.any():
        numbers, places = numbers[1:], places - 1
    parts = list(history.rows([numbers], features, keyed=False)) if history and features and len(numbers) else []
    where: Any = pa.array(places, pa.int64(), mask=missing)
    fetched = []
    for index, feature in enumerate(features):
        found = [part.features[index] for part in parts] or [pa.nulls(0, ARROW[feature.type])]
        fetched.append(pa.concat_arrays(found).take(where))
    return fetched
