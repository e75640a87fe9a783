"""Converts values as JSON or Python has them into values of a feature's type, as packed rows have them.

==============  ==========================================================================================
bool            true, false
int32, int64    an integer within the type's range
float32         a number within the type's range, rounded to the nearest one
float64         a number; an integer beyond 2**53 must be a double, as in a source
float32/64      also "NaN", "Infinity" and "-Infinity", for which JSON has no numbers
string          a string of Unicode characters
bytes           a string in base64; bytes
timestamp       a string in RFC 3339, without a zone UTC; a datetime
array<…>        a list of such values; nulls among them stay
==============  ==========================================================================================
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from struct import Struct
from typing import Any, Final

from millrace_core.api.feature import FeatureType, ScalarType, element_type
from millrace_core.features.types import times

# What to say where a value does not fit and the name of the type alone does not tell how it is written.
EXPECTED: Final[Mapping[str, str]] = {
    "timestamp": 'a time as text in RFC 3339, such as "2026-01-31T12:00:00Z" (below /feast also whole seconds since '
    "1970)",
    "bytes": "a text in base64",
}
INTEGER_BITS: Final[Mapping[str, int]] = {"int32": 31, "int64": 63}

_FLOAT32: Final = Struct("<f")
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def converter(kind: FeatureType) -> Callable[[Any], Any]:
    """Converts one value that is not null.

    It raises TypeError or ValueError for a value that does not fit, and RejectError for a text that is no time.
    """
    element = element_type(kind)
    if element is None:
        return SCALARS[kind]  # type: ignore[index]
    convert = SCALARS[element]
    return lambda values: [None if value is None else convert(value) for value in _list(values)]


def _list(value: Any) -> Sequence[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _integer(bits: int) -> Callable[[Any], int]:
    bound = 1 << bits

    def convert(value: Any) -> int:
        if type(value) is not int or not -bound <= value < bound:
            raise ValueError
        return value

    return convert


def _float(value: Any) -> float:
    """To the nearest double."""
    if type(value) is float:
        return value
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if type(value) is not int:
        raise TypeError
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError from error


def _float64(value: Any) -> float:
    made = _float(value)
    if type(value) is int and made != value:
        raise ValueError
    return made


def _float32(value: Any) -> float:
    made = _float(value)
    if math.isfinite(made):
        try:
            _FLOAT32.pack(made)
        except OverflowError as error:
            raise ValueError from error
    return made


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError
    return b64decode(value, validate=True)


def _timestamp(value: Any) -> int:
    if isinstance(value, datetime):
        return times.microseconds(value)
    if not isinstance(value, str):
        raise TypeError
    return times.parse(value)


SCALARS: Final[Mapping[ScalarType, Callable[[Any], Any]]] = {
    "bool": _bool,
    "int32": _integer(INTEGER_BITS["int32"]),
    "int64": _integer(INTEGER_BITS["int64"]),
    "float32": _float32,
    "float64": _float64,
    "string": _string,
    "bytes": _bytes,
    "timestamp": _timestamp,
}
