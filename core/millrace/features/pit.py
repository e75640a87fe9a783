"""The point-in-time join of one view: for every (entity, moment) the row that was visible then.

The frame is sorted by entity and moment. Each row of history then finds, by a binary search among its entity's moments,
the first moment that sees it; there the greatest (event, created, row number) is kept. At the end the best of a moment
is carried on to the later ones of its entity. So history is streamed once, in any order and never sorted, and memory
holds the frame and some batches, whatever the length of the history. Features are fetched last, for the winners alone
(see ``history``).

A sorting ``ASOF`` join does more work for the same (``benchmarks/point_in_time.py``), because the frame, which is
sorted here, is as a rule much the smaller side; and here there is nothing to spill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.features.conform import ARROW, conform_key, int64_array, integers
from millrace.features.definition import Definition, Feature, JoinKey
from millrace.features.evaluation import Derivation
from millrace.features.history import NO_CREATED, History, Numbers, Source, Window

# Least rows of history that are merged at once; more where the frame is larger, because a merge costs as much as it.
MERGED_ROWS: Final = 131_072

_LOWEST: Final = -(2**63)
_NONE: Final = -1
# Integer keys are looked up in a table by value where it has at most so many entries, at all or per value.
_DIRECT_LEAST: Final = 65_536
_DIRECT_SPREAD: Final = 16


@dataclass
class Frame:
    """What is asked: one row per (entity, moment), in any order and with any duplicates. Made once for several views.

    Attributes:
        keys: Arrow arrays by join key.
        moments: int64 microseconds; a null matches nothing.
        created_cutoff: see only rows with a created time at or before the moment.
        request: Arrow arrays of what on-demand expressions read of the request, by request field.
    """

    keys: Mapping[str, pa.Array]
    moments: pa.Array
    created_cutoff: bool = False
    request: Mapping[str, pa.Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sorted: dict[tuple[JoinKey, ...], _Asked] = {}

    def sorted(self, join_keys: tuple[JoinKey, ...]) -> _Asked:
        """The frame by the entities of these join keys."""
        if join_keys not in self._sorted:
            self._sorted[join_keys] = _asked(join_keys, self)
        return self._sorted[join_keys]


def join(
    definition: Definition,
    features: Sequence[Feature],
    source: Source,
    frame: Frame,
    merged_rows: int = MERGED_ROWS,
) -> list[pa.Array]:
    """The features as they were visible, one array per feature, aligned with the frame's rows; null where none was.

    Expressions are computed from what was visible, those on demand from the frame's ``request`` too.

    Raises:
        RejectError: a column does not hold what the definition says, or a request field is missing.
        RetryError: the source changed meanwhile.
    """
    derivation = Derivation(definition, features)
    found, visible = _join(definition, derivation.reads, source, frame, merged_rows)
    return derivation.columns(found, visible, frame.request)


def _join(
    definition: Definition, features: Sequence[Feature], source: Source, frame: Frame, merged_rows: int
) -> tuple[list[pa.Array], pa.Array]:
    """The features, and per row of the frame whether a row of the source was visible."""
    asked = frame.sorted(definition.join_keys)
    if not len(asked.rows):
        nothing = pa.array(np.zeros(len(frame.moments), bool))
        return [pa.nulls(len(frame.moments), ARROW[feature.type]) for feature in features], nothing
    earliest = None if definition.ttl is None else max(int(asked.moments.min()) - definition.ttl, _LOWEST)
    history = History(definition, source, Window(earliest, int(asked.moments.max())))
    best = _Best(len(asked.rows))
    for seen in _together(_placed(history, asked, cutoff=frame.created_cutoff), max(merged_rows, 2 * len(asked.rows))):
        best.merge(seen)
    best.carry_on(asked, cutoff=frame.created_cutoff)
    winners = np.full(len(frame.moments), _NONE)
    winners[asked.rows] = best.seq
    if definition.ttl is not None:
        oldest = np.maximum(asked.moments, _LOWEST + definition.ttl) - definition.ttl
        winners[asked.rows[best.event < oldest]] = _NONE
    return _fetch(history, features, winners), pa.array(winners != _NONE)


class _Seen(NamedTuple):
    """Rows of history, each with the place (in the sorted frame) of the first moment that sees it."""

    place: Numbers
    event: Numbers
    created: Numbers
    seq: Numbers


class _Level(NamedTuple):
    """One join key's values in the frame, and the pairs that they make with the codes of the keys before it.

    ``direct`` is a table of the values' places by value, for integers that lie close enough together.
    """

    values: pa.Array
    direct: _Direct | None
    pairs: pa.Array | None

    def places(self, key: pa.Array) -> Numbers:
        """Where each of a key's values stands among ours; -1 where it does not."""
        return _places(key, self.values) if self.direct is None else self.direct.places(integers(key))


