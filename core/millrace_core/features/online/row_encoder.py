"""Encodes packed rows from whole Arrow columns; ``row.Layout.encode`` does the same row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.feature import FeatureType, ScalarType
from millrace_core.features.online import row_arrays
from millrace_core.features.online.row import ARRAYS, STRUCT_CODE, TIME_OFFSET, VARIABLE, Layout
from millrace_core.features.types.arrow_numpy import integers

Numbers = np.ndarray[Any, Any]

_NUMPY: Final = {"?": "?", "i": ">i4", "q": ">i8", "f": ">f4", "d": ">f8", "I": ">u4"}
_SIGN: Final = np.uint64(TIME_OFFSET)


def _dtype(layout: Layout) -> np.dtype[Any]:
    fields: list[Any] = [("head", "V9"), ("event", ">u8"), ("created", ">u8"), ("stamp", ">u4")]
    fields.append(("nulls", "u1", (layout.bitmap_bytes,)))
    return np.dtype(fields + [(str(i), _NUMPY[STRUCT_CODE[f.type]]) for i, f in enumerate(layout.features)])


def encode(
    layout: Layout, event_times: pa.Array, created_times: pa.Array | None, columns: Sequence[Any], stamp: int = 0
) -> pa.Array:
    """Packs many rows.

    Args:
        layout: the rows'.
        event_times: int64 microseconds, without nulls.
        created_times: the same, with nulls; None where the view has no created times.
        columns: one Arrow array per feature, of type ``conform.ARROW[feature.type]``.
        stamp: the rows' (``generation``).

    Returns:
        A binary array; together the rows must be smaller than 2 GiB.
    """
    count = len(event_times)
    rows = np.zeros(count, _dtype(layout))
    rows["head"] = np.void(layout.head)
    rows["stamp"] = stamp
    rows["event"] = integers(event_times).view(np.uint64) ^ _SIGN
    if created_times is not None:
        known = created_times.is_valid().to_numpy(zero_copy_only=False)
        rows["created"] = np.where(known, integers(created_times).view(np.uint64) ^ _SIGN, np.uint64(0))
    end = np.zeros(count, np.int64)
    variable = []
    for index, (feature, column) in enumerate(zip(layout.features, columns, strict=True)):
        if column.null_count:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            rows["nulls"][:, index // 8] |= missing.astype(np.uint8) << np.uint8(index % 8)
        if feature.type in VARIABLE:
            values = _variable(column, feature.type)
            end += integers(pc.binary_length(values).cast(pa.int64()))
            rows[str(index)] = end
            variable.append(values)
        else:
            rows[str(index)] = _numbers(column, feature.type)
    fixed = _binary(rows.view(np.uint8).reshape(-1), count, rows.dtype.itemsize)
    return pc.binary_join_element_wise(fixed, *variable, pa.scalar(b"", pa.binary())) if variable else fixed


def _variable(column: pa.Array, kind: FeatureType) -> pa.Array:
    if kind in ARRAYS:
        return _arrays(column, ARRAYS[kind])
    return _filled(column, b"" if kind == "bytes" else "").cast(pa.binary())


def _filled(column: pa.Array, zero: Any) -> pa.Array:
    return column.fill_null(zero) if column.null_count else column


def _numbers(column: pa.Array, kind: str) -> Numbers:
    if kind in ("bool", "timestamp"):
        column = column.cast(pa.uint8() if kind == "bool" else pa.int64())
    numbers: Numbers = _filled(column, 0).to_numpy()
    return numbers


def _binary(data: Numbers, count: int, size: int) -> pa.Array:
    offsets = np.arange(0, (count + 1) * size, size, dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _arrays(column: pa.ListArray, element: ScalarType) -> pa.Array:
    """The bytes of each array (``row_arrays``); empty where it is null."""
    if element in row_arrays.TEXTS:
        encoded = [b"" if values is None else row_arrays.encode(element, values) for values in column.to_pylist()]
        return pa.array(encoded, pa.binary())
    missing = column.is_null().to_numpy(zero_copy_only=False)
    counts = np.asarray(pc.list_value_length(column).fill_null(0))
    elements = pc.list_flatten(column)
    kind = np.dtype(_NUMPY[row_arrays.CODES[element]])
    numbers = _elements(elements, kind)
    nulls = elements.is_null().to_numpy(zero_copy_only=False)
    sizes = np.where(missing, 0, row_arrays.COUNT.size + (counts + 7) // 8 + counts * kind.itemsize)
    ends = np.cumsum(sizes)
    data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    firsts = np.cumsum(counts) - counts
    # Arrays of equal length are written together. Embeddings all have one length.
    for count in np.unique(counts[~missing]):
        rows = np.flatnonzero((counts == count) & ~missing)
        places = firsts[rows, None] + np.arange(count)
        parts = [
            np.broadcast_to(np.frombuffer(row_arrays.COUNT.pack(count), np.uint8), (len(rows), row_arrays.COUNT.size)),
            np.packbits(nulls[places], axis=1, bitorder="little"),
            np.ascontiguousarray(numbers[places]).view(np.uint8).reshape(len(rows), -1),
        ]
        block = np.concatenate(parts, axis=1)
        data[(ends[rows] - block.shape[1])[:, None] + np.arange(block.shape[1])] = block
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(column), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _elements(elements: pa.Array, kind: Any) -> Any:
    if pa.types.is_timestamp(elements.type):
        elements = elements.cast(pa.int64())
    zero = False if pa.types.is_boolean(elements.type) else 0
    return elements.fill_null(zero).to_numpy(zero_copy_only=False).astype(kind)
