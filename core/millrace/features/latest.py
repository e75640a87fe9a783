"""The latest row per entity of a history: what materialization writes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from millrace.features import snapshot
from millrace.features.conform import integers
from millrace.features.definition import Definition
from millrace.features.engine import Engine
from millrace.features.evaluation import Derivation
from millrace.features.history import History, Rows, Source, Window

_BATCH = 100_000


def window(definition: Definition, after: int | None, upto: int) -> Window:
    """The event times that a run over ``(after, upto]`` reads: those that are still visible at its end.

    Of a view with aggregates it is all that snapshots as of its end are made from (see ``snapshot``).
    """
    if definition.windowed:
        return snapshot.window(definition, upto)
    bounds = [] if after is None else [after + 1]
    if definition.ttl is not None:
        bounds.append(upto - definition.ttl)
    return Window(max(bounds, default=None), upto)


def latest(definition: Definition, source: Source, within: Window, engine: Engine) -> Iterator[Rows]:
    """What a run writes: the winning row of every entity that has one in the window, in the source's order, in batches.

    The greatest event time wins, then the greatest created time (null is lowest), then the later row of the source.
    Of a view with aggregates it is the snapshots as of the window's end instead (see ``snapshot``).
    Memory is the engine's and one batch's, whatever the size of the history.

    Raises:
        RejectError: a column does not hold what the definition says.
        ReportError: memory or disk do not suffice.
        RetryError: the source changed meanwhile.
    """
    if definition.windowed:
        yield from snapshot.snapshots(definition, source, within, engine)
        return
    history = History(definition, source, within)
    keys = ", ".join(f"k{index}" for index in range(len(definition.join_keys)))
    with engine.connection() as session:
        session.feed("history", history.numbered_schema(), history.numbered())
        winners = session.stream(
            f"""
            select seq from (
                select seq, row_number() over (partition by {keys} order by event desc, created desc, seq desc) as place
                from history
            ) where place = 1 order by seq
            """,  # noqa: S608 names of our own making
            _BATCH,
        )
        derivation = Derivation(definition, [definition.feature[each.name] for each in definition.stored])
        for rows in history.rows((integers(batch.column(0)) for batch in winners), derivation.reads):
            visible = pa.array(np.ones(len(rows.event_times), bool))
            yield rows._replace(features=derivation.columns(rows.features, visible))