class _Direct(NamedTuple):
    """Places by value: entry i is that of the value ``low + i``, the last entry stands for all others."""

    low: int
    table: Numbers

    @classmethod
    def of(cls, values: pa.Array) -> _Direct | None:
        """The table of distinct values; None where they are no integers, or too far apart for one."""
        if not pa.types.is_int64(values.type) or not len(values):
            return None
        numbers = integers(values)
        low, high = int(numbers.min()), int(numbers.max())
        if high - low >= max(_DIRECT_LEAST, _DIRECT_SPREAD * len(values)):
            return None
        table = np.full(high - low + 2, _NONE)
        table[numbers - low] = np.arange(len(values))
        return cls(low, table)

    def places(self, numbers: Numbers) -> Numbers:
        # Below the lowest the difference wraps around to what is above all.
        return self.table.take(np.minimum((numbers - self.low).view(np.uint64), np.uint64(len(self.table) - 1)))


@dataclass(frozen=True)
class _Asked:
    """The frame, sorted by entity and moment, without rows that can match nothing.

    Attributes:
        levels: turn join keys into entity codes 0, 1, ….
        begins: per entity code where its moments begin; one more than there are entities.
        entities: entity codes, ascending.
        moments: microseconds, ascending within an entity.
        rows: where each stands in the frame.
    """

    levels: list[_Level]
    begins: Numbers
    entities: Numbers
    moments: Numbers
    rows: Numbers

    def codes(self, keys: Sequence[pa.Array]) -> Numbers:
        """Entity codes of join keys; -1 for entities that are not asked for."""
        codes = np.empty(0, np.int64)
        for level, key in zip(self.levels, keys, strict=True):
            places = level.places(key)
            if level.pairs is None:
                codes = places
            else:
                known = (codes != _NONE) & (places != _NONE)
                paired = np.where(known, codes * len(level.values) + places, _NONE)
                codes = _places(int64_array(paired), level.pairs)
        return codes

    def place(self, entities: Numbers, moments: Numbers) -> Numbers:
        """Per row the first place of its entity at or after its moment; its entity's end where there is none."""
        low, high = self.begins.take(entities), self.begins.take(entities + 1)
        for _ in range(int(np.diff(self.begins).max()).bit_length()):
            middle = low + high
            middle >>= 1
            later = self.moments.take(middle, mode="clip") < moments
            later &= low < high
            high = np.where(later, high, middle)
            middle += 1
            np.copyto(low, middle, where=later)
        return low


class _Best:
    """Per place of the sorted frame the best row of history."""

    def __init__(self, count: int) -> None:
        self.event = np.full(count, _LOWEST)
        self.created = np.full(count, NO_CREATED)
        self.seq = np.full(count, _NONE)

    def merge(self, seen: _Seen) -> None:
        """Keeps per place the greatest (event, created, row number)."""
        place, event, created, seq = seen
        before = self.event.copy()
        np.maximum.at(self.event, place, event)
        newer = self.event != before
        self.created[newer], self.seq[newer] = NO_CREATED, _NONE
        tied = event == self.event[place]
        place, created, seq = place[tied], created[tied], seq[tied]
        before = self.created.copy()
        np.maximum.at(self.created, place, created)
        self.seq[self.created != before] = _NONE
        tied = created == self.created[place]
        np.maximum.at(self.seq, place[tied], seq[tied])

    def carry_on(self, asked: _Asked, *, cutoff: bool) -> None:
        """Lets every place see what earlier places of its entity saw."""
        found = np.flatnonzero(self.seq != _NONE)
        # A row that is seen first at a later moment is newer, unless it is its created time that made it so late.
        ranked = np.lexsort((self.seq[found], self.created[found], self.event[found])) if cutoff else slice(None)
        by_rank = np.concatenate([[0], found[ranked]])
        rank = np.zeros(len(self.seq), np.int64)
        rank[by_rank[1:]] = np.arange(1, len(by_rank))
        # Ranks of a later entity begin above all of an earlier one, so nothing is carried over.
        begin = asked.entities * len(by_rank)
        winner = np.maximum.accumulate(begin + rank) - begin
        source = by_rank[winner]
        self.event = np.where(winner, self.event[source], _LOWEST)
        self.seq = np.where(winner, self.seq[source], _NONE)


