"""Converts Arrow columns of any type that fits to exactly the type that a definition declares.

Training sets, stored rows and entity frames all pass through here, so a value has the same bits wherever it is read.

================  ==============================================================================================
declared          taken from
================  ==============================================================================================
bool              bool
int32, int64      integers of any width; a value out of range is an error
float32, float64  floats and integers of any width (rounded to nearest), decimals
string            strings, dictionary-encoded or not, and binary that is UTF-8
bytes             binary of any form, strings
timestamp         timestamps of any unit and zone, dates (their midnight); without a zone is UTC; finer than a
                  microsecond is rounded down
array<…>          lists of any form whose elements can be taken so
================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.featureview import EntityType, FeatureType, ScalarType, element_type
from millrace_core.base.errors import RejectError
from millrace_core.features.types.arrow_numpy import int64_array, integers

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

_NANOSECONDS: Final = 1_000
_DECLARE: Final = "Declare the type that the column has, or name another column"


def fits(came: pa.DataType, declared: FeatureType) -> bool:
    """Whether columns of an Arrow type can be read as the declared type."""
    if pa.types.is_dictionary(came):
        came = came.value_type
    element = element_type(declared)
    if element is not None and _is_list(came):
        return fits(came.value_type, element)
    return bool(pa.types.is_null(came)) or (element is None and _fits_scalar(came, declared))


def _fits_scalar(came: pa.DataType, declared: FeatureType) -> bool:
    binary = any(
        check(came)
        for check in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )
    text = pa.types.is_string(came) or pa.types.is_large_string(came) or pa.types.is_string_view(came)
    match declared:
        case "bool":
            return bool(pa.types.is_boolean(came))
        case "int32" | "int64":
            return bool(pa.types.is_integer(came))
        case "float32" | "float64":
            return bool(pa.types.is_integer(came) or pa.types.is_floating(came) or pa.types.is_decimal(came))
        case "string" | "bytes":
            return bool(text or binary)
        case _:
            return bool(pa.types.is_timestamp(came) or pa.types.is_date(came))


def _is_list(came: pa.DataType) -> bool:
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(check(came) for check in checks)


def require_fit(came: pa.DataType, declared: FeatureType, *, column: str, field: str) -> None:
    """Checks that a column can be read as declared.

    Raises:
        RejectError: names the column, its type and the declared one.
    """
    if not fits(came, declared):
        raise RejectError(
            f"column {column!r} has the type {came}, which cannot be read as {declared}",
            hint=_DECLARE if field.startswith("spec.") else f"Convert the column to {declared}",
            field=field,
            reason="WrongColumnType",
        )


def conform(values: pa.Array, declared: FeatureType, *, column: str, field: str = "") -> pa.Array:
    """The values as ``ARROW[declared]``.

    Raises:
        RejectError: the type does not fit, or a value is out of range.
    """
    return _cast(values, declared, ARROW[declared], column, field)


def conform_key(values: pa.Array, declared: EntityType, *, column: str, field: str = "") -> pa.Array:
    """The values of a join key as ``KEY_ARROW[declared]``. Raises as ``conform``."""
    return _cast(values, declared, KEY_ARROW[declared], column, field)


def microseconds(values: pa.Array, *, column: str, field: str = "") -> pa.Array:
    """Times as int64 microseconds UTC; nulls stay. Raises as ``conform``."""
    return conform(values, "timestamp", column=column, field=field).cast(pa.int64())


def _cast(values: pa.Array, declared: FeatureType, target: pa.DataType, column: str, field: str) -> pa.Array:
    came = values.type
    if came == target:
        return values
    require_fit(came, declared, column=column, field=field)
    if pa.types.is_dictionary(came):
        return _cast(values.dictionary, declared, target, column, field).take(values.indices)
    element = element_type(declared)
    if element is not None and _is_list(came):
        return _cast_elements(values, element, target, column, field)
    if pa.types.is_timestamp(came) and came.unit == "ns":
        return _floor_to_microseconds(values).cast(target)
    if pa.types.is_timestamp(came):
        # Arrow keeps UTC under every zone, so the zone is replaced. A cast between naive and zoned times would refuse.
        values = values.cast(pa.int64()).cast(pa.timestamp(came.unit, "UTC"))
    elif pa.types.is_date(came):
        values = values.cast(pa.timestamp("ms", "UTC") if pa.types.is_date64(came) else pa.timestamp("s", "UTC"))
    try:
        return pc.cast(values, target, safe=declared not in ("float32", "float64"))
    except pa.ArrowInvalid as error:
        raise RejectError(
            f"column {column!r} ({came}) holds a value that is no {declared}: {error}",
            hint="Declare a wider type, or mend the source",
            field=field,
            reason="ValueOutOfRange",
        ) from error


def _cast_elements(values: pa.Array, element: ScalarType, target: pa.DataType, column: str, field: str) -> pa.ListArray:
    """Casts the elements of lists. Null lists and null elements stay null."""
    elements = _cast(pc.list_flatten(values), element, target.value_type, column, field)
    lengths = integers(pc.list_value_length(values).fill_null(0).cast(pa.int64()))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, elements, type=target, mask=values.is_null())


def _floor_to_microseconds(values: pa.Array) -> pa.Array:
    """Nanoseconds to microseconds, rounded down also before 1970 (Arrow's own cast rounds towards zero)."""
    counts = np.floor_divide(integers(values.cast(pa.int64())), _NANOSECONDS)
    return int64_array(counts, values).cast(pa.timestamp("us", "UTC"))
