"""The content id: the same for the same values, whatever holds them; another one for anything else."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.types.content_id import content_id

COLUMNS: dict[str, pa.Array] = {
    "int": pa.array([1, None, 3]),
    "bool": pa.array([True, None, False]),
    "string": pa.array(["x", None, ""]),
    "bytes": pa.array([b"\0", None, b""]),
    "float": pa.array([float("nan"), None, -0.0], pa.float32()),
    "time": pa.array([datetime(2026, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
    "date": pa.array([date(2026, 1, 1), None, None]),
    "decimal": pa.array([Decimal("1.20"), None, None]),
    "embedding": pa.array([[1.0, 2.0], None, []], pa.list_(pa.float32())),
    "texts": pa.array([["a"], None, ["b", None]]),
    "struct": pa.array([{"x": 1, "y": "k"}, None, {"x": None, "y": "z"}]),
    "dictionary": pa.array(["a", "b", None]).dictionary_encode(),
    "nothing": pa.nulls(3),
}
TABLE = pa.table(COLUMNS)


def test_the_id_is_written_down() -> None:
    table = pa.table({"user_id": [1, 2], "amount": [1.5, None], "name": ["a", None]})
    assert content_id(table) == "sha256:f54898e4ece9905a3be5697cc426c21c0388e8d1865816c8244e8f95cd1b7782"


@pytest.mark.parametrize("name", COLUMNS)
def test_chunks_offsets_and_parquet_do_not_change_it(name: str) -> None:
    table = TABLE.select([name])
    wanted = content_id(table)
    assert content_id(pa.concat_tables([table.slice(0, 1), table.slice(1, 2)])) == wanted
    assert content_id(pa.concat_tables([table, table]).slice(3)) == wanted
    file = io.BytesIO()
    pq.write_table(table, file)
    assert content_id(pq.read_table(file)) == wanted


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"a": [1, 2]}),
        pa.table({"b": [1, 2, None]}),
        pa.table({"a": [1, 2, 0]}),
        pa.table({"a": [1.0, 2.0, None]}),
        pa.table({"a": [2, 1, None]}),
    ],
)
def test_another_row_name_null_type_or_order_changes_it(other: pa.Table) -> None:
    assert content_id(other) != content_id(pa.table({"a": [1, 2, None]}))


texts = st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=4)


@given(texts, texts)
def test_no_two_columns_of_text_share_an_id(left: list[Any], right: list[Any]) -> None:
    same = content_id(pa.table({"a": pa.array(left, pa.string())})) == content_id(
        pa.table({"a": pa.array(right, pa.large_string())})
    )
    assert same == (left == right)


def test_a_type_without_canonical_content_is_named() -> None:
    with pytest.raises(RejectError, match="'m' has the type map"):
        content_id(pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}))
