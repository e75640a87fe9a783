"""What kind of Arrow type a column has, whichever of its forms (large, view, fixed size, dictionary, extension)."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import types


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves: of a dictionary its values', of JSON its text's; UUIDs stay."""
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) and not is_uuid(kind):
        return plain_type(kind.storage_type)
    return kind


def is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.UuidType)


def is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    checks = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(check(kind) for check in checks)


def is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def is_moment(kind: pa.DataType) -> bool:
    return bool(types.is_timestamp(kind) or types.is_date(kind))


def is_list(kind: pa.DataType) -> bool:
    checks = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view)
    return any(check(kind) for check in checks)
