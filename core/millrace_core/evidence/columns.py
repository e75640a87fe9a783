"""How rows with other columns become one table: by name, and each column in a type that holds all of its values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

TIME: Final = pa.timestamp("us", tz="UTC")
# Columns of every prediction, in this order; more come behind them.
PREDICTION: Final = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("time", TIME),
        pa.field("service", pa.string()),
        pa.field("deployment", pa.string()),
        pa.field("version", pa.string()),
        pa.field("digest", pa.string()),
        pa.field("arm", pa.string()),
        pa.field("experiment", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("shadow", pa.bool_()),
        pa.field("cached", pa.bool_()),
        pa.field("status", pa.int16()),
        pa.field("queue_us", pa.int64()),
        pa.field("join_us", pa.int64()),
        pa.field("compute_us", pa.int64()),
        pa.field("total_us", pa.int64()),
        pa.field("sample", pa.float64()),
    ]
)


def united_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The type that holds the values of both.

    Nothing gives way to anything, a narrow number to a wide one, text to bytes; integers beside floats become float64,
    signed beside unsigned int64, or float64 where that is too narrow. What has nothing in common becomes text, as JSON
    has it; beside bytes the bytes of that text.
    """
    if first.equals(second) or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if pa.types.is_list(first) and pa.types.is_list(second):
        return pa.list_(united_type(first.value_type, second.value_type))
    if _number(first) and _number(second):
        return pa.from_numpy_dtype(np.promote_types(first.to_pandas_dtype(), second.to_pandas_dtype()))
    return pa.binary() if pa.types.is_binary(first) or pa.types.is_binary(second) else pa.string()


def united_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """All columns of several schemas, in the order in which they come first."""
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            types[field.name] = united_type(types[field.name], field.type) if field.name in types else field.type
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, null where it has none; ``schema`` is one that ``united_schema`` made."""
    known: Mapping[str, int] = {name: at for at, name in enumerate(table.column_names)}
    columns = [
        _cast(table.column(known[field.name]), field.type)
        if field.name in known
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def united(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all of them, in order."""
    schema = united_schema(table.schema for table in tables)
    return pa.concat_tables([fitted(table, schema) for table in tables])


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type.equals(kind):
        return column
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    try:
        if not _text(kind) or _text(column.type):
            return column.cast(kind, safe=False)
    except pa.ArrowException:
        pass
    texts = [_as_text(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string()).cast(kind)])


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=lambda each: each.hex() if isinstance(each, bytes) else str(each))


def _number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
