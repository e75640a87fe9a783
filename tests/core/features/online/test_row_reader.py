from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online.feature_columns import NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import RowReader
from tests.core.features.histories import view

KINDS = ["bool", "int32", "string", "float64", "bytes", "int64", "string", "timestamp", "float32", "array<float32>"]
SAMPLES: dict[str, Any] = {
    "bool": True,
    "int32": -5,
    "string": "é",
    "float64": 0.5,
    "bytes": b"\xff",
    "int64": 2**62,
    "timestamp": -1,
    "float32": 1.5,
    "array<float32>": [1.5, None],
}


def wide(ttl: str | None = None) -> Definition:
    return view(*((f"f{index}", kind) for index, kind in enumerate(KINDS)), ttl=ttl)


def one_by_one(definition: Definition, names: list[str], rows: list[bytes | None], as_of: int) -> list[list[Any]]:
    layout = Layout.of(definition)
    out = []
    for row in rows:
        if row is None:
            out.append([(None, NOT_FOUND)] * len(names))
            continue
        at, _, values = layout.decode(row)
        if at > as_of or (definition.ttl is not None and at < as_of - definition.ttl):
            out.append([(None, OUTSIDE_MAX_AGE)] * len(names))
            continue
        by_name = {f.name: value for f, value in zip(definition.features, values, strict=True)}
        out.append([(by_name[name], NULL_VALUE if by_name[name] is None else PRESENT) for name in names])
    return out


@given(st.integers(0, 2**32), st.sampled_from([None, "1ms"]), st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.3]))
def test_columns_agree_with_decoding_row_by_row(seed: int, ttl: str | None, missing: float, null: float) -> None:
    rng = random.Random(seed)
    definition = wide(ttl)
    layout = Layout.of(definition)
    names = rng.sample([f.name for f in definition.features], rng.randint(1, len(KINDS)))
    rows = [
        None
        if rng.random() < missing
        else layout.encode(
            rng.choice([0, -1000, 500, rng.choice([1, -1001])]) if ttl else 0,
            None,
            [None if rng.random() < null else SAMPLES[kind] for kind in KINDS],
        )
        for _ in range(rng.randint(1, 6))
    ]
    got = RowReader(definition, names).read(rows, 0)
    pairs = [list(zip(c.values, c.statuses, strict=True)) for c in got.features]
    assert [list(row) for row in zip(*pairs, strict=True)] == one_by_one(definition, names, rows, 0)
    assert list(got.event_times) == [None if row is None else layout.decode(row).event_time for row in rows]


def test_an_age_of_exactly_the_ttl_is_present_and_one_microsecond_more_is_not() -> None:
    definition = view(("x", "int64"), ttl="1ms")
    row = Layout.of(definition).encode(0, None, [7])
    reader = RowReader(definition, ["x"])
    assert [list(reader.read([row], at).features[0].statuses) for at in (-1, 0, 1000, 1001)] == [
        [OUTSIDE_MAX_AGE],
        [PRESENT],
        [PRESENT],
        [OUTSIDE_MAX_AGE],
    ]


def test_a_row_of_another_schema_is_read_by_that_schema() -> None:
    old = view(("kept", "int64"), ("dropped", "string"), ("retyped", "int32"), ("moved", "int64", "a"))
    new = view(("added", "int64"), ("retyped", "int64"), ("kept", "int64"), ("moved", "int64", "b"))
    rows = [Layout.of(old).encode(1, None, [1, "x", 2, 3]), Layout.of(new).encode(2, None, [4, 5, 6, 7]), None]
    reader = RowReader(new, ["added", "retyped", "kept", "moved"])
    known = reader.read(rows, 9, {old.schema_id: Layout.of(old)})
    assert [list(column.values) for column in known.features] == [
        [None, 4, None],
        [None, 5, None],
        [1, 6, None],
        [None, 7, None],
    ]
    assert list(known.features[0].statuses) == [NOT_FOUND, PRESENT, NOT_FOUND]
    assert list(known.event_times) == [1, 2, None]
    assert not known.unknown


def test_a_row_of_an_unknown_schema_is_reported_and_never_misread() -> None:
    old, new = view(("x", "int64")), view(("x", "timestamp"))
    got = RowReader(new, ["x"]).read([Layout.of(old).encode(1, None, [5])], 9)
    assert got.unknown == {old.schema_id}
    assert got.features == [([None], [NOT_FOUND])]


def test_bytes_that_are_no_row_are_reported() -> None:
    with pytest.raises(ReportError, match="no whole row"):
        RowReader(view(("x", "int64")), ["x"]).read([b"something else"], 9)


@pytest.mark.parametrize("as_of", range(8))
def test_of_several_rows_the_newest_is_read_that_is_not_later(as_of: int) -> None:
    definition = view(("x", "int64"))
    layout = Layout.of(definition)
    rows = [layout.encode(at, None, [at]) for at in (6, 4, 1)]
    value = b"\x03" + b"".join(len(row).to_bytes(4, "big") + row for row in rows)
    read = RowReader(definition, ["x"]).read([value, rows[2], None], as_of).features[0]
    seen = max([at for at in (6, 4, 1) if at <= as_of], default=None)
    assert (read.values[0], read.statuses[0]) == (seen, "PRESENT" if seen else "OUTSIDE_MAX_AGE")
    assert read.statuses[2] == "NOT_FOUND"


def test_a_row_from_before_rows_had_stamps_is_read() -> None:
    definition = view(("x", "int64"), ("s", "string"))
    layout = Layout.of(definition)
    row = layout.encode(5, 4, [7, "seven"])
    before = b"\x01" + row[1:25] + row[29:]
    read = RowReader(definition, ["x", "s"]).read([before, row], 9)
    assert [list(column.values) for column in read.features] == [[7, 7], ["seven", "seven"]]


@pytest.mark.parametrize("value", [b"\x03", b"\x03\0\0\0\x1e\x02", b"\x01abc", b"\x03\0\0\0\0"])
def test_bytes_that_are_no_rows_are_reported(value: bytes) -> None:
    with pytest.raises(ReportError, match="no whole row"):
        RowReader(view(("x", "int64")), ["x"]).read([value], 9)
