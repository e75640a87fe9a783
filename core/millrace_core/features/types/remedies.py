"""What to write where a column does not fit: the very line, for a source; in other words for other callers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from millrace_core.features.types.kinds import is_list, is_number

_TIME_FIELDS: Final[Mapping[str, str]] = {
    "spec.source.timestampField": "timestampUnit",
    "spec.source.createdTimestampField": "createdTimestampUnit",
}
_SQL: Final[Mapping[str, str]] = {
    "bool": "boolean",
    "int32": "integer",
    "int64": "bigint",
    "float32": "float",
    "float64": "double",
    "string": "varchar",
    "bytes": "blob",
    "timestamp": "timestamp",
}
_BARE: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"


def of_type(column: str, came: pa.DataType, declared: str, field: str) -> str:
    """Of a column whose type does not fit."""
    if not field.startswith("spec."):
        return f"Convert the column to {declared}"
    if field in _TIME_FIELDS and is_number(came):
        return f"Write {_TIME_FIELDS[field]}: ms beside it, or s, us or ns: what the numbers count since 1970 UTC"
    return (
        f"Declare the type that the column has, or write in spec.source: {_line(column, _cast(column, came, declared))}"
    )


def of_value(column: str, declared: str, field: str) -> str:
    """Of a value that does not fit, in a column whose other values may."""
    if not field.startswith("spec."):
        return f"Convert the column to {declared}"
    line = _line(column, f"try_cast({_name(column)} as {_sql(declared)})")
    return f"Mend the source, declare a wider type, or write in spec.source: {line} (what does not fit is null then)"


def _line(column: str, expression: str) -> str:
    quoted = expression.replace("\\", "\\\\").replace('"', '\\"')
    return f'columns: [{{name: {column}, expression: "{quoted}"}}]'


def _cast(column: str, came: pa.DataType, declared: str) -> str:
    name = _name(column)
    array = declared.startswith("array<")
    if declared == "timestamp" and is_number(came):
        return f"make_timestamp({name} * 1000)"
    if declared == "bool" and is_number(came):
        return f"{name} <> 0"
    if array and not is_list(came):
        return f"[{_cast_to(name, declared.removeprefix('array<').removesuffix('>'))}]"
    if pa.types.is_struct(came) and came.num_fields:
        name = f"{name}.{_name(came.field(0).name)}"
    elif pa.types.is_map(came):
        name = f"{name}['key']"
    elif is_list(came) and not array:
        name = f"{name}[1]"
    return _cast_to(name, declared)


def _cast_to(value: str, declared: str) -> str:
    return f"cast({value} as {_sql(declared)})"


def _sql(declared: str) -> str:
    if declared.startswith("array<"):
        return f"{_SQL[declared.removeprefix('array<').removesuffix('>')]}[]"
    return _SQL[declared]


def _name(column: str) -> str:
    plain = set(column) <= set(_BARE) and not column[:1].isdigit()
    return column if plain else '"' + column.replace('"', '""') + '"'
