from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError, ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import key_columns, keys
from millrace_core.features.types import times
from millrace_core.features.types.conform import KEY_ARROW
from tests.core.features.histories import view

Case = tuple[Definition, list[tuple[Any, ...]]]

INT64 = st.integers(-(2**63), 2**63 - 1)
# Characters that the canonical form is made of, so that anything which could collide is tried.
TEXT = st.text(st.sampled_from("\\|{}pocé0\x00") | st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": INT64,
    "bool": st.booleans(),
    "string": TEXT,
    "bytes": st.binary(max_size=6) | TEXT.map(str.encode),
    "timestamp": st.integers(-62_135_000_000_000_000, 253_402_000_000_000_000).map(times.moment),
}


def keyed(kinds: tuple[str, ...]) -> Definition:
    return view(("x", "int64"), keys=[(f"k{index}", kind) for index, kind in enumerate(kinds)])


@st.composite
def entities(draw: st.DrawFn) -> tuple[Definition, list[tuple[Any, ...]]]:
    kinds = tuple(draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3)))
    row = st.tuples(*(st.none() | VALUES[kind] for kind in kinds))
    return keyed(kinds), draw(st.lists(row, min_size=2, max_size=8))


def columns(definition: Definition, rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {key.name: [row[index] for row in rows] for index, key in enumerate(definition.join_keys)}


@given(entities())
def test_different_entities_have_different_keys_and_null_has_none(case: Case) -> None:
    definition, rows = case
    made = keys.store_keys(definition, columns(definition, rows))
    whole = {row: key for row, key in zip(rows, made, strict=True) if None not in row}
    assert [key is None for key in made] == [None in row for row in rows]
    assert len(set(whole.values())) == len(whole)


@given(entities())
def test_keys_by_column_are_the_keys_one_by_one(case: Case) -> None:
    definition, rows = case
    by_row = columns(definition, rows)
    by_column = {key.name: pa.array(by_row[key.name], KEY_ARROW[key.type]) for key in definition.join_keys}
    assert key_columns.store_keys(definition, by_column).to_pylist() == keys.store_keys(definition, by_row)


@given(TEXT)
def test_the_hash_tag_of_a_cluster_is_the_whole_entity(text: str) -> None:
    (key,) = keys.store_keys(keyed(("string",)), {"k0": [text]})
    assert key is not None
    assert key.count(b"{") == key.count(b"}") == 1
    assert key.endswith(b"}")


def test_a_key_is_readable_and_looks_as_it_is_documented() -> None:
    assert keys.store_keys(keyed(("int64",)), {"k0": [1001, -1]}) == [b"default:v:{1001}", b"default:v:{-1}"]
    moment = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    row = {"k0": [True], "k1": ["a|{b}\\"], "k2": [moment]}
    assert keys.store_keys(keyed(("bool", "string", "timestamp")), row) == [rb"default:v:{true|a\p\ob\c\\|-1}"]
    assert keys.meta("default", "v") == b"default:v:meta"


def test_integers_are_one_entity_whatever_their_width() -> None:
    narrow, wide = pa.array([1001], pa.int32()), pa.array([1001], pa.int64())
    for kind in ("int32", "int64"):
        made = [key_columns.store_keys(keyed((kind,)), {"k0": column})[0].as_py() for column in (narrow, wide)]
        assert {*made, *keys.store_keys(keyed((kind,)), {"k0": [1001]})} == {b"default:v:{1001}"}


def test_times_may_come_as_text() -> None:
    (key,) = keys.store_keys(keyed(("timestamp",)), {"k0": ["1970-01-01T01:00:00.000001+01:00"]})
    assert key == b"default:v:{1}"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int64", "1001"),
        ("int64", 1.0),
        ("int64", True),
        ("int64", 2**63),
        ("int32", 2**31),
        ("bool", 1),
        ("string", 5),
        ("string", "\ud800"),
        ("timestamp", 5),
        ("timestamp", "noon"),
        ("bytes", "text"),
        ("int64", [1]),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(kind: str, value: Any) -> None:
    good = {"int64": 1, "int32": 1, "bool": True, "string": "a", "timestamp": "1970-01-01", "bytes": b""}[kind]
    with pytest.raises(RejectError, match=r"^entities.k0\[1\]: .* (expected|is no time)"):
        keys.store_keys(keyed((kind,)), {"k0": [good, value]})


def test_a_missing_join_key_is_named() -> None:
    with pytest.raises(RejectError, match=r"entities.k1: join key 'k1' of feature view 'v' is missing"):
        keys.store_keys(keyed(("int64", "int64")), {"k0": [1]})


@given(entities())
def test_a_key_gives_back_the_entity_that_it_was_made_of(case: Case) -> None:
    definition, rows = case
    for row, key in zip(rows, keys.store_keys(definition, columns(definition, rows)), strict=True):
        if key is not None:
            plain = [times.microseconds(value) if isinstance(value, datetime) else value for value in row]
            assert list(keys.entity(definition, key).values()) == plain


@pytest.mark.parametrize("key", [b"default:v:{}x", b"default:w:{1}", b"default:v:{1|2}", b"default:v:{x}", b""])
def test_what_is_no_key_of_the_view_is_said_to_be_none(key: bytes) -> None:
    with pytest.raises(ReportError, match="that is no row of feature view 'v'"):
        keys.entity(keyed(("int64",)), key)
