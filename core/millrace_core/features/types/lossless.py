"""Conversions of scalar columns that lose nothing but what the declared type is known to leave out.

Each takes a whole column, and raises ``pa.ArrowInvalid`` where one of its values cannot be had so.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.source import TimeUnit
from millrace_core.features.types.arrow_numpy import int64_array, integers
from millrace_core.features.types.kinds import is_text

_MOMENT: Final = pa.timestamp("us", "UTC")
_NANOSECONDS: Final = 1_000
# Up to here every integer is a double of its own.
_EXACT: Final = 2.0**53
_SMALL: Final = (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32())
# Microseconds in one of a unit; of nanoseconds there are 1000 to one.
_MICROSECONDS: Final[Mapping[TimeUnit, int]] = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}
# Of all decimals that databases have; with seven digits more it is the widest that there is.
_WIDE: Final = pa.decimal256(68, 18)
_SCALE: Final = pa.decimal256(7, 0)
_ZONED: Final = r":.*([Zz]|[+-]\d\d(:?\d\d)?)$"
_BEYOND_MICROSECONDS: Final = r"(\.\d{6})\d+"
_UUID_DIGITS: Final = 32
_UUID_TEXT: Final = 36
_UUID_DASHES: Final = (8, 13, 18, 23)


def whole(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Numbers as integers."""
    if pa.types.is_floating(values.type) and pc.any(pc.greater(pc.abs(values), pa.scalar(_EXACT, values.type))).as_py():
        raise pa.ArrowInvalid("a double beyond 2**53 says no one integer")
    return pc.cast(values, target)


def floating(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Numbers as floats."""
    # Arrow's own cast of decimals is off by one bit in many cases; its reading of text is not.
    exact = values.cast(pa.string()) if pa.types.is_decimal(values.type) else values
    made = pc.cast(exact, target, safe=False)
    if pa.types.is_float32(target):
        ends = pc.min_max(made)
        if ends["min"].as_py() == -np.inf or ends["max"].as_py() == np.inf:
            _require_infinite(values, made)
    elif not pa.types.is_floating(values.type) and values.type not in _SMALL:
        beyond = pc.greater_equal(pc.abs(made), _EXACT)
        if pc.any(beyond).as_py():
            _require_same(values.filter(beyond), made.filter(beyond))
    return made


def _require_infinite(values: pa.Array, made: pa.Array) -> None:
    """Infinities come from infinities alone."""
    if not pa.types.is_floating(values.type) or not pc.all(pc.equal(pc.is_inf(values), pc.is_inf(made))).as_py():
        raise pa.ArrowInvalid("beyond the range of float32")


def _require_same(values: pa.Array, made: pa.Array) -> None:
    if values.type.id in (pa.int64().id, pa.uint64().id):
        back = pc.cast(made, values.type)
    else:
        values = values.cast(pa.decimal256(76, values.type.scale))
        back = pa.array([None if each is None else Decimal(each) for each in made.to_pylist()], values.type)
    if not pc.all(pc.equal(values, back)).as_py():
        raise pa.ArrowInvalid("no double is this number")


def moments(values: pa.Array) -> pa.Array:
    """Timestamps, dates and texts as times in microseconds, UTC."""
    kind = values.type
    if is_text(kind):
        return _from_text(values)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return _floor_to_microseconds(values).cast(_MOMENT)
    if pa.types.is_timestamp(kind):
        # Arrow keeps UTC under every zone, so the zone is replaced. A cast between naive and zoned times would refuse.
        values = values.cast(pa.int64()).cast(pa.timestamp(kind.unit, "UTC"))
    else:
        values = values.cast(pa.timestamp("ms" if pa.types.is_date64(kind) else "s", "UTC"))
    return pc.cast(values, _MOMENT)


def counted(values: pa.Array, unit: TimeUnit) -> pa.Array:
    """Numbers of a unit since 1970 UTC as times; finer than a microsecond is rounded down."""
    if pa.types.is_decimal(values.type):
        counts = pc.multiply(values.cast(_WIDE), pa.scalar(Decimal(_MICROSECONDS[unit])).cast(_SCALE))
        counts = pc.cast(pc.floor(counts), pa.int64())
    else:
        counts = whole(values, pa.int64())
        if unit in ("s", "ms"):
            counts = pc.multiply_checked(counts, _MICROSECONDS[unit])
    if unit == "ns":
        counts = int64_array(np.floor_divide(integers(counts), _NANOSECONDS), counts)
    return counts.cast(_MOMENT)


def _from_text(values: pa.Array) -> pa.Array:
    """ISO 8601, with and without a zone."""
    values = pc.replace_substring_regex(values.cast(pa.string()), _BEYOND_MICROSECONDS, r"\1")
    zoned = pc.match_substring_regex(values, _ZONED)
    nothing = pa.scalar(None, pa.string())
    with_zone = pc.cast(pc.if_else(zoned, values, nothing), _MOMENT)
    without = pc.cast(pc.if_else(zoned, nothing, values), pa.timestamp("us"))
    return pc.coalesce(with_zone, without.cast(pa.int64()).cast(_MOMENT))


def _floor_to_microseconds(values: pa.Array) -> pa.Array:
    """Nanoseconds to microseconds, rounded down also before 1970 (Arrow's own cast rounds towards zero)."""
    counts = np.floor_divide(integers(values.cast(pa.int64())), _NANOSECONDS)
    return int64_array(counts, values).cast(pa.timestamp("us", "UTC"))


def uuid_texts(values: pa.Array) -> pa.Array:
    """UUIDs as their 36 characters, in lower case."""
    stored = values.storage.fill_null(bytes(16))
    data = b"".join(stored.to_pylist()).hex().encode()
    digits = np.frombuffer(data, np.uint8).reshape(-1, _UUID_DIGITS)
    dashes = [place - index for index, place in enumerate(_UUID_DASHES)]
    text = np.insert(digits, dashes, ord("-"), axis=1)
    offsets = np.arange(0, (len(values) + 1) * _UUID_TEXT, _UUID_TEXT, dtype=np.int32)
    made = pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(text.tobytes())])
    return pc.if_else(values.is_valid(), made, pa.scalar(None, pa.string())) if values.null_count else made
