"""The packed row: all features of one entity in one view, as one value of the online store.

All numbers are big-endian.

======  ======================  ==========================================================================
offset  size                    content
======  ======================  ==========================================================================
0       1                       format version, 2
1       8                       schema id: the first 8 bytes of the definition's schema hash
9       8                       event time, microseconds since 1970 UTC, plus 2^63
17      8                       created time in the same form; 0 is null, and sorts lowest
25      4                       stamp: by which generation of the view it was written (``generation``)
29      ceil(features / 8)      null bitmap: feature i is null when bit ``i % 8`` of byte ``i // 8`` is set
…       by type, no padding     fixed section, in the order of the features: bool 1 (0 or 1), int32 and
                                float32 4, int64, float64 and timestamp (microseconds) 8; string, bytes and
                                arrays 4: where the value ends, counted from the start of the variable section
…       to the end              variable section: the strings (UTF-8), bytes and arrays (``row_arrays``), one
                                after another
======  ======================  ==========================================================================

The offset makes times unsigned. So rows compare by (event, created) as two pairs of 32-bit words, as the store's write
rule does (Lua has no 64-bit integers). A null is zero in the fixed section and empty in the
variable one.

Golden bytes: schema id ``0102030405060708``, event time -1, created null, stamp 5; features (bool true, int32 -2,
float32 1.5, float64 NaN, string "é", int64 null, bytes empty, timestamp 3, string "z")::

    02 0102030405060708 7fffffffffffffff 0000000000000000 00000005
    2000 01 fffffffe 3fc00000 7ff8000000000000 00000002 0000000000000000 00000002 0000000000000003 00000003
    c3a9 7a

The same with features (array<float32> [1.5, null], array<string> ["é", null, ""], array<int64> null, array<bool> [])::

    02 0102030405060708 7fffffffffffffff 0000000000000000 00000005
    04 0000000d 00000020 00000020 00000024
    00000002 02 3fc00000 00000000  00000003 02 00000002 00000002 00000002 c3a9  00000000

This module encodes and decodes row by row; ``row_encoder`` encodes by column.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, get_args

import orjson

from millrace_core.api.feature import FeatureType, element_type
from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import Definition, StoredFeature
from millrace_core.features.online import row_arrays

FORMAT: Final = 2
HEADER_BYTES: Final = 29
_ID_BYTES: Final = 8
TIME_OFFSET: Final = 2**63

ARRAYS: Final = {kind: element for kind in get_args(FeatureType) if (element := element_type(kind))}
VARIABLE: Final = frozenset({"string", "bytes", *ARRAYS})
STRUCT_CODE: Final[Mapping[FeatureType, str]] = {**row_arrays.CODES, **dict.fromkeys(ARRAYS, "I")}
_ZERO: Final[Mapping[str, Any]] = {"?": False, "i": 0, "q": 0, "f": 0.0, "d": 0.0}

Value = bool | int | float | str | bytes | list[Any] | None
# In JSON their values have no brackets and no commas, and no letter n except in null.
NUMBERS: Final = frozenset[FeatureType](["int32", "int64", "float32", "float64"])


class Row(NamedTuple):
    """A decoded row. Times (and values of type timestamp) are microseconds UTC."""

    event_time: int
    created_time: int | None
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Layout:
    """The layout of the rows of one schema."""

    schema_id: bytes
    features: tuple[StoredFeature, ...]

    @classmethod
    def of(cls, definition: Definition) -> Layout:
        """The layout of the rows that a definition writes."""
        return cls(definition.schema_id, definition.stored)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Layout:
        """The inverse of ``as_dict``."""
        return cls(bytes.fromhex(document["id"]), tuple(StoredFeature(*feature) for feature in document["features"]))

    @classmethod
    def read(cls, value: bytes) -> Layout | None:
        """The layout that a value of the store is, as JSON; None where it is none that can be read."""
        try:
            layout = cls.from_dict(orjson.loads(value))
            named = all(type(feature.name) is str for feature in layout.features)
            known = all(feature.type in STRUCT_CODE for feature in layout.features)
        except (ValueError, KeyError, TypeError):
            return None
        return layout if named and known and len(layout.schema_id) == _ID_BYTES else None

    def as_dict(self) -> dict[str, Any]:
        """The layout as JSON. With it rows can be read after their definition is gone."""
        return {"id": self.schema_id.hex(), "features": [list(feature) for feature in self.features]}

    @cached_property
    def bitmap_bytes(self) -> int:
        """Size of the null bitmap."""
        return (len(self.features) + 7) // 8

    @cached_property
    def fixed(self) -> struct.Struct:
        """The row up to the variable section: version with schema id, times, stamp, null bitmap, fixed section."""
        codes = "".join(STRUCT_CODE[feature.type] for feature in self.features)
        return struct.Struct(f">9sQQI{self.bitmap_bytes}s{codes}")

    @cached_property
    def head(self) -> bytes:
        """The first bytes of every row of this layout: format version and schema id."""
        return bytes([FORMAT]) + self.schema_id

    @cached_property
    def has_variable(self) -> bool:
        """Whether rows have a variable section."""
        return any(feature.type in VARIABLE for feature in self.features)

    def encode(self, event_time: int, created_time: int | None, values: Sequence[Value], stamp: int = 0) -> bytes:
        """Packs one row; ``values`` are in the order of the features and of their types."""
        nulls = 0
        fixed: list[Any] = []
        variable = b""
        for index, (feature, value) in enumerate(zip(self.features, values, strict=True)):
            if value is None:
                nulls |= 1 << index
            if feature.type in VARIABLE:
                variable += b"" if value is None else encode_variable(feature.type, value)
                fixed.append(len(variable))
            else:
                fixed.append(_ZERO[STRUCT_CODE[feature.type]] if value is None else value)
        created = 0 if created_time is None else created_time + TIME_OFFSET
        bitmap = nulls.to_bytes(self.bitmap_bytes, "little")
        return self.fixed.pack(self.head, event_time + TIME_OFFSET, created, stamp, bitmap, *fixed) + variable

    def decode(self, row: bytes) -> Row:
        """Unpacks one row.

        Raises:
            ReportError: the bytes are not a whole row of this layout.
        """
        start = self.fixed.size
        if row[:9] != self.head or len(row) < start or (not self.has_variable and len(row) != start):
            raise corrupt(row)
        _, event, created, _, bitmap, *fixed = self.fixed.unpack_from(row)
        nulls = int.from_bytes(bitmap, "little")
        values: list[Value] = []
        end = 0
        for index, (feature, value) in enumerate(zip(self.features, fixed, strict=True)):
            if feature.type not in VARIABLE:
                values.append(None if nulls >> index & 1 else value)
                continue
            begin, end = end, value
            if not begin <= end <= len(row) - start:
                raise corrupt(row)
            part = row[start + begin : start + end]
            values.append(None if nulls >> index & 1 else decode_variable(feature.type, part))
        if start + end != len(row) and self.has_variable:
            raise corrupt(row)
        return Row(event - TIME_OFFSET, created - TIME_OFFSET if created else None, tuple(values))


def encode_variable(kind: FeatureType, value: Any) -> bytes:
    """The bytes of a value in the variable section."""
    if kind in ARRAYS:
        return row_arrays.encode(ARRAYS[kind], value)
    return bytes(value.encode() if kind == "string" else value)


def decode_variable(kind: FeatureType, part: bytes) -> Value:
    """The value of some bytes of the variable section.

    Raises:
        ReportError: they are no value of this type.
    """
    try:
        if kind in ARRAYS:
            return row_arrays.decode(ARRAYS[kind], part)
        return part.decode() if kind == "string" else part
    except ValueError as error:
        raise corrupt(part) from error


def schema_id(row: bytes) -> bytes:
    """Schema id of a stored row.

    Raises:
        ReportError: this version of Millrace cannot read these bytes as a row.
    """
    if len(row) < HEADER_BYTES or row[0] != FORMAT:
        raise corrupt(row)
    return row[1:9]


def corrupt(row: bytes) -> ReportError:
    """The error for bytes that are no row."""
    return ReportError(
        f"the online store holds {len(row)} bytes that are no whole row of a known form ({row[:12].hex()}…)",
        hint="Something else writes under Millrace's keys, or a newer Millrace does; materialize the view again",
        reason="CorruptRow",
    )
