"""The entity frame of all entities that the history knows, for training sets without an entity frame.

Without a start it has every entity once, as of the end. With a start it has every entity at each event time of its own
rows from start to end, both inclusive; of views without entities alone it has the moments. Entities whose rows have all
expired by the end are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import History, HistorySource, TimeRange
from millrace_core.features.types.conform import KEY_ARROW

# Rows that are gathered before duplicates are dropped.
_CHUNK = 1_000_000
_LOWEST = -(2**63)


def entity_frame(
    views: Sequence[tuple[Definition, HistorySource]], timestamp_column: str, start: int | None, end: int
) -> pa.Table:
    """The frame of all views together: their join keys and ``timestamp_column``, sorted, without duplicates.

    Args:
        views: each with its source.
        timestamp_column: name of the column of moments.
        start: the first moment, microseconds; None: every entity once.
        end: the last moment.

    Raises:
        RejectError: the views have different join keys, or a column does not fit the definition.
    """
    # Views without entities know none: they are asked only where they are alone.
    views = [view for view in views if view[0].entities] or views
    first = views[0][0]
    keys = [key.request_column for key in first.join_keys]
    for definition, _ in views:
        names = [key.request_column for key in definition.join_keys]
        if sorted(names) != sorted(keys):
            raise RejectError(
                f"{first.view} has the join keys {', '.join(keys)}, {definition.view} has {', '.join(names)}",
                hint="Ask for views of one entity at a time, or pass an entity frame",
                field="entities",
            )
    found = pa.concat_tables(
        [_distinct(definition, source, keys, start, end) for definition, source in views], promote_options="permissive"
    )
    order = [(name, "ascending") for name in found.column_names]
    frame = _once(found).sort_by(order)
    moments = frame["event"] if start is not None else pa.array([end] * frame.num_rows, pa.int64())
    frame = frame.select([key.request_column for key in first.entities]).append_column(
        timestamp_column, moments.cast(pa.timestamp("us", "UTC"))
    )
    return frame.combine_chunks()


def _distinct(
    definition: Definition, source: HistorySource, keys: Sequence[str], start: int | None, end: int
) -> pa.Table:
    history = History(definition, source, TimeRange(_earliest(definition, start, end), end))
    own = [key.request_column for key in definition.join_keys]
    wanted = ["event"] if start is not None else []
    empty = pa.schema(
        [(key.request_column, KEY_ARROW[key.type]) for key in definition.join_keys]
        + [(name, pa.int64()) for name in wanted]
    ).empty_table()
    found, waiting, count = empty, [], 0
    for batch in history.numbered():
        part = pa.Table.from_batches([batch]).rename_columns([*own, "event", "created", "seq"])
        waiting.append(part.select([*own, *wanted]))
        count += batch.num_rows
        if count >= _CHUNK:
            found, waiting, count = _once(pa.concat_tables([found, *waiting])), [], 0
    return _once(pa.concat_tables([found, *waiting])).select([*keys, *wanted])


def _earliest(definition: Definition, start: int | None, end: int) -> int | None:
    if start is not None:
        return start
    # Windows reach further back than the ttl.
    if definition.ttl is None or definition.windowed:
        return None
    return max(end - definition.ttl, _LOWEST)


def _once(table: pa.Table) -> pa.Table:
    return table.group_by(table.column_names, use_threads=False).aggregate([])
