"""The point-in-time join of one view: for every (entity, moment) the row that was visible then.

Per chunk of history one ``ASOF`` join finds the newest event time at or before each moment, a second join the winner
among the rows of that event time; chunks are merged by (event, created, row number). So memory holds one chunk and
the frame. Features are fetched last, for the winners alone (see ``history``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.features.conform import ARROW, conform_key, int64_array, integers
from millrace.features.definition import Definition, Feature
from millrace.features.engine import Engine
from millrace.features.history import NO_CREATED, History, Numbers, Source, Window

# Rows of history that are joined at once; 32 bytes or so each while they are sorted.
CHUNK_ROWS: Final = 4_000_000

_LOWEST: Final = -(2**63)
_NONE: Final = -1


@dataclass(frozen=True)
class Frame:
    """What is asked: one row per (entity, moment), in any order and with any duplicates.

    Attributes:
        keys: Arrow arrays by join key.
        moments: int64 microseconds; a null matches nothing.
        created_cutoff: see only rows with a created time at or before the moment.
    """

    keys: Mapping[str, pa.Array]
    moments: pa.Array
    created_cutoff: bool = False


def join(
    definition: Definition,
    features: Sequence[Feature],
    source: Source,
    frame: Frame,
    engine: Engine,
    chunk_rows: int = CHUNK_ROWS,
) -> list[pa.Array]:
    """The features as they were visible, one array per feature, aligned with the frame's rows; null where none was.

    Raises:
        RejectError: a column does not hold what the definition says.
        ReportError: memory or disk do not suffice.
        RetryError: the source changed meanwhile.
    """
    asked = _asked(definition, frame)
    if not asked.num_rows:
        return [pa.nulls(len(frame.moments), ARROW[feature.type]) for feature in features]
    span = pc.min_max(asked["t"]).as_py()
    earliest = None if definition.ttl is None else max(span["min"] - definition.ttl, _LOWEST)
    history = History(definition, source, Window(earliest, span["max"]))
    best = _Best(len(frame.moments))
    query = _cutoff_query(definition) if frame.created_cutoff else _query(definition)
    with engine.connection() as session:
        session.register("asked", asked)
        session.run("create temp table frame as from asked")
        for chunk in _chunks(history, chunk_rows):
            session.register("chunk", chunk)
            best.merge(session.table(query))
    winners = best.seq
    if definition.ttl is not None:
        oldest = np.maximum(integers(frame.moments), _LOWEST + definition.ttl) - definition.ttl
        winners = np.where(best.event >= oldest, winners, _NONE)
    return _fetch(history, features, winners)


class _Best:
    """Per row of the frame the best row of history so far."""

    def __init__(self, count: int) -> None:
        self.event = np.full(count, _LOWEST)
        self.created = np.full(count, NO_CREATED)
        self.seq = np.full(count, _NONE)

    def merge(self, found: pa.Table) -> None:
        """Takes over what a later chunk has that is better; it is later in the source's order, so it wins ties."""
        row, event, created, seq = (integers(found[name].combine_chunks()) for name in ("r", "event", "created", "seq"))
        newer = event > self.event[row]
        better = newer | ((event == self.event[row]) & (created >= self.created[row]))
        row = row[better]
        self.event[row], self.created[row], self.seq[row] = event[better], created[better], seq[better]


def _asked(definition: Definition, frame: Frame) -> pa.Table:
    """Columns k0, k1, …, t (the moment) and r (the frame's row number), without rows that can match nothing."""
    keys = [
        conform_key(frame.keys[key.name], key.type, column=key.name, field=f"entity_df.{key.name}")
        for key in definition.join_keys
    ]
    names = [*(f"k{index}" for index in range(len(keys))), "t", "r"]
    rows = int64_array(np.arange(len(frame.moments), dtype=np.int64))
    asked = pa.table([*keys, frame.moments, rows], names=names)
    return asked.drop_null() if any(column.null_count for column in [*keys, frame.moments]) else asked


def _chunks(history: History, rows: int) -> Iterator[pa.Table]:
    batches: list[pa.RecordBatch] = []
    count = 0
    for batch in history.numbered():
        batches.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(batches)
            batches, count = [], 0
    if count:
        yield pa.Table.from_batches(batches)


def _names(definition: Definition) -> list[str]:
    return [f"k{index}" for index in range(len(definition.join_keys))]


def _query(definition: Definition) -> str:
    """r, event, created, seq of the winners of a chunk."""
    names = _names(definition)
    keys = ", ".join(names)
    same = " and ".join(f"frame.{key} = mine.{key}" for key in names)
    winner = "max({c: created, s: seq})" if definition.created_field else f"{{c: {NO_CREATED}, s: max(seq)}}"
    return f"""
        with mine as materialized (
            select * from chunk semi join frame using ({keys})
        ), hit as materialized (
            select frame.r, {", ".join(f"frame.{key}" for key in names)}, mine.event
            from frame asof join mine on {same} and frame.t >= mine.event
        ), tied as (
            select {keys}, event, {winner} as winner
            from mine semi join hit using ({keys}, event) group by {keys}, event
        )
        select r, event, winner.c::bigint as created, winner.s as seq from hit join tied using ({keys}, event)
        """  # noqa: S608 names of our own making


def _cutoff_query(definition: Definition) -> str:
    """The same where rows become visible at their created time, if that is after their event time.

    By that time, rows that never win (an earlier one has a newer event time) are left out; among the rest the last one
    to become visible is the winner.
    """
    names = _names(definition)
    keys = ", ".join(names)
    same = " and ".join(f"frame.{key} = ahead.{key}" for key in names)
    return f"""
        with mine as (
            select *, greatest(event, created) as visible, row_number() over (order by event, created, seq) as place
            from chunk semi join frame using ({keys}) where created <> {NO_CREATED}
        ), ahead as (
            select * from mine qualify place = max(place) over (
                partition by {keys} order by visible range between unbounded preceding and current row
            )
        )
        select frame.r, ahead.event, ahead.created, ahead.seq
        from frame asof join ahead on {same} and frame.t >= ahead.visible
        """  # noqa: S608 names of our own making


def _fetch(history: History, features: Sequence[Feature], winners: Numbers) -> list[pa.Array]:
    numbers, places = np.unique(winners, return_inverse=True)
    missing = winners == _NONE
    if missing.any():
        numbers, places = numbers[1:], places - 1
    parts = list(history.rows([numbers], features))
    where = pa.array(places, pa.int64(), mask=missing)
    fetched = []
    for index, feature in enumerate(features):
        column = pa.chunked_array([part.features[index] for part in parts], ARROW[feature.type])
        fetched.append(column.take(where).combine_chunks())
    return fetched
