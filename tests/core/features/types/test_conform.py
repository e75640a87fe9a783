from __future__ import annotations

import decimal
import uuid
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.types.conform import (
    MisfitError,
    conform,
    conform_key,
    counted_moments,
    microseconds,
    rounded,
)

UUID = uuid.UUID("2f1e8c3a-9b7d-4c5e-8f60-0123456789ab")


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), max_size=20), st.integers(0, 5))
def test_nanoseconds_are_rounded_down_before_and_after_1970(values: list[int | None], skipped: int) -> None:
    column = pa.array(values, pa.timestamp("ns", "Europe/Berlin")).slice(skipped)
    expected = [None if value is None else value // 1000 for value in values[skipped:]]
    assert microseconds(column, column="t").to_pylist() == expected


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pa.array([1, None], pa.uint8()), "int32", [1, None]),
        (pa.array([2**53, 2**53 + 2, -(2**62)]), "float64", [2.0**53, 2.0**53 + 2, -(2.0**62)]),
        (pa.array([2**64 - 2**11], pa.uint64()), "float64", [float(2**64 - 2**11)]),
        (pa.array([2**53 + 1]), "float32", [float(2**53)]),
        (pa.array([1.0, None, -3.0]), "int64", [1, None, -3]),
        (pa.array([2.0], pa.float32()), "int32", [2]),
        (pa.array([decimal.Decimal("7.00"), None]), "int64", [7, None]),
        (pa.array([decimal.Decimal(2**63 - 1)], pa.decimal128(20, 0)), "int64", [2**63 - 1]),
        (pa.array([decimal.Decimal("0.0042459")], pa.decimal128(18, 9)), "float64", [0.0042459]),
        (pa.array([UUID.bytes, None], pa.binary(16)).cast(pa.uuid()), "string", [str(UUID), None]),
        (pa.array([UUID.bytes], pa.binary(16)).cast(pa.uuid()), "bytes", [UUID.bytes]),
        (pa.array(['{"a": 1}', None]).cast(pa.json_(pa.string())), "string", ['{"a": 1}', None]),
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
        (pa.array(["1"]), "int64"),
        (pa.array([1]), "string"),
        (pa.array([1]), "bool"),
        (pa.array([1]), "timestamp"),
        (pa.array([1.5]), "timestamp"),
        (pa.array([True]), "int64"),
        (pa.array([decimal.Decimal("1.5")]), "string"),
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
    ("column", "kind", "row"),
    [
        (pa.array([1, 2**31, 2**40]), "int32", 1),
        (pa.array([None, 2**63], pa.uint64()), "int64", 1),
        (pa.array([b"a", b"\xff"]), "string", 1),
        (pa.array([2**62], pa.timestamp("s")), "timestamp", 0),
        (pa.array([1.0, 2.5]), "int64", 1),
        (pa.array([float("nan")]), "int64", 0),
        (pa.array([0.0, 2.0**53 + 2]), "int64", 1),
        (pa.array([2**53 + 1]), "float64", 0),
        (pa.array([2**64 - 1], pa.uint64()), "float64", 0),
        (pa.array([decimal.Decimal(2**53 + 1)]), "float64", 0),
        (pa.array([decimal.Decimal(2**53) + decimal.Decimal("0.5")]), "float64", 0),
        (pa.array([1.0, 1e39]), "float32", 1),
        (pa.array([decimal.Decimal("1.5")]), "int64", 0),
        (pa.array([decimal.Decimal(2**63)]), "int64", 0),
        (pa.array(["2026-01-01", "yesterday"]), "timestamp", 1),
        (pa.array(["2026-01-01", "", None]).dictionary_encode(), "timestamp", 1),
        (pa.array([[1], [2, 2**31]]), "array<int32>", 1),
    ],
)
def test_a_value_that_would_be_lost_is_refused_with_its_column_and_row(column: pa.Array, kind: Any, row: int) -> None:
    with pytest.raises(MisfitError, match=rf"column 'c' \(.*\) holds a value that is no {kind}: .") as refused:
        conform(column, kind, column="c")
    assert refused.value.row == row


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02 03:04", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901999Z", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("1969-12-31T23:59:59.9999999", datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05-0330", datetime(2026, 1, 2, 6, 34, 5, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_text_is_a_time_as_iso_8601_has_it(text: str, moment: datetime) -> None:
    read = conform(pa.array([None, text, "2000-01-01", "2000-01-01T00:00Z"]), "timestamp", column="t").to_pylist()
    assert read[1] == moment
    assert read[0] is None
    assert read[2] == read[3]


@given(
    st.lists(st.none() | st.decimals(-(10**20), 10**20, places=9, allow_nan=False), min_size=1, max_size=20),
    st.integers(0, 3),
)
def test_a_decimal_is_the_double_nearest_to_it(values: list[decimal.Decimal | None], skipped: int) -> None:
    below = [None if value is None or abs(value) >= 2**53 else value for value in values][skipped:]
    read = conform(pa.array(below, pa.decimal128(38, 9)), "float64", column="d").to_pylist()
    assert read == [None if value is None else float(value) for value in below]


@given(st.lists(st.none() | st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=8))
def test_what_is_read_as_another_number_can_be_had_back_from_it(values: list[int | None]) -> None:
    for kind in (pa.int64(), pa.uint64(), pa.decimal128(20, 0), pa.float64()):
        for declared in ("int32", "int64", "float64"):
            for value in values:
                try:
                    column = pa.array([None if value is None else _as(kind, value)], kind)
                except (pa.ArrowInvalid, OverflowError):
                    continue
                came = column[0].as_py()
                try:
                    (read,) = conform(column, declared, column="c").to_pylist()
                except MisfitError:
                    limit = {"int32": 2**31, "int64": 2**63, "float64": 2**53}[declared]
                    assert abs(came) >= limit - 1 or (kind == pa.float64() and abs(came) > 2**53)
                    continue
                assert read == came
                assert read is None or int(read) == int(came)


def _as(kind: pa.DataType, value: int) -> Any:
    return float(value) if kind == pa.float64() else decimal.Decimal(value) if pa.types.is_decimal(kind) else value


@given(st.sampled_from(["s", "ms", "us", "ns"]), st.integers(-(2**53), 2**53))
def test_numbers_that_count_a_unit_are_times_rounded_down(unit: Any, count: int) -> None:
    per = {"s": 1_000_000, "ms": 1_000, "us": 1}.get(unit)
    moment = count // 1_000 if per is None else count * per
    for column in (pa.array([count]), pa.array([float(count)]), pa.array([decimal.Decimal(count)])):
        if abs(moment) < 2**63:
            assert counted_moments(column, unit, column="t").cast(pa.int64()).to_pylist() == [moment]
        else:
            with pytest.raises(MisfitError):
                counted_moments(column, unit, column="t")


def test_decimal_seconds_keep_their_fraction_and_doubles_must_be_whole() -> None:
    column = pa.array([decimal.Decimal("1.2345678"), decimal.Decimal("-0.0000001")])
    assert counted_moments(column, "s", column="t").cast(pa.int64()).to_pylist() == [1_234_567, -1]
    with pytest.raises(MisfitError):
        counted_moments(pa.array([1.5]), "s", column="t")


@pytest.mark.parametrize(
    ("column", "declared", "line"),
    [
        (pa.array([1]), "string", 'columns: [{name: c, expression: "cast(c as varchar)"}]'),
        (pa.array([1]), "timestamp", 'columns: [{name: c, expression: "make_timestamp(c * 1000)"}]'),
        (pa.array([{"city": "Ulm"}]), "string", 'columns: [{name: c, expression: "cast(c.city as varchar)"}]'),
        (pa.array([1]), "bool", 'columns: [{name: c, expression: "c <> 0"}]'),
        (pa.array([2.5]), "int64", 'columns: [{name: c, expression: "try_cast(c as bigint)"}]'),
    ],
)
def test_the_line_to_write_is_said(column: pa.Array, declared: Any, line: str) -> None:
    with pytest.raises(RejectError) as refused:
        conform(column, declared, column="c", field="spec.features[0]")
    assert line in refused.value.hint


def test_an_aggregate_in_doubles_reads_the_double_nearest_to_an_integer() -> None:
    assert rounded(pa.array([2**53 + 1, None]), "float64", column="c").to_pylist() == [2.0**53, None]
