"""Decodes some features, by column, of rows that all have one layout; skips the bytes of the others."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from operator import or_, sub
from typing import Any

from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import StoredFeature
from millrace_core.features.online.feature_columns import (
    OUTSIDE_MAX_AGE,
    PRESENT,
    FeatureColumn,
    FeatureColumns,
    column_of,
)
from millrace_core.features.online.row import ARRAYS, STRUCT_CODE, TIME_OFFSET, VARIABLE, Layout, decode_variable


class RowDecoder:
    """Made once per feature set.

    Args:
        layout: the rows'.
        wanted: features of the layout, in the order wanted.
    """

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
        self._fixed = struct.Struct(f">9sQQ4x{layout.bitmap_bytes}s{codes}")
        self._whole = not layout.has_variable
        # Where the whole row ends.
        self._last_end = next((read[feature] for feature in reversed(layout.features) if feature in ends), None)

    def decode(self, rows: Sequence[bytes], oldest: int, as_of: int) -> FeatureColumns | None:
        """The wanted columns. None where a row has another layout, or bytes that are no row.

        Args:
            rows: whole rows, at least one.
            oldest: the earliest visible event time; ``as_of``: the latest.
        """
        size = self._fixed.size
        try:
            packed = b"".join(rows if self._whole else [row[:size] for row in rows])
            heads, events, _, bitmaps, *fixed = zip(*self._fixed.iter_unpack(packed), strict=True)
        except struct.error:
            return None
        count = len(rows)
        if heads.count(self._head) != count or not self._ends_well(rows, fixed):
            return None
        event_times = [event - TIME_OFFSET for event in events]
        visible = [PRESENT] * count
        all_visible = min(event_times) >= oldest and max(event_times) <= as_of
        if self._plain is not None and all_visible and bitmaps.count(self._no_nulls) == count:
            return FeatureColumns(_columns(fixed, self._plain, visible), event_times, alike=True)
        if not all_visible:
            visible = [PRESENT if oldest <= at <= as_of else OUTSIDE_MAX_AGE for at in event_times]
        masks: list[int] = []
        if bitmaps.count(self._no_nulls) != count:
            masks = [int.from_bytes(bitmap, "little") for bitmap in bitmaps]
        nulls = reduce(or_, masks, 0)
        columns = []
        for place, feature, bit, before in self._places:
            column: Sequence[Any] = fixed[place]
            if feature.type in VARIABLE:
                begins = fixed[before] if before is not None else [0] * count
                found = self._variable(rows, feature, begins, column, sum(mask >> bit & 1 for mask in masks))
                if found is None:
                    return None
                column = found
            if nulls >> bit & 1:
                column = [None if mask >> bit & 1 else value for mask, value in zip(masks, column, strict=True)]
                columns.append(column_of(column, visible))
            else:
                columns.append(FeatureColumn(column, visible) if all_visible else column_of(column, visible))
        return FeatureColumns(columns, event_times)

    def _ends_well(self, rows: Sequence[bytes], fixed: Sequence[Sequence[Any]]) -> bool:
        """Whether each row is as long as it says."""
        start = self._variable_start
        if self._last_end is None:
            return not self._whole or set(map(len, rows)) == {start}
        return [len(row) - start for row in rows] == list(fixed[self._last_end])

    def _variable(
        self, rows: Sequence[bytes], feature: StoredFeature, begins: Sequence[int], ends: Sequence[int], nulls: int
    ) -> list[Any] | None:
        """The values; None where they are none of their type, or end before they begin. ``nulls``: as the bitmaps say.

        No bytes at all are no array, but a null.
        """
        start = self._variable_start
        parts = [row[start + a : start + b] for row, a, b in zip(rows, begins, ends, strict=True)]
        if list(map(len, parts)) != list(map(sub, ends, begins)):
            return None
        try:
            if feature.type in ARRAYS:
                values = [decode_variable(feature.type, part) if part else None for part in parts]
                return values if values.count(None) == nulls else None
            return [part.decode() for part in parts] if feature.type == "string" else parts
        except (UnicodeDecodeError, ReportError):
            return None


def _columns(fixed: Sequence[Sequence[Any]], places: Sequence[int], visible: Sequence[str]) -> list[FeatureColumn]:
    # The same as FeatureColumn(…) in half the time. Small reads spend most of their time here.
    make = tuple.__new__
    return [make(FeatureColumn, (fixed[place], visible)) for place in places]


def _ends_needed(layout: Layout, wanted: Sequence[StoredFeature]) -> set[StoredFeature]:
    """The variable features whose end is where a wanted one begins, and the last one, which ends with the row."""
    variable = [feature for feature in layout.features if feature.type in VARIABLE]
    return {*variable[-1:], *(before for before, feature in pairwise(variable) if feature in wanted)}
