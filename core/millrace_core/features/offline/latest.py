"""The latest row per entity of a history: what materialization writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.derivation import Derivation
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import History, HistorySource, Rows, TimeRange
from millrace_core.features.offline import snapshot
from millrace_core.features.types.arrow_numpy import Numbers, integers

_BATCH: Final = 100_000
_BIT: Final = np.left_shift(1, np.arange(8)).astype(np.uint8)


def time_range(definition: Definition, after: int | None, upto: int) -> TimeRange:
    """The event times that a run over ``(after, upto]`` reads: those that are still visible at its end.

    For a view with aggregates these are all event times that its snapshots are made from (``snapshot``).
    """
    if definition.windowed:
        return snapshot.time_range(definition, upto)
    bounds = [] if after is None else [after + 1]
    if definition.ttl is not None:
        bounds.append(upto - definition.ttl)
    return TimeRange(max(bounds, default=None), upto)


def latest(definition: Definition, source: HistorySource, within: TimeRange, engine: Engine) -> Iterator[Rows]:
    """The rows that a run writes: the latest row of each entity within a range, in the source's order, in batches.

    The greatest event time wins, then the greatest created time (null is lowest), then the later row of the source.
    For a view with aggregates these are the snapshots as of the range's end (``snapshot``). Memory is bounded by the
    engine, some batches, and a bit per row of the history.

    Raises:
        RejectError: a column does not hold what the definition says.
        ReportError: memory or disk do not suffice.
        SourceChangedError: the source changed meanwhile.
    """
    if definition.windowed:
        yield from snapshot.snapshots(definition, source, within, engine)
        return
    history = History(definition, source, within)
    winners = _winners(history, engine)
    derivation = Derivation(definition, [definition.feature[each.name] for each in definition.stored])
    for rows in history.rows(winners.ascending(), derivation.reads):
        visible = pa.array(np.ones(len(rows.event_times), bool))
        features, errors = derivation.columns(rows.features, visible)
        yield rows._replace(features=features, errors=errors)


def _winners(history: History, engine: Engine) -> _NumberSet:
    """The numbers of the winning rows. The engine's memory is free again when this returns."""
    keys = ", ".join(f"k{index}" for index in range(len(history.definition.join_keys)))
    marked: _NumberSet | None = None
    with engine.connection() as session:
        session.feed("history", history.numbered_schema(), history.numbered())
        winners = session.stream(
            f"""
            select seq from (
                select seq, row_number() over (partition by {keys} order by event desc, created desc, seq desc) as place
                from history
            ) where place = 1
            """,  # noqa: S608 names of our own making
            _BATCH,
        )
        for batch in winners:
            # The first winner comes after all of history has been read, so ``count`` is known.
            marked = marked or _NumberSet(history.count)
            marked.add(integers(batch.column(0)))
    return marked or _NumberSet(0)


class _NumberSet:
    """A set of numbers below ``count``, a bit each. It gives them in order without sorting."""

    def __init__(self, count: int) -> None:
        self._bits = np.zeros(-(-count // 8), np.uint8)

    def add(self, numbers: Numbers) -> None:
        np.bitwise_or.at(self._bits, numbers >> 3, _BIT.take(numbers & 7))

    def ascending(self) -> Iterator[Numbers]:
        """The numbers, in batches."""
        for first in range(0, len(self._bits), _BATCH):
            yield np.flatnonzero(np.unpackbits(self._bits[first : first + _BATCH], bitorder="little")) + first * 8
