"""Stored rows to columns of values with statuses: the one rule of what an online read answers.

A value is PRESENT, NULL_VALUE (the row's latest value is null), OUTSIDE_MAX_AGE (the row is older than the ttl, or
newer than the moment of the read: not visible, as in a training set), or NOT_FOUND (no row, or the row was written
before the feature was defined as it is now). Only PRESENT ones are not None.

Rows of views with aggregates are snapshots (see ``snapshot``). Their features of rows go by the time of that row.
Aggregates have a value at all times, and so have expressions over them alone: where there is no snapshot it is that of
empty windows, and its status NOT_FOUND all the same, for it tells of the row; and where the last window has run empty
since the snapshot, it reads as empty.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, NamedTuple, cast

import orjson

from millrace_core.features.definition.definition import ROW_TIME, Definition, Feature, StoredFeature
from millrace_core.features.online.keys import META_LAYOUT
from millrace_core.features.online.row import (
    ARRAYS,
    STRUCT_CODE,
    TIME_OFFSET,
    VARIABLE,
    Layout,
    Value,
    decode_variable,
    schema_id,
)

PRESENT: Final = "PRESENT"
NULL_VALUE: Final = "NULL_VALUE"
NOT_FOUND: Final = "NOT_FOUND"
OUTSIDE_MAX_AGE: Final = "OUTSIDE_MAX_AGE"

# Stands for a row where a join key is null: no entity, so not even aggregates have a value.
NO_ENTITY: Final = b""

_ABSENT: Final = object()

Layouts = Mapping[bytes, Layout]


def layouts_of(meta: Mapping[bytes, bytes]) -> dict[bytes, Layout]:
    """The layouts that a view's meta hash names, by schema id: those that stored rows may have."""
    named = (value for field, value in meta.items() if field.startswith(META_LAYOUT))
    found = [Layout.from_dict(orjson.loads(value)) for value in named]
    return {layout.schema_id: layout for layout in found}


class FeatureColumn(NamedTuple):
    """One feature of many entities; several columns may share one ``statuses`` object."""

    values: Sequence[Value]
    statuses: Sequence[str]


@dataclass
class FeatureColumns:
    """What was read of one view.

    Attributes:
        features: one column per wanted feature, in the order wanted; each as long as the rows.
        event_times: of the rows, in microseconds; None where there is no row.
        unknown: schema ids met that no known layout has; their values count as NOT_FOUND.
        alike: whether all columns share one ``statuses`` object, and all of these are PRESENT.
        row_times: of the source's rows that snapshots have their features of rows from; None where there are none.
    """

    features: list[FeatureColumn]
    event_times: Sequence[int | None]
    unknown: set[bytes] = field(default_factory=set)
    alike: bool = False
    row_times: Sequence[int | None] | None = None

    def times_of(self, feature: Feature) -> Sequence[int | None]:
        """The event times that a feature's values have."""
        of_rows = self.row_times is not None and feature.row_bound and not feature.on_demand
        return self.row_times or () if of_rows else self.event_times


class RowReader:
    """Reads chosen features of one view's rows; made once per feature set, used per request.

    Args:
        definition: of the view.
        names: of the wanted features, in the order wanted.
    """

    def __init__(self, definition: Definition, names: Iterable[str]) -> None:
        self.definition = definition
        self._wanted = [definition.feature[name] for name in names]
        self.features = tuple(feature.stored for feature in self._wanted)
        # What an absent row reads as.
        self._empty = _empty_values(definition, self._wanted)
        self._reads = (*self.features, ROW_TIME) if definition.windowed else self.features
        self._layout = Layout.of(definition)
        self._partial = _Partial(self._layout, self._reads)

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
        columns = self._partial.read(found, oldest, as_of) or self._read_each(found, oldest, as_of, layouts or {})
        if windowed:
            columns = self._settled(columns, as_of)
        if found is rows:
            return columns
        columns = _spread(columns, rows)
        return self._with_empty(columns, rows) if windowed else columns

    def _settled(self, columns: FeatureColumns, as_of: int) -> FeatureColumns:
        """Snapshots at the moment of the read, by the time of the row that each of them ends with."""
        *features, last = columns.features
        # Rows from before the view had aggregates are no snapshots; their own time is that of their features.
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
        """With the values of empty windows where there is no row."""
        features = [
            column
            if empty is None
            else column._replace(
                values=[empty if row is None else value for row, value in zip(rows, column.values, strict=True)]
            )
            for column, empty in zip(columns.features, self._empty, strict=True)
        ]
        return replace(columns, features=features)

    def _read_each(self, rows: Sequence[Any], oldest: int, as_of: int, layouts: Layouts) -> FeatureColumns:
        """Row by row, for rows of which some have another layout."""
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
                column.append(stored.get(feature, _ABSENT))
        visible = [
            NOT_FOUND if at is None else PRESENT if oldest <= at <= as_of else OUTSIDE_MAX_AGE for at in event_times
        ]
        return FeatureColumns([_column(column, visible) for column in values], event_times, unknown)


