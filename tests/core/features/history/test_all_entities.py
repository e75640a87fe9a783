"""Entities and moments without a frame: those of the history, against what one would write down."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.history.all_entities import entity_frame
from tests.core.features.histories import TableSource, times, view

ROWS = st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.integers(-3, 12)), max_size=12)


def source(rows: list[tuple[int | None, int | None]]) -> TableSource:
    ids, moments = [row[0] for row in rows], [row[1] for row in rows]
    return TableSource(pa.table({"id": pa.array(ids, pa.int64()), "at": times(moments)}), 3)


def asked(frame: pa.Table) -> list[tuple[Any, ...]]:
    columns = frame.set_column(1, "t", frame["t"].cast(pa.int64())).to_pydict()
    return list(zip(columns["id"], columns["t"], strict=True))


@given(ROWS, ROWS, st.none() | st.integers(-3, 12), st.integers(-3, 12))
def test_every_entity_once_or_every_change_of_all_views(
    first: list[Any], second: list[Any], start: int | None, end: int
) -> None:
    definition = view(("x", "int64"))
    found = entity_frame([(definition, source(first)), (definition, source(second))], "t", start, end)
    known = [row for row in first + second if None not in row and row[1] <= end]
    if start is None:
        assert asked(found) == sorted({(key, end) for key, _ in known})
    else:
        assert asked(found) == sorted({row for row in known if row[1] >= start})


def test_an_entity_whose_rows_have_expired_by_the_end_is_left_out() -> None:
    rows = [(1, 0), (2, 1)]
    found = entity_frame([(view(("x", "int64"), ttl="1ms"), source(rows))], "t", None, 1_001)
    assert asked(found) == [(2, 1_001)]


def test_views_of_different_entities_are_refused() -> None:
    other = view(("x", "int64"), keys=[("other", "int64")], name="w")
    with pytest.raises(RejectError, match="v has the join keys id, w has other"):
        entity_frame([(view(("x", "int64")), source([])), (other, source([]))], "t", None, 1)