def _asked(join_keys: Sequence[JoinKey], frame: Frame) -> _Asked:
    keys = [
        conform_key(frame.keys[key.name], key.type, column=key.name, field=f"entity_df.{key.name}") for key in join_keys
    ]
    usable = frame.moments.is_valid()
    for key in keys:
        usable = pc.and_(usable, key.is_valid())
    rows = np.flatnonzero(usable.to_numpy(zero_copy_only=False))
    moments = integers(frame.moments)[rows]
    levels: list[_Level] = []
    codes: pa.Array = None
    for key in keys:
        known = key.filter(usable)
        values = known.unique()
        index = pc.index_in(known, values)
        paired = None if codes is None else _pairs(codes, index, values)
        pairs = None if paired is None else paired.unique()
        levels.append(_Level(values, _Direct.of(values), pairs))
        codes = index if paired is None else pc.index_in(paired, pairs)
    entities = integers(codes.cast(pa.int64()))
    order = np.lexsort((moments, entities))
    entities = entities[order]
    begins = np.searchsorted(entities, np.arange(int(entities[-1]) + 2 if len(entities) else 1))
    return _Asked(levels, begins, entities, moments[order], rows[order])


def _places(values: pa.Array, among: pa.Array) -> Numbers:
    return integers(pc.index_in(values, among).cast(pa.int64()).fill_null(_NONE))


def _pairs(codes: pa.Array, index: pa.Array, values: pa.Array) -> pa.Array:
    """One number per pair of a code and an index into the values; null where either is."""
    return pc.add(pc.multiply(codes.cast(pa.int64()), len(values)), index.cast(pa.int64()))


def _placed(history: History, asked: _Asked, *, cutoff: bool) -> Iterator[_Seen]:
    """All rows of history that some moment sees; batches are looked up side by side."""
    waiting: deque[Future[_Seen]] = deque()
    workers = pa.cpu_count()
    with ThreadPoolExecutor(workers) as pool:
        for batch in history.numbered():
            waiting.append(pool.submit(_place, batch, asked, cutoff=cutoff))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _together(parts: Iterable[_Seen], rows: int) -> Iterator[_Seen]:
    """The same rows, at least so many at once."""
    kept: list[_Seen] = []
    count = 0
    for part in parts:
        kept.append(part)
        count += len(part.seq)
        if count >= rows:
            yield _Seen(*map(np.concatenate, zip(*kept, strict=True)))
            kept, count = [], 0
    if count:
        yield _Seen(*map(np.concatenate, zip(*kept, strict=True)))


def _place(batch: pa.RecordBatch, asked: _Asked, *, cutoff: bool) -> _Seen:
    *keys, event, created, seq = batch.columns
    entities = asked.codes(keys)
    known = entities != _NONE
    columns: list[Numbers] = [entities, integers(event), integers(created), integers(seq)]
    if cutoff:
        known &= columns[2] != NO_CREATED
    if not known.all():
        columns = [column[known] for column in columns]
    entities, *columns = columns
    visible = np.maximum(columns[0], columns[1]) if cutoff else columns[0]
    place = asked.place(entities, visible)
    seen = place < asked.begins[entities + 1]
    return _Seen(place[seen], *(column[seen] for column in columns))


def _fetch(history: History, features: Sequence[Feature], winners: Numbers) -> list[pa.Array]:
    numbers, places = np.unique(winners, return_inverse=True)
    missing = winners == _NONE
    if missing.any():
        numbers, places = numbers[1:], places - 1
    parts = list(history.rows([numbers], features))
    where: Any = pa.array(places, pa.int64(), mask=missing)
    fetched = []
    for index, feature in enumerate(features):
        found = [part.features[index] for part in parts] or [pa.nulls(0, ARROW[feature.type])]
        fetched.append(pa.concat_arrays(found).take(where))
    return fetched
