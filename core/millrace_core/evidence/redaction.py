"""What of a record is not to be kept: columns that are left out, or whose values are hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from millrace_core.evidence.record import Redaction


def redacted(table: pa.Table, rules: Sequence[Redaction]) -> pa.Table:
    """The table without the columns that are dropped (``unit`` stays, null), and with hashes in those that are hashed.

    A hash is the SHA-256 of the value in hex: of text and bytes as they are, of other values as JSON has them. Equal
    values stay equal, and whoever can guess a value can check it. Null stays null.
    """
    for column, how in rules:
        if column not in table.column_names:
            continue
        at = table.column_names.index(column)
        if how == "hash":
            values = [_hash(value) for value in table.column(at).to_pylist()]
            table = table.set_column(at, column, pa.array(values, pa.string()))
        elif column == "unit":
            table = table.set_column(at, column, pa.nulls(table.num_rows, pa.string()))
        else:
            table = table.remove_column(at)
    return table


def _hash(value: Any) -> str | None:
    if value is None:
        return None
    content = value if isinstance(value, bytes) else value if isinstance(value, str) else json.dumps(value, default=str)
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()