class _Partial:
    """Reads some features, by column, of rows that all have one layout; skips the bytes of the others."""

    def __init__(self, layout: Layout, wanted: Sequence[StoredFeature]) -> None:
        self._head = layout.head
        self._no_nulls = bytes(layout.bitmap_bytes)
        self._variable_start = layout.fixed.size
        codes = ""
        read: dict[StoredFeature, int] = {}
        before: StoredFeature | None = None
        # Per wanted feature: its bit, where its fixed part is read, and where that of the variable one before it is.
        places: dict[StoredFeature, tuple[StoredFeature, int, int | None]] = {}
        ends = _ends_needed(layout, wanted)
        for bit, feature in enumerate(layout.features):
            code = STRUCT_CODE[feature.type]
            if feature in wanted or feature in ends:
                codes += code
                read[feature] = len(read)
            else:
                codes += f"{struct.calcsize('>' + code)}x"
            if feature in wanted:
                places[feature] = (feature, bit, read[before] if before and feature.type in VARIABLE else None)
            before = feature if feature.type in VARIABLE else before
        # Per wanted feature also where it is read.
        self._places = [(read[feature], *places[feature]) for feature in wanted]
        self._plain = [read[feature] for feature in wanted] if VARIABLE.isdisjoint(f.type for f in wanted) else None
        self._fixed = struct.Struct(f">9sQQ{layout.bitmap_bytes}s{codes}")
        self._whole = not layout.has_variable

    def read(self, rows: Sequence[bytes], oldest: int, as_of: int) -> FeatureColumns | None:
        """All columns of the rows; None where a row has another layout."""
        size = self._fixed.size
        try:
            packed = b"".join(rows if self._whole else [row[:size] for row in rows])
            heads, events, _, bitmaps, *fixed = zip(*self._fixed.iter_unpack(packed), strict=True)
        except struct.error:
            return None
        count = len(rows)
        if heads.count(self._head) != count:
            return None
        event_times = [event - TIME_OFFSET for event in events]
        visible = [PRESENT] * count
        all_visible = min(event_times) >= oldest and max(event_times) <= as_of
        if self._plain is not None and all_visible and bitmaps.count(self._no_nulls) == count:
            return FeatureColumns(_columns(fixed, self._plain, visible), event_times, alike=True)
        if not all_visible:
            visible = [PRESENT if oldest <= at <= as_of else OUTSIDE_MAX_AGE for at in event_times]
        nulls = 0
        masks: list[int] = []
        if bitmaps.count(self._no_nulls) != count:
            masks = [int.from_bytes(bitmap, "little") for bitmap in bitmaps]
            for mask in masks:
                nulls |= mask
        columns = []
        for place, feature, bit, before in self._places:
            column: Sequence[Any] = fixed[place]
            if feature.type in VARIABLE:
                column = self._variable(rows, feature, fixed[before] if before is not None else [0] * count, column)
            if nulls >> bit & 1:
                column = [None if mask >> bit & 1 else value for mask, value in zip(masks, column, strict=True)]
                columns.append(_column(column, visible))
            else:
                columns.append(FeatureColumn(column, visible) if all_visible else _column(column, visible))
        return FeatureColumns(columns, event_times)

    def _variable(
        self, rows: Sequence[bytes], feature: StoredFeature, begins: Sequence[int], ends: Sequence[int]
    ) -> list[Any]:
        start = self._variable_start
        parts = [row[start + a : start + b] for row, a, b in zip(rows, begins, ends, strict=True)]
        if feature.type in ARRAYS:
            # No bytes at all is a null; the bitmap says so too.
            return [decode_variable(feature.type, part) if part else None for part in parts]
        return [part.decode() for part in parts] if feature.type == "string" else parts


