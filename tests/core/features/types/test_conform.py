from __future__ import annotations

import decimal
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.types.conform import conform, conform_key, microseconds


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), max_size=20), st.integers(0, 5))
def test_nanoseconds_are_rounded_down_before_and_after_1970(values: list[int | None], skipped: int) -> None:
    column = pa.array(values, pa.timestamp("ns", "Europe/Berlin")).slice(skipped)
    expected = [None if value is None else value // 1000 for value in values[skipped:]]
    assert microseconds(column, column="t").to_pylist() == expected


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pa.array([1, None], pa.uint8()), "int32", [1, None]),
        (pa.array([2**53 + 1]), "float64", [float(2**53)]),
        (pa.array([0.1]), "float32", [0.10000000149011612]),
        (pa.array([decimal.Decimal("0.10")]), "float64", [0.1]),
        (pa.array(["a", None]).cast(pa.string_view()).dictionary_encode(), "string", ["a", None]),
        (pa.array([b"a", None]), "string", ["a", None]),
        (pa.array(["é"], pa.large_string()), "bytes", ["é".encode()]),
        (pa.array([b"ab"], pa.binary(2)), "bytes", [b"ab"]),
        (pa.nulls(2), "timestamp", [None, None]),
        (pa.nulls(1), "bool", [None]),
        (pa.array([[0.1, None], None, []]), "array<float32>", [[0.10000000149011612, None], None, []]),
        (pa.array([[9], [1, 2], None]).slice(1), "array<int32>", [[1, 2], None]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), "array<float64>", [[1.0, 2.0], None]),
        (pa.array([["a"]], pa.large_list(pa.large_string())), "array<bytes>", [[b"a"]]),
        (pa.array([[None]]), "array<bool>", [[None]]),
        (pa.nulls(1), "array<timestamp>", [None]),
    ],
)
def test_fitting_types_are_read(column: pa.Array, kind: Any, expected: list[Any]) -> None:
    assert conform(column, kind, column="c").to_pylist() == expected


def test_keys_of_both_integer_types_become_one() -> None:
    assert conform_key(pa.array([1], pa.int16()), "int32", column="k").type == pa.int64()


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1.0]), "int64"),
        (pa.array(["1"]), "int64"),
        (pa.array([1]), "string"),
        (pa.array([1]), "bool"),
        (pa.array([1]), "timestamp"),
        (pa.array(["2026-01-01"]), "timestamp"),
        (pa.array([[1.0]]), "float64"),
        (pa.array([1.0]), "array<float64>"),
        (pa.array([["a"]]), "array<float64>"),
        (pa.array([[[1.0]]]), "array<float64>"),
        (pa.array([date(2026, 1, 1)]), "float64"),
    ],
)
def test_another_type_is_refused_with_the_name_of_the_column(column: pa.Array, kind: Any) -> None:
    with pytest.raises(RejectError, match=rf"^spec.x: column 'c' has the type .*, which cannot be read as {kind}"):
        conform(column, kind, column="c", field="spec.x")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([2**31]), "int32"),
        (pa.array([2**63], pa.uint64()), "int64"),
        (pa.array([b"\xff"]), "string"),
        (pa.array([2**62], pa.timestamp("s")), "timestamp"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_name_of_the_column(column: pa.Array, kind: Any) -> None:
    with pytest.raises(RejectError, match=rf"column 'c' \(.*\) holds a value that is no {kind}"):
        conform(column, kind, column="c")
