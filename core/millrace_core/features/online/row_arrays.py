"""Arrays in packed rows: the bytes of one array in the variable section. All numbers are big-endian.

====================  ================================================================================
size                  content
====================  ================================================================================
4                     number of elements
ceil(elements / 8)    null bitmap: element i is null when bit ``i % 8`` of byte ``i // 8`` is set
elements x size       the elements one after another, in the size that they have in the fixed section of
                      rows (``row``): bool 1, int32 and float32 4, int64, float64 and timestamp 8; of
                      strings and bytes 4: where each ends, counted from the first byte after this part
to the end            the strings (UTF-8) and bytes themselves
====================  ================================================================================

A null element is zero, or empty where it is a string or bytes. A null array has no bytes at all, an empty one has four.

Golden bytes: ``array<float32>`` [1.5, null], ``array<string>`` ["é", null, ""]::

    00000002 02 3fc00000 00000000
    00000003 02 00000002 00000002 00000002 c3a9
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

from millrace_core.api.feature import FeatureType, ScalarType

# Codes of ``struct``. For strings and bytes it is the code of their ends.
CODES: Final[Mapping[FeatureType, str]] = {
    "bool": "?",
    "int32": "i",
    "int64": "q",
    "float32": "f",
    "float64": "d",
    "timestamp": "q",
    "string": "I",
    "bytes": "I",
}
TEXTS: Final = frozenset(["string", "bytes"])
COUNT: Final = struct.Struct(">I")


def encode(element: ScalarType, values: Sequence[Any]) -> bytes:
    """The bytes of one array; times are microseconds."""
    nulls = sum(1 << index for index, value in enumerate(values) if value is None)
    head = COUNT.pack(len(values)) + nulls.to_bytes((len(values) + 7) // 8, "little")
    if element not in TEXTS:
        zero = False if element == "bool" else 0
        return head + _of(element, len(values)).pack(*[zero if value is None else value for value in values])
    texts = [b"" if value is None else value.encode() if element == "string" else value for value in values]
    return b"".join([head, _of(element, len(texts)).pack(*accumulate(map(len, texts))), *texts])


def decode(element: ScalarType, data: bytes) -> list[Any]:
    """The array that some bytes are; times are microseconds.

    Raises:
        ValueError: the bytes are not a whole array of this type.
    """
    try:
        (count,) = COUNT.unpack_from(data)
        start = COUNT.size + (count + 7) // 8
        form = _of(element, count)
        values: list[Any] = list(form.unpack_from(data, start))
    except struct.error as error:
        raise ValueError(f"{len(data)} bytes are no array of {element}") from error
    end = start + form.size
    if element in TEXTS:
        ends, begin = values, end
        end += ends[-1] if ends else 0
        if ends != sorted(ends):
            raise ValueError("texts end before they begin")
        values = [data[begin + a : begin + b] for a, b in zip([0, *ends], ends, strict=False)]
    if len(data) != end:
        raise ValueError(f"{len(data)} bytes are no array of {count} {element}")
    if element == "string":
        values = [value.decode() for value in values]
    nulls = int.from_bytes(data[COUNT.size : start], "little")
    return [None if nulls >> index & 1 else value for index, value in enumerate(values)] if nulls else values


@lru_cache(maxsize=256)
def _of(element: ScalarType, count: int) -> struct.Struct:
    return struct.Struct(f">{count}{CODES[element]}")
