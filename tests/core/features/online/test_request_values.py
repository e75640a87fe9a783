"""Columns of request values are checked as their values are one by one, however many come at once."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from millrace_core.api.feature import FeatureType
from millrace_core.base.errors import RejectError
from millrace_core.features.online.json_values import SCALARS
from millrace_core.features.online.request_values import request_columns
from tests.examples import examples

# The greatest double that is a float32, the least that is none, and what is between it and that float32.
_EDGES = [2.0**128 - 2.0**104, 2.0**128 - 2.0**103, math.nextafter(2.0**128 - 2.0**103, 0), 1e39]
_VALUES = st.one_of(
    st.sampled_from([*_EDGES, *(-edge for edge in _EDGES), math.inf, -math.inf, 0.0, -0.0]),
    st.floats(),
    st.integers(-(2**64), 2**64),
    st.none(),
    st.booleans(),
    st.sampled_from(["NaN", "Infinity", "x", "2026-01-01T00:00:00Z"]),
)
_LISTS = st.one_of(st.lists(st.floats(allow_nan=False), max_size=6), st.lists(_VALUES, max_size=4))


def one_by_one(values: list[Any], kind: str) -> list[Any] | None:
    try:
        return [None if value is None else SCALARS[kind](value) for value in values]  # type: ignore[index]
    except (TypeError, ValueError, RejectError):
        return None


def together(values: list[Any], kind: FeatureType) -> list[Any] | None:
    try:
        (column,) = request_columns([("x", kind)], {"x": values}, len(values))
    except RejectError:
        return None
    return list(column)


@given(st.sampled_from(["float32", "float64", "int32", "int64", "bool", "string", "timestamp"]), _LISTS)
def test_a_column_holds_what_each_value_becomes_or_is_refused_if_one_is(kind: Any, values: list[Any]) -> None:
    assert repr(together(values, kind)) == repr(one_by_one(values, kind))


@settings(max_examples=examples(0.5))
@given(st.sampled_from(["float32", "float64", "int64"]), st.lists(_LISTS, max_size=3))
def test_arrays_hold_what_each_element_becomes(kind: str, rows: list[list[Any]]) -> None:
    each = [one_by_one(row, kind) for row in rows]
    expected = None if None in each else each
    assert repr(together(rows, f"array<{kind}>")) == repr(expected)  # type: ignore[arg-type]
