"""Readers and writers of several versions of a view at once: what is read is what was written, or NOT_FOUND."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.features.online import keys
from millrace_core.features.online.feature_columns import NOT_FOUND, NULL_VALUE, PRESENT
from millrace_core.features.online.row_reader import RowReader
from millrace_data.online.store import Store
from tests.core.features.histories import view
from tests.data.online.rows import rows_of, write

VERSIONS = [
    view(("x", "int64"), ("s", "string")),
    view(("x", "float64"), ("s", "string"), ("y", "int64")),  # x retyped, y added
    view(("s", "string"), ("y", "int64", "x")),  # x dropped, y read from another column
    view(("y", "int64"), ("s", "string"), ("x", "int64")),  # x as it was, in another order
]
VALUES = {
    "int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "float64": st.none() | st.floats(allow_nan=False),
    "string": st.none() | st.text(max_size=5),
}


@st.composite
def writes(draw: Any) -> tuple[int, int, int, tuple[Any, ...]]:
    """A version, a key, an event time, and values of the version."""
    version = draw(st.integers(0, len(VERSIONS) - 1))
    values = tuple(draw(VALUES[feature.type]) for feature in VERSIONS[version].features)
    return version, draw(st.integers(0, 2)), draw(st.integers(0, 3)), values


@given(done=st.lists(writes(), max_size=10))
def test_versions_that_run_together_never_misread_each_other(server: Any, done: list[Any]) -> None:
    store = Store(f"redis://127.0.0.1:{server.port}/0")
    store.client.flushall()
    newest: dict[int, tuple[int, int, tuple[Any, ...]]] = {}
    for version, key, event, values in done:
        definition = VERSIONS[version]
        store.announce(definition)
        write(store, definition, rows_of(definition, [(key, event, None, values)]))
        # Newer says something among rows of one version only.
        if key not in newest or version != newest[key][0] or event >= newest[key][1]:
            newest[key] = version, event, values
        for reading in VERSIONS:
            expect(store, reading, newest)


def expect(store: Store, reading: Any, newest: dict[int, tuple[int, int, tuple[Any, ...]]]) -> None:
    entities = [0, 1, 2]
    rows = store.rows([key or b"" for key in keys.store_keys(reading, {"id": entities})])
    names = [feature.name for feature in reading.features]
    columns = RowReader(reading, names).read(rows, 100, store.layouts("default", "v"))
    assert not columns.unknown
    for feature, column in zip(reading.stored, columns.features, strict=True):
        for entity, value, status in zip(entities, column.values, column.statuses, strict=True):
            version, _, values = newest.get(entity, (0, 0, None))
            written = {} if values is None else dict(zip(VERSIONS[version].stored, values, strict=True))
            if feature not in written:
                assert (value, status) == (None, NOT_FOUND)
            elif written[feature] is None:
                assert (value, status) == (None, NULL_VALUE)
            else:
                assert (repr(value), status) == (repr(written[feature]), PRESENT)
