"""The content id of a table. It depends on its columns, types, nulls and values, and their order, and on nothing else:
not on chunks, on offsets, or on the bytes in memory where a value is null.

SHA-256 over the number of rows and, per column, its name, its type and its content:

==============================  ==============================================================================
all                             one byte per row, 0 where it is null
bool, numbers, times, decimals  the values, little-endian, zero where null
strings, bytes                  the lengths as int64, then the bytes of all
lists                           the lengths as int64, then the content of the values of all
structs                         the content of every field
dictionaries                    the content of their decoded values
==============================  ==============================================================================
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.base.errors import RejectError
from millrace_core.features.types.arrow_numpy import one_array


def content_id(table: pa.Table) -> str:
    """``sha256:`` and 64 hex digits.

    Raises:
        RejectError: a column has a type that has no canonical content.
    """
    digest = sha256(b"%d\0" % table.num_rows)
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}\0{_plain(column.type)}\0".encode())
        _add(digest, column.combine_chunks(), name)
    return f"sha256:{digest.hexdigest()}"


def _plain(kind: pa.DataType) -> str:
    """The type's name, the same for all Arrow forms of it (large, view, dictionary)."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if _is_list(kind):
        return f"list<{_plain(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {_plain(field.type)}' for field in kind)}>"
    return str(kind).removeprefix("large_").removesuffix("_view")


def _add(digest: Any, column: Any, name: str) -> None:
    if isinstance(column, pa.ChunkedArray):
        column = one_array(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    digest.update(column.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_null(kind):
        return
    if _is_text(kind):
        _add_text(digest, column)
    elif _is_list(kind):
        _add_lengths(digest, pc.list_value_length(column))
        # `flatten` leaves out the values under nulls and outside of a slice.
        _add(digest, column.flatten(), name)
    elif pa.types.is_struct(kind):
        for index, field in enumerate(kind):
            _add(digest, pc.struct_field(column, [index]), f"{name}.{field.name}")
    elif pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        _add_text(digest, column.cast(pa.string() if pa.types.is_decimal(kind) else pa.binary()))
    else:
        _add_numbers(digest, column, name)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return str(kind).removeprefix("large_").removesuffix("_view") in ("string", "binary")


def _add_text(digest: Any, column: pa.Array) -> None:
    values = column.cast(pa.large_binary() if pa.types.is_binary(column.type) else pa.large_string()).cast(
        pa.large_binary()
    )
    values = values.fill_null(b"")
    _add_lengths(digest, pc.binary_length(values))
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    if data is not None and len(values):
        digest.update(memoryview(data)[ends[0] : ends[-1]])


def _add_lengths(digest: Any, lengths: pa.Array) -> None:
    digest.update(lengths.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).tobytes())


def _add_numbers(digest: Any, column: pa.Array, name: str) -> None:
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_temporal(kind):
        column = column.view({32: pa.int32(), 64: pa.int64()}[kind.bit_width])
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise RejectError(
            f"column {name!r} has the type {kind}, which has no canonical content",
            hint="Cast it to a number, a time, a string or a list of these",
        )
    digest.update(column.fill_null(pa.scalar(0).cast(column.type)).to_numpy(zero_copy_only=False).tobytes())
