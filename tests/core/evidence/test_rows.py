"""Predictions as a table: columns, types, redaction."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.evidence.columns import PREDICTION, united, united_type
from millrace_core.evidence.record import FeatureValues, Origin, PredictionRecord, Redaction
from millrace_core.evidence.rows import table

ORIGIN = Origin("shop", "ranker", "ranker-v1", "0badcafe", "sha256:" + "0" * 64)


def record(identity: str = "a", **more: object) -> PredictionRecord:
    return PredictionRecord(identity, 1_700_000_000_000_000, 200, (0.001, 0.002, 0.003, 0.01), **more)  # type: ignore[arg-type]


def test_every_row_has_the_columns_of_all_predictions_and_what_the_request_took() -> None:
    made = table([record(rows=2, arm="v2", unit="u1", shadow=True, cached=True)], ORIGIN)
    assert made.schema.names == PREDICTION.names
    assert made.schema.types == PREDICTION.types
    first, second = made.to_pylist()
    assert (first["row"], second["row"]) == (0, 1)
    assert {**first, "row": 1} == second
    assert (first["queue_us"], first["join_us"], first["compute_us"], first["total_us"]) == (1000, 2000, 3000, 10_000)
    assert (first["arm"], first["experiment"], first["unit"], first["shadow"]) == ("v2", None, "u1", True)
    assert first["cached"] is True
    assert (first["service"], first["sample"]) == ("ranker", 1.0)


def test_scalars_are_scalars_and_arrays_are_lists() -> None:
    inputs = {
        "flat": np.arange(2, dtype=np.int64),
        "one": np.array([[1.5], [2.5]], np.float32),
        "vector": np.arange(6, dtype=np.float64).reshape(2, 3),
        "image": np.arange(8, dtype=np.uint8).reshape(2, 2, 2),
        "text": np.array([["a"], ["é"]], dtype=object),
        "bytes": np.array([b"\xff", b"a"], dtype=object),
        "half": np.array([0.5, 1.5], np.float16),
    }
    outputs = {"whole": np.array([7, 8, 9], dtype=np.int32), "scalar": np.array(3.0, np.float32)}
    made = table([record(rows=2, inputs=inputs, outputs=outputs)], ORIGIN)
    columns = {name: made.column(name).to_pylist() for name in made.column_names[len(PREDICTION) :]}
    assert columns == {
        "input.flat": [0, 1],
        "input.one": [1.5, 2.5],
        "input.vector": [[0, 1, 2], [3, 4, 5]],
        "input.image": [[[0, 1], [2, 3]], [[4, 5], [6, 7]]],
        "input.text": ["a", "é"],
        "input.bytes": [b"\xff", b"a"],
        "input.half": [0.5, 1.5],
        # No value per row: all of it stands in the first.
        "output.whole": [[7, 8, 9], None],
        "output.scalar": [3.0, None],
    }
    assert made.schema.field("input.one").type == pa.float32()


def test_features_stand_with_the_time_and_status_of_the_row_that_was_read() -> None:
    features = FeatureValues(
        {"user__visits": [3, None, None], "user__score": [0.5, "NaN", None], "user__tags": [["a"], [], None]},
        {"user": ["2026-11-30T07:00:00Z", "2026-11-30T07:00:00.000001Z", "1970-01-01T00:00:00Z"]},
        {"user": ["PRESENT", "NULL_VALUE", "NOT_FOUND"]},
    )
    made = table([record(rows=3, entities={"user_id": [1, 2, 3]}, features=features)], ORIGIN)
    assert made.column("entity.user_id").to_pylist() == [1, 2, 3]
    assert made.column("feature.user__visits").to_pylist() == [3, None, None]
    score = made.column("feature.user__score").to_pylist()
    assert (score[0], np.isnan(score[1]), score[2]) == (0.5, True, None)
    assert made.column("feature.user__tags").to_pylist() == [["a"], [], None]
    times = made.column("feature_time.user").to_pylist()
    assert [each and each.microsecond for each in times] == [0, 1, None]
    assert made.column("feature_status.user").to_pylist() == ["PRESENT", "PRESENT", "NOT_FOUND"]


def test_failures_stand_beside_what_worked() -> None:
    good = record("good", inputs={"x": np.ones((1, 2), np.float32)}, outputs={"y": np.zeros((1, 1), np.float32)})
    bad = PredictionRecord("bad", 1_700_000_000_000_000, 400, (0.0, 0.0, 0.0, 0.001))
    made = table([good, bad], ORIGIN).to_pylist()
    assert [(row["id"], row["status"], row["input.x"], row["output.y"]) for row in made] == [
        ("good", 200, [1, 1], 0.0),
        ("bad", 400, None, None),
    ]


def test_values_that_clients_mix_become_text_and_lose_nothing() -> None:
    made = table(
        [
            record("a", fields={"amount": [1]}),
            record("b", fields={"amount": ["two"]}),
            record("c", fields={"amount": [{"x": 2**70}]}),
        ],
        ORIGIN,
    )
    assert made.column("request.amount").to_pylist() == ["1", "two", '{"x": 1180591620717411303424}']


def test_redacted_columns_are_left_out_or_hashed_before_anything_is_written() -> None:
    origin = ORIGIN._replace(
        redact=(
            Redaction("entity.user", "hash"),
            Redaction("input.x", "drop"),
            Redaction("unit", "drop"),
            Redaction("request.absent", "drop"),
        )
    )
    made = table([record(unit="u", entities={"user": ["ann"]}, inputs={"x": np.ones((1, 1))})], origin)
    assert made.column("entity.user").to_pylist() == [hashlib.sha256(b"ann").hexdigest()]
    assert made.column("unit").to_pylist() == [None]
    assert "input.x" not in made.column_names


TYPES = st.sampled_from(
    [pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.binary()]
)


@given(TYPES, TYPES)
def test_the_united_type_does_not_depend_on_the_order(one: pa.DataType, other: pa.DataType) -> None:
    assert united_type(one, other) == united_type(other, one)
    assert united_type(one, united_type(one, other)) == united_type(one, other)


VALUES = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.none() | st.floats(allow_nan=False), min_size=1),
    st.lists(st.none() | st.text(), min_size=1),
    st.lists(st.none() | st.booleans(), min_size=1),
    st.lists(st.none() | st.lists(st.integers(-5, 5)), min_size=1),
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1), min_size=1, max_size=4))
def test_tables_of_any_columns_unite_row_by_row(parts: list[dict[str, list[object]]]) -> None:
    tables = []
    for part in parts:
        rows = min(map(len, part.values()))
        tables.append(pa.table({name: pa.array(values[:rows]) for name, values in part.items()}))
    whole = united(tables)
    assert whole.num_rows == sum(each.num_rows for each in tables)
    at = 0
    for each in tables:
        for name in whole.column_names:
            column = whole.column(name).slice(at, each.num_rows)
            nulls = each.column(name).null_count if name in each.column_names else each.num_rows
            assert column.null_count == nulls
        at += each.num_rows


@pytest.mark.parametrize("rows", [1, 3])
def test_many_requests_of_one_shape_are_one_table_in_their_order(rows: int) -> None:
    records = [record(str(n), rows=rows, inputs={"x": np.full((rows, 2), n, np.float32)}) for n in range(5)]
    made = table(records, ORIGIN)
    assert made.column("input.x").to_pylist() == [[float(n)] * 2 for n in range(5) for _ in range(rows)]
    assert made.column("id").to_pylist() == [str(n) for n in range(5) for _ in range(rows)]
