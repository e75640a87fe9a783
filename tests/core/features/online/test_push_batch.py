"""Pushed rows, checked: what fits lands unchanged, what does not is named."""

from __future__ import annotations

import math
from base64 import b64encode
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.online import push_batch
from millrace_core.features.online.push_batch import PushClock
from tests.core.features.histories import times, view

ALL = view(
    *[(kind, kind) for kind in ("bool", "int32", "int64", "float32", "float64", "string", "bytes", "timestamp")],
    keys=(("id", "string"),),
    created="written",
)
GOOD: dict[str, Any] = {
    "id": "a",
    "at": "1969-12-31T23:59:59.999999Z",
    "written": "2026-01-01 00:00:00",
    "bool": True,
    "int32": -(2**31),
    "int64": 2**63 - 1,
    "float32": "NaN",
    "float64": "-Infinity",
    "string": "",
    "bytes": b64encode(b"\x00\xff").decode(),
    "timestamp": "1901-01-01T00:00:00+01:00",
}

# After all times of the rows here.
CLOCK = PushClock(2**60)


def columns(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_values_of_every_type_are_taken_unchanged() -> None:
    found = push_batch.from_json(ALL, columns(GOOD), CLOCK)
    assert not found.rejected
    rows = push_batch.rows(ALL, found.table)
    assert rows.event_times.to_pylist() == [-1]
    [values] = zip(*(column.to_pylist() for column in rows.features), strict=True)
    assert values[:3] == (True, -(2**31), 2**63 - 1)
    assert math.isnan(values[3])
    assert values[4:7] == (-math.inf, "", b"\x00\xff")
    assert rows.features[7].cast(pa.int64()).to_pylist() == [-2_177_456_400_000_000]


BAD = [
    ("id", None, "names no entity"),
    ("id", 1, "string is expected"),
    ("at", None, "needs its event time"),
    ("at", 1700000000, "a time as text in RFC 3339"),
    ("at", "yesterday", "a time as text in RFC 3339"),
    ("bool", 1, "bool is expected"),
    ("int32", 2**31, "int32 is expected"),
    ("int64", 2**63, "int64 is expected"),
    ("int64", 1.0, "int64 is expected"),
    ("int64", True, "int64 is expected"),
    ("float32", "nan", "float32 is expected"),
    ("float64", True, "float64 is expected"),
    ("string", [], "string is expected"),
    ("bytes", "no base64!", "base64 is expected"),
]


@pytest.mark.parametrize(("name", "value", "why"), BAD)
def test_a_row_that_does_not_fit_is_named_and_the_others_stay(name: str, value: Any, why: str) -> None:
    found = push_batch.from_json(ALL, columns(GOOD, {**GOOD, name: value}, {**GOOD, "id": "b"}), CLOCK)
    assert [(each.row, each.column) for each in found.rejected] == [(1, name)]
    assert why in found.rejected[0].reason
    assert found.table.column("id").to_pylist() == ["a", "b"]


def test_a_null_is_a_value_and_a_missing_created_time_is_null() -> None:
    nulls = {**GOOD, **{feature.name: None for feature in ALL.features}}
    del nulls["written"]
    rows = push_batch.rows(ALL, push_batch.from_json(ALL, columns(nulls), CLOCK).table)
    assert rows.created_times is not None
    assert rows.created_times.to_pylist() == [None]
    assert [column.null_count for column in rows.features] == [1] * len(ALL.features)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"int64": None}, r"df.int64: the column 'int64' is missing"), ({"int64": [1, 2]}, "differ in length")],
)
def test_a_batch_that_lacks_a_column_is_refused(change: dict[str, Any], why: str) -> None:
    given_columns = {**columns(GOOD), **change}
    with pytest.raises(RejectError, match=why):
        push_batch.from_json(ALL, {name: column for name, column in given_columns.items() if column is not None}, CLOCK)


