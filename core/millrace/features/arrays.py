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

A null element is zero, and empty where it is a string or bytes. A null array is no bytes at all, an empty one four.

Golden bytes: ``array<float32>`` [1.5, null], ``array<string>`` ["é", null, ""]::

    00000002 02 3fc00000 00000000
    00000003 02 00000002 00000002 00000002 c3a9
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.api.featureview import ScalarType

_NUMPY: Final[Mapping[ScalarType, Any]] = {
    "bool": np.dtype("?"),
    "int32": np.dtype(">i4"),
    "int64": np.dtype(">i8"),
    "float32": np.dtype(">f4"),
    "float64": np.dtype(">f8"),
    "timestamp": np.dtype(">i8"),
}
_TEXTS: Final = frozenset(["string", "bytes"])
_COUNT: Final = struct.Struct(">I")


def encode(element: ScalarType, values: Sequence[Any]) -> bytes:
    """The bytes of one array; times are microseconds."""
    nulls = sum(1 << index for index, value in enumerate(values) if value is None)
    head = _COUNT.pack(len(values)) + nulls.to_bytes((len(values) + 7) // 8, "little")
    if element in _TEXTS:
        texts = [b"" if value is None else value.encode() if element == "string" else value for value in values]
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64).astype(">u4")
        return b"".join([head, ends.tobytes(), *texts])
    return head + np.array([0 if value is None else value for value in values], _NUMPY[element]).tobytes()


def decode(element: ScalarType, data: bytes) -> list[Any]:
    """The array of such bytes; times are microseconds.

    Raises:
        ValueError: the bytes are no whole array of this type.
    """
    try:
        (count,) = _COUNT.unpack_from(data)
    except struct.error as error:
        raise ValueError(str(error)) from error
    start = _COUNT.size + (count + 7) // 8
    if element in _TEXTS:
        values = _texts(element, data, count, start)
    else:
        kind = _NUMPY[element]
        if len(data) != start + count * kind.itemsize:
            raise ValueError(f"{len(data)} bytes are no array of {count} {element}")
        values = np.frombuffer(data, kind, count, start).tolist()
    nulls = int.from_bytes(data[_COUNT.size : start], "little")
    return [None if nulls >> index & 1 else value for index, value in enumerate(values)] if nulls else values


def _texts(element: ScalarType, data: bytes, count: int, start: int) -> list[Any]:
    begin = start + 4 * count
    if len(data) < begin:
        raise ValueError(f"{len(data)} bytes are no array of {count} {element}")
    ends = np.frombuffer(data, ">u4", count, start).tolist()
    if len(data) != begin + (ends[-1] if ends else 0) or ends != sorted(ends):
        raise ValueError(f"{len(data)} bytes are no array of {count} {element}")
    parts = [data[begin + a : begin + b] for a, b in zip([0, *ends], ends, strict=False)]
    return [part.decode() for part in parts] if element == "string" else parts


def encode_column(element: ScalarType, column: pa.ListArray) -> pa.Array:
    """What ``encode`` makes of each array, for a whole Arrow column; empty where it is null."""
    if element in _TEXTS:
        encoded = [b"" if values is None else encode(element, values) for values in column.to_pylist()]
        return pa.array(encoded, pa.binary())
    missing = column.is_null().to_numpy(zero_copy_only=False)
    counts = np.asarray(pc.list_value_length(column).fill_null(0))
    elements = pc.list_flatten(column)
    kind = _NUMPY[element]
    numbers = _numbers(elements, kind)
    nulls = elements.is_null().to_numpy(zero_copy_only=False)
    sizes = np.where(missing, 0, _COUNT.size + (counts + 7) // 8 + counts * kind.itemsize)
    ends = np.cumsum(sizes)
    data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    firsts = np.cumsum(counts) - counts
    # Arrays of one length are written together; the arrays of an embedding all have one.
    for count in np.unique(counts[~missing]):
        rows = np.flatnonzero((counts == count) & ~missing)
        places = firsts[rows, None] + np.arange(count)
        parts = [
            np.broadcast_to(np.frombuffer(_COUNT.pack(count), np.uint8), (len(rows), _COUNT.size)),
            np.packbits(nulls[places], axis=1, bitorder="little"),
            np.ascontiguousarray(numbers[places]).view(np.uint8).reshape(len(rows), -1),
        ]
        block = np.concatenate(parts, axis=1)
        data[(ends[rows] - block.shape[1])[:, None] + np.arange(block.shape[1])] = block
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(column), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _numbers(elements: pa.Array, kind: Any) -> Any:
    if pa.types.is_timestamp(elements.type):
        elements = elements.cast(pa.int64())
    zero = False if pa.types.is_boolean(elements.type) else 0
    return elements.fill_null(zero).to_numpy(zero_copy_only=False).astype(kind)
