"""The fast path of online reads: rows of all views at once, straight to the JSON of the answer.

A row is *plain* if it is there, in the present layout, visible and without a null, and only finite numbers are read
from it. Most reads meet plain rows alone. Then all views' rows of an entity are read as one record, and many records as
one table of bytes, in a fraction of the time that view by view and value by value take. The values are those of
``millrace_core.features.online.row_reader``; every read with a row that is not plain is left to that module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from struct import Struct, calcsize
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from millrace_core.features.definition.definition import Definition
from millrace_core.features.online.row import HEADER_BYTES, NUMBERS, STRUCT_CODE, TIME_OFFSET, Layout

JSON_TIMES: Final = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY

Matrix = np.ndarray[Any, Any]

# Where a row has its event time; what comes before that is its head.
_EVENT: Final = range(9, 17)
# The year 1: an earlier time is not written as others are, so it is not plain.
YEAR_1: Final = -62_135_596_800_000_000
START: Final = datetime(1970, 1, 1)  # noqa: DTZ001 UTC, and faster without saying so
MICROSECOND: Final = timedelta(microseconds=1)
_SIGN: Final = np.uint64(TIME_OFFSET)
_BYTE, _TIME, _MOMENT = np.dtype("u1"), np.dtype(">u8"), np.dtype("M8[us]")
# The types that numbers are kept as, which hold each of them exactly, and by struct code what they are read as.
_KEPT: Final[dict[np.dtype[Any], dict[str, np.dtype[Any]]]] = {
    np.dtype("f8"): {"d": np.dtype(">f8"), "f": np.dtype(">f4")},
    np.dtype("i8"): {"q": np.dtype(">i8"), "i": np.dtype(">i4")},
}


class ViewFeatures(NamedTuple):
    """Features of one view, and their positions in the answer."""

    definition: Definition
    features: Sequence[str]
    positions: Sequence[int]


class JsonColumns(NamedTuple):
    """The values of plain rows in JSON; their statuses are all PRESENT.

    Attributes:
        columns: the values of each feature, in the answer's order: a list without its first bracket.
        moments: the event times of each view's rows: a list without its brackets.
    """

    columns: Sequence[bytes]
    moments: Sequence[bytes]


class _Field(NamedTuple):
    """A feature to read: its position in the answer, its struct code, and where a record has it (item, byte)."""

    position: int
    code: str
    item: int
    start: int


class _Part(NamedTuple):
    """Features of one type: their rows of the matrix, their bytes in a record, and the type of those bytes."""

    rows: slice
    bytes: Matrix
    read: np.dtype[Any]


class PlainReader:
    """Reads the rows of several views.

    Args:
        wanted: the features of each view, in the order in which their rows come; together they fill the answer.
    """

    def __init__(self, wanted: Sequence[ViewFeatures]) -> None:
        layouts = [Layout.of(view.definition) for view in wanted]
        fields, items, starts, self._struct = _record(wanted, layouts)
        self._views = [
            (layout.head, {layout.fixed.size}, view.definition.ttl)
            for layout, view in zip(layouts, wanted, strict=True)
        ]
        self._nulls = [
            start + HEADER_BYTES + byte
            for start, layout in zip(starts, layouts, strict=True)
            for byte in range(layout.bitmap_bytes)
        ]
        self._events_of = _items(items)
        self._values_of = _items([field.item for field in sorted(fields)])
        self._events = np.array([start + at for start in starts for at in _EVENT])
        made = [(kept, *_parts(fields, codes)) for kept, codes in _KEPT.items()]
        self._groups = [group for group in made if group[1]]
        grouped = [
            field.position for code in chain.from_iterable(_KEPT.values()) for field in fields if field.code == code
        ]
        self._ordered = _items([grouped.index(position) for position in range(len(grouped))])

    @classmethod
    def of(cls, wanted: Sequence[ViewFeatures]) -> PlainReader | None:
        """The reader; None where rows of one of the views are never plain."""
        return cls(wanted) if all(map(_can_be_plain, wanted)) else None

    def read(self, rows: Sequence[bytes | None], as_of: int) -> JsonColumns | None:
        """The JSON columns of rows.

        Args:
            rows: as the store gave them: all entities of the first view, then all of the second, and so on.
            as_of: the moment of the read, microseconds.

        Returns:
            None where some row is not plain.
        """
        views = len(self._views)
        count = len(rows) // views
        size = self._struct.size
        records = list(rows)
        newest = _packed(as_of)
        try:
            for view, (head, length, ttl) in enumerate(self._views):
                view_rows: Any = rows[view * count : (view + 1) * count]
                records[view::views] = view_rows
                # Rows begin with a head that is the same in all, and then their event time. So where the least and the
                # greatest row have the right head and a visible time, all of them do.
                oldest = _packed(YEAR_1 if ttl is None else max(as_of - ttl, YEAR_1))
                if min(view_rows)[: _EVENT.stop] < head + oldest or max(view_rows)[: _EVENT.stop] > head + newest:
                    return None
                if set(map(len, view_rows)) != length:  # one too short and one too long are as long as two together
                    return None
            packed = b"".join(records)  # type: ignore[arg-type]
        except (TypeError, ValueError):  # a row is absent, or there are no entities
            return None
        if any(packed[at::size].count(0) != count for at in self._nulls):
            return None
        return self._one(packed) if count == 1 else self._many(packed, count)

    def _one(self, packed: bytes) -> JsonColumns | None:
        items = self._struct.unpack(packed)
        text = orjson.dumps(self._values_of(items))
        if b"n" in text:  # orjson writes floats that are not finite as null
            return None
        moments = [START + (event - TIME_OFFSET) * MICROSECOND for event in self._events_of(items)]
        columns = text[1:].replace(b",", b"],").split(b",")
        return JsonColumns(columns, orjson.dumps(moments, option=JSON_TIMES)[1:-1].split(b","))

    def _many(self, packed: bytes, count: int) -> JsonColumns | None:
        table = np.frombuffer(packed, _BYTE).reshape(count, self._struct.size)
        columns: list[bytes] = []
        for kept, size, parts in self._groups:
            matrix = np.empty((size, count), kept)
            for part in parts:
                matrix[part.rows] = table.take(part.bytes, 1).view(part.read).T
            text = orjson.dumps(matrix, option=orjson.OPT_SERIALIZE_NUMPY)
            if b"n" in text:
                return None
            columns += _rows(text, size)
        events = table.take(self._events, 1).view(_TIME).T.astype(np.uint64, order="C")
        events ^= _SIGN
        moments = orjson.dumps(events.view(_MOMENT), option=JSON_TIMES)
        return JsonColumns(self._ordered(columns), [each[:-1] for each in _rows(moments, len(self._views))])


def _packed(moment: int) -> bytes:
    """A time in microseconds, as rows have it."""
    return (moment + TIME_OFFSET).to_bytes(_EVENT.stop - _EVENT.start, "big")


def _can_be_plain(wanted: ViewFeatures) -> bool:
    definition = wanted.definition
    features = [definition.feature[name] for name in wanted.features]
    return (
        not definition.windowed
        and not Layout.of(definition).has_variable
        and not any(feature.on_demand or feature.type not in NUMBERS for feature in features)
    )


def _record(
    wanted: Sequence[ViewFeatures], layouts: Sequence[Layout]
) -> tuple[list[_Field], list[int], list[int], Struct]:
    """The record of one entity, which is its rows of all views.

    Returns:
        The features to read, the item of each event time, the byte at which each row begins, and the whole record.
    """
    fields: list[_Field] = []
    items, starts = [], []
    codes = ">"
    item = start = 0
    for view, layout in zip(wanted, layouts, strict=True):
        items.append(item)
        starts.append(start)
        codes += f"{_EVENT.start}xQ12x{layout.bitmap_bytes}x"
        item += 1
        start += HEADER_BYTES + layout.bitmap_bytes
        positions = dict(zip(view.features, view.positions, strict=True))
        for feature in layout.features:
            code = STRUCT_CODE[feature.type]
            size = calcsize(f">{code}")
            if feature.name in positions:
                fields.append(_Field(positions[feature.name], code, item, start))
                item += 1
                codes += code
            else:
                codes += f"{size}x"
            start += size
    return fields, items, starts, Struct(codes)


def _parts(fields: Sequence[_Field], codes: dict[str, np.dtype[Any]]) -> tuple[int, list[_Part]]:
    """How many of the fields have one of the codes, and those fields by code."""
    parts = []
    end = 0
    for code, read in codes.items():
        starts = [field.start for field in fields if field.code == code]
        if starts:
            where = np.array([at for start in starts for at in range(start, start + read.itemsize)])
            parts.append(_Part(slice(end, end + len(starts)), where, read))
            end += len(starts)
    return end, parts


def _rows(matrix: bytes, count: int) -> list[bytes]:
    """The rows of a matrix in JSON, of which no text has a bracket, without their first ones.

    To split at the whole border takes twice as long.
    """
    rows = []
    start = 2
    for _ in range(count):
        end = matrix.index(b"]", start) + 1
        rows.append(matrix[start:end])
        start = end + 2
    return rows


def _items(indices: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Takes some items of a sequence, as a tuple also where it is only one."""
    if len(indices) > 1:
        return itemgetter(*indices)
    [index] = indices
    return lambda sequence: (sequence[index],)
