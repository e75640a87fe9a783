"""Converts Arrow columns of any type that fits to exactly the type that a definition declares.

Sources, training sets, stored rows and entity frames all pass through here, so a value has the same bits wherever it is
read. A conversion that loses nothing happens by itself. Another one is refused, with the line to write where it is
meant (``remedies``).

================  ==============================================================================================
declared          taken from
================  ==============================================================================================
bool              bool
int32, int64      integers of any width and decimals, where the value is whole and in range; floats whose values are
                  whole and at most 2**53, beyond which they no longer say which integer was meant
float32           floats, integers and decimals, rounded to nearest; a value beyond its range is an error
float64           floats; integers and decimals, whose fractions are rounded to nearest, and which beyond 2**53 must be
                  what a double can hold
string            strings, dictionary-encoded or not, binary that is UTF-8, JSON, and UUIDs (their 36 characters)
bytes             binary of any form, strings, UUIDs (their 16 bytes)
timestamp         timestamps of any unit and zone, dates (their midnight), and text as ISO 8601 has it; without a zone
                  is UTC; finer than a microsecond is rounded down
array<…>          lists of any form whose elements can be taken so
================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.feature import EntityType, FeatureType, ScalarType, element_type
from millrace_core.api.source import TimeUnit
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.types import lossless
from millrace_core.features.types.arrow_numpy import integers
from millrace_core.features.types.kinds import (
    is_binary,
    is_list,
    is_moment,
    is_number,
    is_text,
    is_uuid,
    plain_type,
)
from millrace_core.features.types.remedies import of_type, of_value

_SCALARS: Final[Mapping[ScalarType, pa.DataType]] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "timestamp": pa.timestamp("us", "UTC"),
}
ARROW: Final[Mapping[FeatureType, pa.DataType]] = {
    kind: pa.list_(_SCALARS[element]) if (element := element_type(kind)) else _SCALARS[kind]
    for kind in get_args(FeatureType)
}
# Keys of both integer types are one type, so that 1001 is one entity whatever its width.
KEY_ARROW: Final[Mapping[EntityType, pa.DataType]] = {
    kind: pa.int64() if kind == "int32" else ARROW[kind] for kind in get_args(EntityType)
}
# Bits of integers of which a double holds each.
_SURE: Final = 32


class MisfitError(RejectError):
    """A value that cannot be had in the declared type.

    Args:
        value: as it came, in words.
        row: its place in the column that was converted, from 0; once ``place`` is known, in that.
        column: its column, ``came`` the column's type, ``declared`` the type that it should have.
        place: the file or table that it stands in.
    """

    reason = "ValueOutOfRange"

    def __init__(
        self, value: str, row: int, *, column: str, came: str, declared: str, field: str = "", place: str = ""
    ) -> None:
        self.row, self.column = row, column
        self._words = {"column": column, "came": came, "declared": declared, "field": field, "place": place}
        self._value = value
        where = f"{place}, row {row} (the first is 0): " if place else ""
        super().__init__(
            f"{where}column {column!r} ({came}) holds a value that is no {declared}: {value}",
            hint=of_value(column, declared, field),
            field=field,
        )

    def at(self, place: str, row: int) -> MisfitError:
        """The same of a file or table, where it stands in that row."""
        return MisfitError(self._value, row, **{**self._words, "place": place})

    def of(self, field: str) -> MisfitError:
        """The same, said of that field of a definition."""
        return MisfitError(self._value, self.row, **{**self._words, "field": field})


def fits(came: pa.DataType, declared: FeatureType) -> bool:
    """Whether columns of an Arrow type can be read as the declared type, some of their values at least."""
    came = plain_type(came)
    element = element_type(declared)
    if element is not None and is_list(came):
        return fits(came.value_type, element)
    return bool(pa.types.is_null(came)) or (element is None and _fits_scalar(came, declared))


def _fits_scalar(came: pa.DataType, declared: FeatureType) -> bool:
    match declared:
        case "bool":
            return bool(pa.types.is_boolean(came))
        case "int32" | "int64" | "float32" | "float64":
            return is_number(came)
        case "string" | "bytes":
            return is_text(came) or is_binary(came) or is_uuid(came)
        case _:
            return is_moment(came) or is_text(came)


def may_misfit(came: pa.DataType, declared: FeatureType) -> bool:
    """Whether a column that fits may hold values that do not, other than floats and times beyond all range."""
    came = plain_type(came)
    element = element_type(declared)
    if element is not None:
        return is_list(came) and may_misfit(came.value_type, element)
    match declared:
        case "int32" | "int64":
            return is_number(came) and not _holds(ARROW[declared], came)
        case "float32" | "float64":
            return is_number(came) and not pa.types.is_floating(came) and bool(came.bit_width > _SURE)
        case "string":
            return is_binary(came)
        case _:
            return declared == "timestamp" and is_text(came)


def _holds(target: pa.DataType, came: pa.DataType) -> bool:
    if not pa.types.is_integer(came):
        return False
    return bool(came.bit_width + pa.types.is_unsigned_integer(came) <= target.bit_width)


def require_fit(came: pa.DataType, declared: FeatureType, *, column: str, field: str) -> None:
    """Checks that a column can be read as declared.

    Raises:
        RejectError: names the column, its type and the declared one, with the line to write.
    """
    if not fits(came, declared):
        raise RejectError(
            f"column {column!r} has the type {came}, which cannot be read as {declared}",
            hint=of_type(column, came, declared, field),
            field=field,
            reason="WrongColumnType",
        )


def conform(values: pa.Array, declared: FeatureType, *, column: str, field: str = "") -> pa.Array:
    """The values as ``ARROW[declared]``.

    Raises:
        RejectError: the type does not fit. MisfitError: a value does not.
    """
    return _conformed(values, declared, ARROW[declared], column, field)


def rounded(values: pa.Array, declared: FeatureType, *, column: str, field: str = "") -> pa.Array:
    """As ``conform``, but integers become the nearest double, as suits a mean or another aggregate in doubles."""
    if declared == "float64" and pa.types.is_integer(values.type):
        return pc.cast(values, ARROW[declared], safe=False)
    return conform(values, declared, column=column, field=field)


def conform_key(values: pa.Array, declared: EntityType, *, column: str, field: str = "") -> pa.Array:
    """The values of a join key as ``KEY_ARROW[declared]``. Raises as ``conform``."""
    return _conformed(values, declared, KEY_ARROW[declared], column, field)


def microseconds(values: pa.Array, *, column: str, field: str = "") -> pa.Array:
    """Times as int64 microseconds UTC; nulls stay. Raises as ``conform``."""
    return conform(values, "timestamp", column=column, field=field).cast(pa.int64())


def counted_moments(values: pa.Array, unit: TimeUnit, *, column: str, field: str = "") -> pa.Array:
    """Times of numbers that count a unit since 1970 UTC; times of other forms as ``conform``, which raises so, too."""
    if not is_number(plain_type(values.type)):
        return conform(values, "timestamp", column=column, field=field)

    def convert(some: pa.Array) -> pa.Array:
        return lossless.counted(_decoded(some), unit)

    return _whole(values, convert, "timestamp", column, field)


def _conformed(values: pa.Array, declared: FeatureType, target: pa.DataType, column: str, field: str) -> pa.Array:
    if values.type == target:
        return values
    require_fit(values.type, declared, column=column, field=field)
    return _whole(values, lambda some: _cast(some, declared, target), declared, column, field)


def _whole(
    values: pa.Array, convert: Callable[[pa.Array], pa.Array], declared: str, column: str, field: str
) -> pa.Array:
    """All values converted, or the first that cannot be said."""
    try:
        return convert(values)
    except pa.ArrowInvalid as error:
        row = _first_misfit(values, convert)
        raise MisfitError(
            _shown(values[row]), row, column=column, came=str(values.type), declared=declared, field=field
        ) from error


def _first_misfit(values: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> int:
    """The first value that cannot be converted, found by halves."""
    first, count = 0, len(values)
    while count > 1:
        half = count // 2
        try:
            convert(values.slice(first, half))
            first, count = first + half, count - half
        except pa.ArrowInvalid:
            count = half
    return first


def _shown(value: pa.Scalar) -> str:
    try:
        return shown(value.as_py())
    except (ValueError, OverflowError):  # a moment or a date that Python cannot say; a date has no cast to int64
        return str(value.value)


def _cast(values: pa.Array, declared: FeatureType, target: pa.DataType) -> pa.Array:
    values = _decoded(values)
    came = values.type
    element = element_type(declared)
    if element is not None and is_list(came):
        return _cast_elements(values, element, target)
    if came == target or pa.types.is_null(came):
        return values.cast(target)
    match declared:
        case "int32" | "int64":
            return lossless.whole(values, target)
        case "float32" | "float64":
            return lossless.floating(values, target)
        case "timestamp":
            return lossless.moments(values)
    return _characters(values, target)


def _characters(values: pa.Array, target: pa.DataType) -> pa.Array:
    if is_uuid(values.type):
        return values.storage.cast(target) if pa.types.is_binary(target) else lossless.uuid_texts(values)
    return pc.cast(values, target)


def _decoded(values: pa.Array) -> pa.Array:
    """The values themselves, as ``plain_type`` says."""
    while not is_uuid(values.type):
        if pa.types.is_dictionary(values.type):
            words = values.dictionary
            if pa.types.is_string_view(words.type) or pa.types.is_binary_view(words.type):  # which nothing is taken of
                words = words.cast(pa.string() if pa.types.is_string_view(words.type) else pa.binary())
            values = words.take(values.indices)
        elif isinstance(values.type, pa.BaseExtensionType):
            values = values.storage
        else:
            break
    return values


def _cast_elements(values: pa.Array, element: ScalarType, target: pa.DataType) -> pa.ListArray:
    """Casts the elements of lists. Null lists and null elements stay null."""
    elements = _cast(pc.list_flatten(values), element, target.value_type)
    lengths = integers(pc.list_value_length(values).fill_null(0).cast(pa.int64()))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, elements, type=target, mask=values.is_null())