def test_a_table_is_taken_like_a_source() -> None:
    definition = view(("x", "int32"), ("y", "float32"))
    table = pa.table(
        {
            "id": pa.array([1, None, 3, 4], pa.int32()),
            "at": pa.array([1, 2, None, 4], pa.timestamp("ns")),
            "x": [1, 2, 3, 2**40],
            "y": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
        }
    )
    with pytest.raises(RejectError, match=r"df.y: column 'y' has the type"):
        push_batch.from_arrow(definition, table, CLOCK)
    found = push_batch.from_arrow(definition, table.set_column(3, "y", pa.array([1, 2, 3, 4])), CLOCK)
    assert [(each.row, each.column) for each in found.rejected] == [(1, "id"), (2, "at"), (3, "x")]
    assert found.table.num_rows == 1
    assert found.table.schema.field("x").type == pa.int32()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.none() | st.integers(-1, 1)), max_size=12),
    st.integers(-3, 3),
)
def test_of_one_entity_the_newest_row_and_all_that_are_later_than_now_are_written(
    rows: list[tuple[int, int, int | None]], now: int
) -> None:
    definition = view(("x", "int64"), created="written")
    time = pa.timestamp("us", "UTC")
    table = pa.table(
        {
            "id": pa.array([key for key, *_ in rows], pa.int64()),
            "at": pa.array([event for _, event, _ in rows], pa.int64()).cast(time),
            "written": pa.array([created for *_, created in rows], pa.int64()).cast(time),
            "x": pa.array(range(len(rows)), pa.int64()),
        }
    )
    read: set[int] = set()
    for key in range(4):
        for moment in range(now, 4):
            seen = [
                (event, -9 if created is None else created, index)
                for index, (own, event, created) in enumerate(rows)
                if own == key and event <= moment
            ]
            read |= {max(seen)[-1]} if seen else set()
    found = push_batch.newest(definition, table, now)
    assert sorted(index for each in found for index in each.column("x").to_pylist()) == sorted(read)
    assert all(len(set(each.column("id").to_pylist())) == each.num_rows for each in found)


@pytest.mark.parametrize("later", [0, 1])
def test_a_row_later_than_the_tolerance_allows_is_refused_and_the_answer_names_it(later: int) -> None:
    definition = view(("x", "int64"))
    clock = PushClock(0, 300_000_000, "a setting")
    at = {"id": [1, 2], "at": ["1970-01-01T00:00:00Z", f"1970-01-01T00:05:00.00000{later}Z"], "x": [1, 2]}
    found = push_batch.from_json(definition, at, clock)
    assert found.table.column("id").to_pylist() == ([1, 2] if not later else [1])
    assert [each.reason for each in found.rejected] == later * [
        "1970-01-01T00:05:00.000001Z is later than now, 1970-01-01T00:00:00Z, by more than the tolerance of 300 s "
        "(a setting)"
    ]


def test_a_batch_that_is_bad_throughout_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_batch, "MOST_REJECTED", 5)
    definition = view(("x", "int32"))
    bad = {"id": [1] * 10, "at": ["2026-01-01"] * 10, "x": ["a"] * 10}
    with pytest.raises(RejectError, match=r"df.x: more than 5 rows do not fit, .*int32 is expected"):
        push_batch.from_json(definition, bad, CLOCK)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["strng"], "has no column 'strng'. Did you mean 'string' for 'strng'?"),
        (["x", "int46"], "has no columns 'x', 'int46'. Did you mean 'int64' for 'int46'?"),
        (["zzz"], "has no column 'zzz'. Leave them out. Its columns are: "),
    ],
)
def test_columns_that_the_view_does_not_have_are_refused_and_never_lost(names: list[str], words: str) -> None:
    more = columns(GOOD) | {name: [1] for name in names}
    table = pa.table({"id": ["a"], "at": times([0]), "n": [1]} | {name: [1] for name in names})
    small = view(("n", "int64"), keys=(("id", "string"),))
    for read in (
        lambda: push_batch.from_json(ALL, more, CLOCK),
        lambda: push_batch.from_arrow(small, table, CLOCK),
    ):
        with pytest.raises(RejectError) as refused:
            read()
        assert refused.value.field == f"df.{names[0]}"
    with pytest.raises(RejectError) as refused:
        push_batch.from_json(ALL, more, CLOCK)
    assert words in str(refused.value)


def test_a_number_as_a_time_is_told_the_forms_there_are() -> None:
    found = push_batch.from_json(ALL, columns(GOOD | {"at": 1_795_604_382}), CLOCK)
    [bad] = found.rejected
    assert 'text in RFC 3339, such as "2026-01-31T12:00:00Z"' in bad.reason


@pytest.mark.parametrize("count", [1, 5000])
def test_what_is_refused_of_a_batch_is_told_shortly_however_long_its_names_are(count: int) -> None:
    given_columns = {f"{'x' * 4000}{index}": ["a"] for index in range(count)}
    with pytest.raises(RejectError) as refused:
        push_batch.refuse_unknown(ALL, given_columns)
    assert len(str(refused.value)) < 3500
    with pytest.raises(RejectError) as refused:
        push_batch.from_json(ALL, given_columns, CLOCK)
    assert len(str(refused.value)) < 3500
