"""Frames, rows and references as people bring them: of pandas, Polars and Arrow alike, or refused by name."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.sdk import frames
from millrace_core.base.errors import RejectError
from tests.examples import examples

REFS = ["stats:amount", "stats:visits"]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = {"user_id": "int64", "at": "timestamp"}


@pytest.mark.parametrize(
    "given",
    [
        tuple(REFS),
        (ref for ref in REFS),
        map(str, REFS),
        dict.fromkeys(REFS).keys(),
        pd.Index(REFS),
        pd.Series(REFS),
        pl.Series(REFS),
        np.array(REFS),
        pa.array(REFS),
        pa.chunked_array([REFS]),
    ],
    ids=lambda given: f"{type(given).__module__}.{type(given).__name__}",
)
def test_references_come_in_any_iterable(given: Any) -> None:
    found = frames.references(given)
    assert found == tuple(REFS)
    assert {type(ref) for ref in found} == {str}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("stats:amount", "a list of references is expected"),
        (b"stats:amount", "a list of references is expected"),
        ({"stats": "amount"}, "a list of references is expected"),
        (None, "None came"),
        (5, "5 came"),
        (np.array("stats:amount"), "ndarray came"),
        (pd.DataFrame({"a": REFS}), "DataFrame came"),
        ([], "no feature is asked for"),
        (iter(()), "no feature is asked for"),
        (["stats:amount", 5], "5 came"),
        ([["stats:amount"]], "a text such as view:feature is expected"),
    ],
)
def test_what_holds_no_references_is_refused_by_name(given: Any, said: str) -> None:
    with pytest.raises(RejectError, match="features") as caught:
        frames.references(given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "column"),
    [
        (pd.DataFrame({"user_id": [1, 2], "x": [1, "a"]}), "x"),
        (pd.DataFrame({"user_id": [1, 2], "x": [1j, 2j]}), "x"),
        (pd.DataFrame({"user_id": [1, 2], "x": [object(), None]}), "x"),
        (pd.DataFrame({"user_id": [1, 2], "x": [{"a": 1}, [1]]}), "x"),
        (pd.DataFrame({"user_id": [2**70, 1]}), "user_id"),
        (pl.DataFrame({"user_id": [1], "x": pl.Series([object()], dtype=pl.Object)}), "x"),
        ({"user_id": [1, 2], "x": [1, "a"]}, "x"),
        ({"user_id": [1, 2], "x": [1j, 2]}, "x"),
        ({"user_id": [1], "x": 5}, "x"),
        ({"user_id": [1], "x": "a"}, "x"),
        ({"user_id": np.array([1]), "x": np.array([1j])}, "x"),
    ],
)
def test_a_column_that_cannot_be_read_is_named_with_what_to_do(frame: Any, column: str) -> None:
    with pytest.raises(RejectError) as caught:
        frames.arrow_table(frame, "entity_df")
    assert caught.value.field == f"entity_df.{column}"
    if type(frame).__module__.startswith("pandas"):
        assert f'df[{column!r}].astype("string")' in caught.value.hint


@pytest.mark.parametrize("frame", [pa.table([[1], [2]], names=["a", "a"]), pd.DataFrame([[1, 2]], columns=["a", "a"])])
def test_two_columns_of_one_name_are_refused(frame: Any) -> None:
    with pytest.raises(RejectError, match="2 columns are called 'a'"):
        frames.arrow_table(frame, "entity_df")


def test_columns_of_different_lengths_are_counted() -> None:
    with pytest.raises(RejectError, match="a has 1, b has 2"):
        frames.arrow_table({"a": [1], "b": [1, 2]}, "df")


def test_a_sparse_column_is_read_as_its_values() -> None:
    frame = pd.DataFrame({"user_id": pd.arrays.SparseArray([0, 0, 7]), "x": ["a", "b", "c"]})
    assert frames.arrow_table(frame, "df").to_pydict() == {"user_id": [0, 0, 7], "x": ["a", "b", "c"]}
    assert str(frame.dtypes["user_id"]).startswith("Sparse")


@pytest.mark.parametrize("given", [5, None, [1], pd.Series([1]), pl.Series([1]), pa.array([1]), object()])
def test_what_is_no_frame_is_refused(given: Any) -> None:
    with pytest.raises(RejectError, match="is expected"):
        frames.arrow_table(given, "df")


def test_a_lazy_frame_that_cannot_be_collected_is_no_traceback() -> None:
    with pytest.raises(RejectError, match="cannot be collected"):
        frames.arrow_table(pl.LazyFrame({"a": [1]}).select("b"), "df")


def told(data: Any) -> str:
    with pytest.raises(RejectError) as caught:
        frames.require(data, frames.arrow_table(data, "entity_df"), KEYS, "entity_df")
    return str(caught.value)


def test_hints_are_in_the_words_of_the_callers_library() -> None:
    floats = {"user_id": [1.0, None], "at": [NOON, NOON]}
    assert "Pass df.astype({'user_id': \"Int64\"})" in told(pd.DataFrame(floats))
    assert "Pass df.with_columns(pl.col('user_id').cast(pl.Int64))" in told(pl.DataFrame(floats))
    assert "Cast column 'user_id' to int64" in told(pa.table(floats))
    assert "it is the frame's index. Pass df.reset_index()" in told(
        pd.DataFrame({"user_id": [1], "at": [NOON]}).set_index("user_id")
    )
    assert "The frame has: user_id" in told(pa.table({"user_id": [1]}))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"user_id": [], "at": []}),
        pd.DataFrame({"user_id": [np.nan], "at": [pd.NaT]}),
        pd.DataFrame({"user_id": [None], "at": [None]}),
        pl.DataFrame({"user_id": [], "at": []}),
        pa.table({"user_id": pa.array([], pa.string()), "at": pa.array([], pa.string())}),
        {"user_id": [], "at": []},
    ],
)
def test_a_column_of_nothing_is_of_any_type(frame: Any) -> None:
    frames.require(frame, frames.arrow_table(frame, "entity_df"), KEYS, "entity_df")


ROWS = [{"user_id": 1, "name": "a"}, {"user_id": None, "name": "b"}]


@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        iter(ROWS),
        {"user_id": [1, None], "name": ["a", "b"]},
        {"user_id": pd.array([1, pd.NA], "Int64"), "name": np.array(["a", "b"])},
        {"user_id": pa.array([1, None]), "name": ("a", "b")},
        {"user_id": [1, np.nan], "name": pl.Series(["a", "b"])},
        pd.DataFrame(ROWS).astype({"user_id": "Int64"}),
        pl.DataFrame(ROWS),
        pl.LazyFrame(ROWS),
        pa.Table.from_pylist(ROWS),
        pa.RecordBatch.from_pylist(ROWS),
    ],
)
def test_rows_come_as_a_list_a_frame_or_columns(given: Any) -> None:
    found = [{name: frames.key(value) for name, value in row.items()} for row in frames.rows(given, {}, "entity_rows")]
    assert found == ROWS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"user_id": 1}, "Pass [{'user_id': 1}]"),
        ("user_id", "a list of rows or a frame is expected"),
        (5, "a list of rows or a frame is expected"),
        (None, "a list of rows or a frame is expected"),
        ([1], "entity_rows[0]: 1 came, an object is expected"),
    ],
)
def test_what_holds_no_rows_is_refused(given: Any, said: str) -> None:
    with pytest.raises(RejectError) as caught:
        frames.rows(given, {}, "entity_rows")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "nothing", [None, math.nan, np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), pa.scalar(None)]
)
def test_nothing_is_none_as_a_key(nothing: Any) -> None:
    assert frames.key(nothing) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(5), 5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (pa.scalar(5), 5),
        (np.datetime64("2026-01-01T12:00:00", "ns"), NOON.replace(tzinfo=None)),
        ("a", "a"),
        (b"a", b"a"),
    ],
)
def test_scalars_are_those_of_python(value: Any, expected: Any) -> None:
    found = frames.key(value)
    assert found == expected
    assert type(found) is type(expected)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.complex_numbers()
    | st.datetimes()
    | st.decimals()
    | st.just(pd.NA)
    | st.just(object()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
columns = st.integers(0, 3).flatmap(
    lambda size: st.dictionaries(
        st.sampled_from(["user_id", "at", "x"]), st.lists(anything, min_size=size, max_size=size)
    )
)


@settings(max_examples=examples(7))
@given(columns, st.sampled_from(["python", "pandas"]))
def test_any_values_are_a_table_or_refused_by_a_named_error(values: dict[str, list[Any]], library: str) -> None:
    made = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in values.items()})
    try:
        table = frames.arrow_table(made if library == "pandas" else values, "df")
    except RejectError as error:
        refused = error.field
    else:
        refused = ""
        assert table.column_names == list(values)
    assert not refused or refused.removeprefix("df.") in values
