"""Arrow arrays as numpy arrays and back, without copying."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def integers(values: pa.Array) -> Numbers:
    """The numbers of an int64 array, not copied. Where the array is null the number is arbitrary."""
    data = values.buffers()[1]
    if data is None:
        return np.zeros(len(values), np.int64)
    return np.frombuffer(data, np.int64, count=len(values), offset=values.offset * 8)


def int64_array(numbers: np.ndarray[Any, Any], nulls_of: pa.Array | None = None) -> pa.Array:
    """An int64 array around numbers, null where another array of the same length is. Only the null bits are copied."""
    validity = None
    if nulls_of is not None and nulls_of.null_count:
        validity = nulls_of.is_valid().buffers()[1]
    return pa.Array.from_buffers(pa.int64(), len(numbers), [validity, pa.py_buffer(np.ascontiguousarray(numbers))])


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """The chunks of a column as one array."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
