"""The entity frame of a training set: entities and moments, sorted so that rows of history find their place in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.features.definition.definition import GLOBAL, JoinKey
from millrace_core.features.definition.global_key import global_key
from millrace_core.features.types.arrow_numpy import Numbers, int64_array, integers
from millrace_core.features.types.conform import conform_key

# Stands for an entity that the frame does not have, or for no row.
NONE: Final = -1
# Integer keys are looked up in a table by value where it has at most this many entries, in all or per value.
_DIRECT_LEAST: Final = 65_536
_DIRECT_SPREAD: Final = 16
# Bits of a number that is not negative.
_BITS: Final = 63
# Cells of the lookup grid per moment, at most.
_CELLS: Final = 4


@dataclass
class EntityFrame:
    """One row per (entity, moment), in any order and with any duplicates. Made once for several views.

    Attributes:
        keys: Arrow arrays by join key; the key of views without entities has none.
        moments: int64 microseconds, the times as of which features are wanted; a null matches nothing.
        created_cutoff: whether only rows with a created time at or before the moment are visible.
        request: Arrow arrays of the request fields that on-demand expressions read, by name.
    """

    keys: Mapping[str, pa.Array]
    moments: pa.Array
    created_cutoff: bool = False
    request: Mapping[str, pa.Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sorted: dict[tuple[JoinKey, ...], SortedFrame] = {}

    def sorted(self, join_keys: tuple[JoinKey, ...]) -> SortedFrame:
        """The frame, sorted by the entities of these join keys."""
        if join_keys not in self._sorted:
            self._sorted[join_keys] = _sort(join_keys, self)
        return self._sorted[join_keys]


class _KeyLevel(NamedTuple):
    """One join key: its values in the frame, and the pairs of its values with the codes of the keys before it.

    ``direct`` is a table of places by value, for integers that are close enough together.
    """

    values: pa.Array
    direct: _DirectTable | None
    pairs: pa.Array | None

    def places(self, key: pa.Array) -> Numbers:
        """The place of each value of a key among ours; -1 where it is none of them."""
        return _places(key, self.values) if self.direct is None else self.direct.places(integers(key))


class _DirectTable(NamedTuple):
    """Places by value: entry i is for the value ``low + i``, the last entry for all other values."""

    low: int
    table: Numbers

    @classmethod
    def of(cls, values: pa.Array) -> _DirectTable | None:
        """The table of distinct values; None where they are no integers, or too far apart."""
        if not pa.types.is_int64(values.type) or not len(values):
            return None
        numbers = integers(values)
        low, high = int(numbers.min()), int(numbers.max())
        if high - low >= max(_DIRECT_LEAST, _DIRECT_SPREAD * len(values)):
            return None
        table = np.full(high - low + 2, NONE)
        table[numbers - low] = np.arange(len(values))
        return cls(low, table)

    def places(self, numbers: Numbers) -> Numbers:
        # For values below ``low`` the difference wraps around, above all entries.
        return self.table.take(np.minimum((numbers - self.low).view(np.uint64), np.uint64(len(self.table) - 1)))


class _LookupGrid(NamedTuple):
    """A lookup grid: the moments of each entity in cells of equal length, so that few moments are left to search.

    Each entity has ``2**width`` cells of ``2**step`` microseconds. Together they reach from ``low`` to ``high``.
    ``begins`` has, per cell and entity by entity, the place of its first moment, and at the end the number of moments.
    ``longest`` is the greatest number of moments in one cell.
    """

    low: int
    high: int
    step: int
    width: int
    begins: np.ndarray[Any, Any]
    longest: int

    @classmethod
    def of(cls, entities: Numbers, moments: Numbers) -> _LookupGrid:
        if not len(moments):
            return cls(0, 0, 0, 0, np.zeros(2, np.int64), 0)
        count, low, high = int(entities[-1]) + 1, int(moments.min()), int(moments.max())
        width = max(_CELLS * len(moments) // count, 1).bit_length() - 1
        step = max((high - low).bit_length() - width, 0)
        cells = cls(low, high, step, width, np.empty(0, np.int64), 0)
        sizes = np.bincount(cells.number(entities, moments), minlength=count << width)
        begins = np.zeros(len(sizes) + 1, np.int32 if len(moments) < 2**31 else np.int64)
        np.cumsum(sizes, out=begins[1:])
        return cells._replace(begins=begins, longest=int(sizes.max()))

    def number(self, entities: Numbers, moments: Numbers) -> Numbers:
        """The cell of each moment of an entity. A moment beyond the grid is in the entity's first or last cell."""
        cell = np.clip(moments, self.low, self.high)
        cell -= self.low
        cell = (cell.view(np.uint64) >> np.uint64(self.step)).view(np.int64)
        cell += entities << self.width
        return cell


