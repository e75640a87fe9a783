from __future__ import annotations

import math
import re
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import StoredFeature
from millrace_core.features.online import row, row_encoder
from millrace_core.features.online.row import Layout
from millrace_core.features.types.conform import ARROW

Case = tuple[Layout, list[tuple[int, int | None, tuple[Any, ...]]]]

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": INT64,
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "string": TEXT,
    "bytes": st.binary(max_size=5),
    "timestamp": INT64,
}
VALUES |= {f"array<{kind}>": st.lists(st.none() | element, max_size=9) for kind, element in VALUES.items()}
TIME = st.integers(-(2**62), 2**62)


def layout_of(kinds: list[str]) -> Layout:
    return Layout(
        bytes(range(1, 9)), tuple(StoredFeature(f"f{index}", kind, f"f{index}") for index, kind in enumerate(kinds))
    )  # type: ignore[arg-type]


@st.composite
def packed(draw: st.DrawFn) -> tuple[Layout, list[tuple[int, int | None, tuple[Any, ...]]]]:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=20))
    one = st.tuples(TIME, st.none() | TIME, st.tuples(*(st.none() | VALUES[kind] for kind in kinds)))
    return layout_of(kinds), draw(st.lists(one, min_size=1, max_size=5))


def bits(values: Any) -> Any:
    """Floats by their bits, so that NaN equals NaN and -0.0 differs from 0.0."""
    return [
        struct.pack("d", value) if isinstance(value, float) else bits(value) if isinstance(value, list) else value
        for value in values
    ]


@given(packed())
def test_a_row_comes_back_as_it_was(case: Case) -> None:
    layout, rows = case
    for event, created, values in rows:
        got = layout.decode(layout.encode(event, created, values))
        assert (got.event_time, got.created_time, bits(got.values)) == (event, created, bits(values))


@given(packed())
def test_rows_by_column_are_the_rows_one_by_one(case: Case) -> None:
    layout, rows = case
    columns = [
        pa.array(
            [values[index] for _, _, values in rows], pa.int64() if feature.type == "timestamp" else ARROW[feature.type]
        )
        for index, feature in enumerate(layout.features)
    ]
    columns = [column.cast(ARROW[f.type]) for column, f in zip(columns, layout.features, strict=True)]
    events = pa.array([event for event, _, _ in rows], pa.int64())
    created = pa.array([created for _, created, _ in rows], pa.int64())
    made = row_encoder.encode(layout, events, created, columns).to_pylist()
    assert made == [layout.encode(*each) for each in rows]
    if all(created is None for _, created, _ in rows):
        assert row_encoder.encode(layout, events, None, columns).to_pylist() == made


def golden(after: str = r"string \"z\"\)") -> bytes:
    assert row.__doc__
    found = re.search(rf"{after}::\n\n((?:    [0-9a-f ]+\n)+)", row.__doc__)
    assert found
    return bytes.fromhex(found[1].replace("\n", ""))


def test_the_golden_bytes_of_the_documentation_hold() -> None:
    kinds = ["bool", "int32", "float32", "float64", "string", "int64", "bytes", "timestamp", "string"]
    values = (True, -2, 1.5, math.nan, "é", None, b"", 3, "z")
    layout = layout_of(kinds)
    assert layout.encode(-1, None, values, 5) == golden()
    assert bits(layout.decode(golden()).values) == bits(values)


def test_the_golden_bytes_of_arrays_hold() -> None:
    layout = layout_of(["array<float32>", "array<string>", "array<int64>", "array<bool>"])
    values = ([1.5, None], ["é", None, ""], None, [])
    expected = golden(r"array<bool> \[\]\)")
    assert layout.encode(-1, None, values, 5) == expected
    assert layout.decode(expected).values == values


@given(TIME, st.none() | TIME, TIME, st.none() | TIME)
def test_rows_order_by_event_and_created_time_as_words_of_32_bits(
    event: int, created: int | None, other_event: int, other_created: int | None
) -> None:
    layout = layout_of(["bool"])
    words, other = (
        struct.unpack(">IIII", layout.encode(e, c, [True])[9:25])
        for e, c in ((event, created), (other_event, other_created))
    )
    low = -(2**63)
    times = (event, low if created is None else created)
    assert (words < other) == (times < (other_event, low if other_created is None else other_created))


def test_a_string_of_10_mb_comes_back_as_it_was() -> None:
    layout = layout_of(["string", "bytes"])
    values = ("é" * 5_000_000, b"\x00" * 10_000_000)
    assert layout.decode(layout.encode(0, 0, values)).values == values


@pytest.mark.parametrize("data", ["", "00", "00000002", "00000001 00", "00000001 00 00", "00000000 00"])
def test_bytes_that_are_no_array_are_reported(data: str) -> None:
    layout = layout_of(["array<string>"])
    part = bytes.fromhex(data)
    spoiled = layout.encode(0, None, [None])[: layout.fixed.size - 5] + b"\0" + struct.pack(">I", len(part)) + part
    with pytest.raises(ReportError, match="no whole row"):
        layout.decode(spoiled)


@pytest.mark.parametrize("kinds", [["int64"], ["string"], ["string", "bytes"]])
def test_bytes_that_are_no_whole_row_are_reported_never_misread(kinds: list[str]) -> None:
    layout = layout_of(kinds)
    whole = layout.encode(1, 2, [{"int64": 5, "string": "abc", "bytes": b"xyz"}[kind] for kind in kinds])
    for spoiled in (
        b"",
        whole[:-1],
        whole + b"x",
        b"\x04" + whole[1:],
        whole[:5] + b"\xff" + whole[6:],
        b"hello world",
    ):
        with pytest.raises(ReportError, match="no whole row"):
            layout.decode(spoiled)


def test_a_layout_comes_back_from_its_json() -> None:
    layout = layout_of(["string", "int32"])
    assert Layout.from_dict(layout.as_dict()) == layout
