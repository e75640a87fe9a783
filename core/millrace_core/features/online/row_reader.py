"""Reads stored rows: the one rule of what an online read answers (``feature_columns`` has the statuses).

Rows of views with aggregates are snapshots (``offline/snapshot.py``). A snapshot has the time of the source's latest
row inside. Row-bound features are visible by that time. Aggregates, and expressions over aggregates alone, have a value
at all times:

- where there is no snapshot, the value is that of empty windows, and its status NOT_FOUND: the status tells of the row;
- where all windows have run empty since the snapshot, it is that of empty windows, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from millrace_core.features.definition.definition import ROW_TIME, Definition, Feature, StoredFeature
from millrace_core.features.online import stored_value
from millrace_core.features.online.feature_columns import (
    ABSENT,
    NOT_FOUND,
    NULL_VALUE,
    OUTSIDE_MAX_AGE,
    PRESENT,
    FeatureColumn,
    FeatureColumns,
    column_of,
)
from millrace_core.features.online.keys import META_LAYOUT
from millrace_core.features.online.row import TIME_OFFSET, Layout, Value, schema_id
from millrace_core.features.online.row_decoder import RowDecoder

# Stands for a row where a join key is null: no entity, so not even aggregates have a value.
NO_ENTITY: Final = b""

Layouts = Mapping[bytes, Layout]


def layouts_of(meta: Mapping[bytes, bytes]) -> dict[bytes, Layout]:
    """The layouts that stored rows of a view may have, by schema id, from the view's meta hash.

    What is none, or has types that only a newer release knows, is left out: rows that have it are of an unknown schema.
    """
    named = (value for field, value in meta.items() if field.startswith(META_LAYOUT))
    found = [layout for layout in map(Layout.read, named) if layout is not None]
    return {layout.schema_id: layout for layout in found}


class RowReader:
    """Reads chosen features of one view's rows. Made once per feature set, used per request.

    Args:
        definition: the view's.
        names: the wanted features, in order.
    """

    def __init__(self, definition: Definition, names: Iterable[str]) -> None:
        self.definition = definition
        self._wanted = [definition.feature[name] for name in names]
        self.features = tuple(feature.stored for feature in self._wanted)
        # What an absent row reads as.
        self._empty = _empty_values(definition, self._wanted)
        self._reads = (*self.features, ROW_TIME) if definition.windowed else self.features
        self._layout = Layout.of(definition)
        self._decoder = RowDecoder(self._layout, self._reads)

    def read(self, rows: Sequence[bytes | None], as_of: int, layouts: Layouts | None = None) -> FeatureColumns:
        """Columns from rows.

        Args:
            rows: as the store gave them; None where it has none, ``NO_ENTITY`` where a join key is null.
            as_of: the moment of the read, microseconds.
            layouts: other layouts that rows may have, by schema id.

        Raises:
            ReportError: bytes that are no row.
        """
        windowed = self.definition.windowed
        ttl = None if windowed else self.definition.ttl
        oldest = -TIME_OFFSET if ttl is None else as_of - ttl
        found: Sequence[Any] = rows if all(rows) else [row for row in rows if row]
        if not found:
            nothing = FeatureColumn([None] * len(rows), [NOT_FOUND] * len(rows))
            columns = FeatureColumns([nothing] * len(self.features), [None] * len(rows))
            return self._with_empty(columns, rows) if windowed else columns
        columns = self._decoder.decode(found, oldest, as_of) or self._read_several(found, oldest, as_of, layouts or {})
        if windowed:
            columns = self._settled(columns, as_of)
        if found is rows:
            return columns
        columns = _spread(columns, rows)
        return self._with_empty(columns, rows) if windowed else columns

    def _settled(self, columns: FeatureColumns, as_of: int) -> FeatureColumns:
        """Columns of snapshots as of the moment of the read, by the row time that each snapshot has inside."""
        *features, last = columns.features
        # Rows from before the view had aggregates are no snapshots: the row time is their event time.
        times: Any = [
            event if status is NOT_FOUND else time
            for time, status, event in zip(last.values, last.statuses, columns.event_times, strict=True)
        ]
        ttl = self.definition.ttl
        oldest = -TIME_OFFSET if ttl is None else as_of - ttl
        every, reach = self.definition.windows
        empty_until = as_of // every * every - reach
        settled = []
        for feature, empty, column in zip(self._wanted, self._empty, features, strict=True):
            if feature.row_bound:
                settled.append(_of_rows(column, times, oldest, as_of))
            else:
                settled.append(_of_windows(column, times, empty_until, empty))
        return FeatureColumns(settled, columns.event_times, columns.unknown, row_times=times)

    def _with_empty(self, columns: FeatureColumns, rows: Sequence[bytes | None]) -> FeatureColumns:
        """The columns with the values of empty windows where there is no row."""
        features = [
            column
            if empty is None
            else column._replace(
                values=[empty if row is None else value for row, value in zip(rows, column.values, strict=True)]
            )
            for column, empty in zip(columns.features, self._empty, strict=True)
        ]
        return replace(columns, features=features)

    def _read_several(self, values: Sequence[Any], oldest: int, as_of: int, layouts: Layouts) -> FeatureColumns:
        """Reads values of which some are several rows, or a row of another layout."""
        rows = [stored_value.visible(value, as_of) for value in values]
        return self._decoder.decode(rows, oldest, as_of) or self._read_each(rows, oldest, as_of, layouts)

    def _read_each(self, rows: Sequence[Any], oldest: int, as_of: int, layouts: Layouts) -> FeatureColumns:
        """Reads row by row, because some rows have another layout."""
        unknown: set[bytes] = set()
        event_times: list[int | None] = []
        values: list[list[Any]] = [[] for _ in self._reads]
        for row in rows:
            written = schema_id(row)
            layout = self._layout if written == self._layout.schema_id else layouts.get(written)
            if layout is None:
                unknown.add(written)
                event_times.append(None)
                stored: dict[StoredFeature, Value] = {}
            else:
                event_time, _, decoded = layout.decode(row)
                if layout.features[-1] == ROW_TIME and not self.definition.windowed:
                    # A snapshot, from when the view had aggregates.
                    event_time = cast("int", decoded[-1])
                event_times.append(event_time)
                stored = dict(zip(layout.features, decoded, strict=True))
            for column, feature in zip(values, self._reads, strict=True):
                column.append(stored.get(feature, ABSENT))
        visible = [
            NOT_FOUND if at is None else PRESENT if oldest <= at <= as_of else OUTSIDE_MAX_AGE for at in event_times
        ]
        return FeatureColumns([column_of(column, visible) for column in values], event_times, unknown)


def _empty_values(definition: Definition, wanted: Sequence[Feature]) -> list[Value]:
    """The value of each feature where no event is known; None for row-bound ones."""
    empty: list[Value] = [feature.empty for feature in wanted]
    computed = [feature.name for feature in wanted if feature.expression and not feature.row_bound]
    if not computed:
        return empty
    # Imported late, with DuckDB: readers of other views do not need it.
    from millrace_core.features.evaluation.program import Program  # noqa: PLC0415

    program = Program(definition, computed, ())
    given = [[definition.feature[each.name[0]].empty] for each in program.inputs]
    values = dict(zip(computed, program.values(given, 1).values, strict=True))
    return [
        values[feature.name][0] if feature.name in values else value
        for feature, value in zip(wanted, empty, strict=True)
    ]


def _of_rows(column: FeatureColumn, times: Sequence[Any], oldest: int, as_of: int) -> FeatureColumn:
    """A row-bound feature of snapshots: not visible where the row time is not."""
    seen = [time is not None and oldest <= time <= as_of for time in times]
    if all(seen):
        return column
    values = [value if visible else None for visible, value in zip(seen, column.values, strict=True)]
    statuses = [
        status if visible or status is NOT_FOUND else OUTSIDE_MAX_AGE
        for visible, status in zip(seen, column.statuses, strict=True)
    ]
    return FeatureColumn(values, statuses)


def _of_windows(column: FeatureColumn, times: Sequence[Any], empty_until: int, empty: Value) -> FeatureColumn:
    """A feature over aggregates: the value of empty windows where no event is left in any window."""
    over = [
        time is not None and time <= empty_until and status is not NOT_FOUND
        for time, status in zip(times, column.statuses, strict=True)
    ]
    if not any(over):
        return column
    status = NULL_VALUE if empty is None else PRESENT
    values = [empty if out else value for out, value in zip(over, column.values, strict=True)]
    return FeatureColumn(values, [status if out else was for out, was in zip(over, column.statuses, strict=True)])


def _spread(columns: FeatureColumns, rows: Sequence[bytes | None]) -> FeatureColumns:
    """The columns of the rows that were found, as columns of all requested rows."""
    where = [index for index, row in enumerate(rows) if row]

    def spread(values: Sequence[Any], rest: Any) -> list[Any]:
        wide = [rest] * len(rows)
        for index, value in zip(where, values, strict=True):
            wide[index] = value
        return wide

    # Columns that share one statuses object go on sharing it.
    statuses = {id(column.statuses): column.statuses for column in columns.features}
    wide_statuses = {key: spread(values, NOT_FOUND) for key, values in statuses.items()}
    features = [
        FeatureColumn(spread(column.values, None), wide_statuses[id(column.statuses)]) for column in columns.features
    ]
    row_times = None if columns.row_times is None else spread(columns.row_times, None)
    return FeatureColumns(features, spread(columns.event_times, None), columns.unknown, row_times=row_times)