@dataclass(frozen=True)
class SortedFrame:
    """An entity frame, sorted by entity and moment, without rows that can match nothing.

    Attributes:
        levels: turn join keys into entity codes 0, 1, ….
        begins: per entity code the place of its first moment; the last entry is the number of moments.
        entities: entity codes, ascending.
        moments: microseconds, ascending within an entity.
        rows: the row of each in the frame.
    """

    levels: list[_KeyLevel]
    begins: Numbers
    entities: Numbers
    moments: Numbers
    rows: Numbers

    @cached_property
    def _cells(self) -> _LookupGrid:
        """Made when it is first needed: where only aggregates are wanted, only their grid needs one."""
        return _LookupGrid.of(self.entities, self.moments)

    def codes(self, keys: Sequence[pa.Array]) -> Numbers:
        """Entity codes of join keys; -1 for entities that are not in the frame."""
        codes = np.empty(0, np.int64)
        for level, key in zip(self.levels, keys, strict=True):
            places = level.places(key)
            if level.pairs is None:
                codes = places
            else:
                known = (codes != NONE) & (places != NONE)
                paired = np.where(known, codes * len(level.values) + places, NONE)
                codes = _places(int64_array(paired), level.pairs)
        return codes

    def place(self, entities: Numbers, moments: Numbers) -> Numbers:
        """Per row the place of its entity's first moment at or after its own; the entity's end where there is none."""
        cell = self._cells.number(entities, moments)
        place = self._cells.begins.take(cell).astype(np.int64)
        cell += 1
        end = self._cells.begins.take(cell)
        # Moments in earlier cells are earlier and in later cells later. So most rows have their place by now.
        rest = np.flatnonzero(place < end)
        low, high, moments = place.take(rest), end.take(rest), moments.take(rest)
        for _ in range(self._cells.longest.bit_length()):
            middle = low + high
            middle >>= 1
            later = self.moments.take(middle, mode="clip") < moments
            later &= low < high
            high = np.where(later, high, middle)
            middle += 1
            np.copyto(low, middle, where=later)
        place[rest] = low
        return place


def _sort(join_keys: Sequence[JoinKey], frame: EntityFrame) -> SortedFrame:
    keys = [
        global_key(len(frame.moments))
        if key == GLOBAL
        else conform_key(
            frame.keys[key.request_column], key.type, column=key.request_column, field=f"entity_df.{key.request_column}"
        )
        for key in join_keys
    ]
    usable = frame.moments.is_valid()
    for key in keys:
        usable = pc.and_(usable, key.is_valid())
    rows = np.flatnonzero(usable.to_numpy(zero_copy_only=False))
    moments = integers(frame.moments)[rows]
    levels: list[_KeyLevel] = []
    codes: pa.Array = None
    for key in keys:
        known = key.filter(usable)
        values = known.unique()
        index = pc.index_in(known, values)
        paired = None if codes is None else _pairs(codes, index, values)
        pairs = None if paired is None else paired.unique()
        levels.append(_KeyLevel(values, _DirectTable.of(values), pairs))
        codes = index if paired is None else pc.index_in(paired, pairs)
    entities = integers(codes.cast(pa.int64()))
    order = _order(entities, moments)
    entities = entities[order]
    begins = np.searchsorted(entities, np.arange(int(entities[-1]) + 2 if len(entities) else 1))
    return SortedFrame(levels, begins, entities, moments[order], rows[order])


def _order(entities: Numbers, moments: Numbers) -> Numbers:
    """The order by entity and moment. Where both fit into one number, sorting it takes a quarter of the time."""
    if not len(moments):
        return np.empty(0, np.int64)
    low, high = int(moments.min()), int(moments.max())
    width = (high - low).bit_length()
    if width + int(entities.max()).bit_length() > _BITS:
        return np.lexsort((moments, entities))
    return np.argsort((entities << width) + (moments - low), kind="stable")


def _places(values: pa.Array, among: pa.Array) -> Numbers:
    return integers(pc.index_in(values, among).cast(pa.int64()).fill_null(NONE))


def _pairs(codes: pa.Array, index: pa.Array, values: pa.Array) -> pa.Array:
    """One number per pair of a code and an index into the values; null where one of them is."""
    return pc.add(pc.multiply(codes.cast(pa.int64()), len(values)), index.cast(pa.int64()))