def _columns(fixed: Sequence[Sequence[Any]], places: Sequence[int], visible: Sequence[str]) -> list[FeatureColumn]:
    # As Column(…) makes them, in half the time; it is what small reads spend most of theirs on.
    make = tuple.__new__
    return [make(FeatureColumn, (fixed[place], visible)) for place in places]


def _empty_values(definition: Definition, wanted: Sequence[Feature]) -> list[Value]:
    """What the features are where no event is known; null for those of rows."""
    empty: list[Value] = [feature.empty for feature in wanted]
    computed = [feature.name for feature in wanted if feature.expression and not feature.row_bound]
    if not computed:
        return empty
    # Brings DuckDB with it, which readers of other views can spare.
    from millrace_core.features.evaluation.program import Program  # noqa: PLC0415

    program = Program(definition, computed, ())
    given = [[definition.feature[each.name[0]].empty] for each in program.inputs]
    values = dict(zip(computed, program.values(given, 1), strict=True))
    return [
        values[feature.name][0] if feature.name in values else value
        for feature, value in zip(wanted, empty, strict=True)
    ]


def _ends_needed(layout: Layout, wanted: Sequence[StoredFeature]) -> set[StoredFeature]:
    """The variable features whose end is where a wanted one begins."""
    variable = [feature for feature in layout.features if feature.type in VARIABLE]
    return {before for before, feature in pairwise(variable) if feature in wanted}


def _column(values: Sequence[Any], visible: Sequence[str]) -> FeatureColumn:
    statuses = [
        status if status is not PRESENT else PRESENT if value is not None and value is not _ABSENT else _why_not(value)
        for status, value in zip(visible, values, strict=True)
    ]
    return FeatureColumn(
        [value if status is PRESENT else None for status, value in zip(statuses, values, strict=True)], statuses
    )


def _of_rows(column: FeatureColumn, times: Sequence[Any], oldest: int, as_of: int) -> FeatureColumn:
    """A feature of the snapshots' rows, where those are visible."""
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
    """An aggregate; empty where no event is left in any window."""
    over = [
        time is not None and time <= empty_until and status is not NOT_FOUND
        for time, status in zip(times, column.statuses, strict=True)
    ]
    if not any(over):
        return column
    status = NULL_VALUE if empty is None else PRESENT
    values = [empty if out else value for out, value in zip(over, column.values, strict=True)]
    return FeatureColumn(values, [status if out else was for out, was in zip(over, column.statuses, strict=True)])


def _why_not(value: Any) -> str:
    return NULL_VALUE if value is None else NOT_FOUND


def _spread(columns: FeatureColumns, rows: Sequence[bytes | None]) -> FeatureColumns:
    """Columns of the rows that were found, spread over all that were asked for."""
    where = [index for index, row in enumerate(rows) if row]

    def spread(values: Sequence[Any], rest: Any) -> list[Any]:
        wide = [rest] * len(rows)
        for index, value in zip(where, values, strict=True):
            wide[index] = value
        return wide

    # Columns that share their statuses go on sharing them.
    statuses = {id(column.statuses): column.statuses for column in columns.features}
    wide_statuses = {key: spread(values, NOT_FOUND) for key, values in statuses.items()}
    features = [
        FeatureColumn(spread(column.values, None), wide_statuses[id(column.statuses)]) for column in columns.features
    ]
    row_times = None if columns.row_times is None else spread(columns.row_times, None)
    return FeatureColumns(features, spread(columns.event_times, None), columns.unknown, row_times=row_times)
