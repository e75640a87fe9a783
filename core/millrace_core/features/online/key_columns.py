"""Store keys from whole Arrow columns; ``keys`` makes the same one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.features.definition.definition import Definition, JoinKey
from millrace_core.features.online.keys import ESCAPES, SEPARATOR, prefix
from millrace_core.features.types.conform import conform_key


def store_keys(definition: Definition, columns: Mapping[str, pa.Array]) -> pa.BinaryArray:
    """Store keys from equally long Arrow columns by join key; null where a join key is null.

    Raises:
        RejectError: a column has a type that the join key cannot have.
    """
    pieces: list[Any] = [pa.scalar(prefix(definition.project, definition.view), pa.binary())]
    for key in definition.join_keys:
        pieces += [canonical(key, columns[key.name]), pa.scalar(SEPARATOR, pa.binary())]
    pieces[-1] = pa.scalar(b"}", pa.binary())
    return pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.binary()))


def canonical(key: JoinKey, values: pa.Array) -> pa.BinaryArray:
    """Canonical texts of one join key's values; a null stays null."""
    values = conform_key(values, key.type, column=key.name, field=f"spec.entities.{key.name}")
    if key.type == "timestamp":
        values = values.cast(pa.int64())
    if key.type not in ("string", "bytes"):
        return values.cast(pa.string()).cast(pa.binary())
    values = values.cast(pa.binary())
    for plain, escape in ESCAPES:
        if pc.any(pc.match_substring(values, plain.decode())).as_py():
            values = pc.replace_substring(values, plain.decode(), escape.decode())
    return values
