"""Rows to write, from plain Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import Rows
from millrace_core.features.online import keys
from millrace_core.features.online.row import Layout, Row
from millrace_core.features.types.conform import ARROW, KEY_ARROW
from millrace_data.online.store import Store
from millrace_data.online.writer import RowWriter, Written


def rows_of(definition: Definition, given: Sequence[tuple[Any, int, int | None, tuple[Any, ...]]]) -> Rows:
    """Rows of one join key as (key, event time, created time, values)."""
    created = pa.array([created for _, _, created, _ in given], pa.int64())
    return Rows(
        [pa.array([key for key, *_ in given], KEY_ARROW[definition.join_keys[0].type])],
        pa.array([event for _, event, _, _ in given], pa.int64()),
        created if definition.created_field else None,
        [
            pa.array([values[index] for *_, values in given], ARROW[feature.type])
            for index, feature in enumerate(definition.features)
        ],
    )


# After all times that there are: nothing is later than now.
END = 2**63 - 1


def write(store: Store, definition: Definition, *batches: Rows, now: int = END, **more: Any) -> Written:
    with RowWriter(store, definition, 1.0, now=lambda: now, **more).running() as writer:
        for batch in batches:
            writer.write(batch)
    return writer.written


def read(store: Store, definition: Definition, key: Any) -> Row | None:
    (name,) = keys.store_keys(definition, {definition.join_keys[0].name: [key]})
    found: Any = store.client.get(name or b"")
    return None if found is None else Layout.of(definition).decode(found)
