"""The query that stands: many requests through one execution, and the end of one that fails."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.features.evaluation.standing_query import GIVEN, REAL, StandingQuery

FIELDS = [pa.field("n", pa.int64()), pa.field("text", pa.string())]
QUERY = f"select {REAL}, n * 2, cast(text as int) + n from {GIVEN}"
DATABASE = duckdb.connect(":memory:", config={"threads": 1})


def standing() -> StandingQuery:
    return StandingQuery(DATABASE.cursor(), FIELDS, QUERY, 1000)


def ask(query: StandingQuery, numbers: list[int], texts: list[str]) -> list[tuple[Any, ...]]:
    return query.rows([pa.array(numbers, pa.int64()), pa.array(texts, pa.string())], len(numbers))


SHARED = standing()


@given(st.lists(st.one_of(st.integers(1, 60), st.sampled_from([2047, 2048, 2049, 5000])), min_size=1, max_size=6))
def test_every_request_gets_its_own_rows_in_its_own_order(sizes: list[int]) -> None:
    for size in sizes:
        numbers = list(range(size))
        found = ask(SHARED, numbers, [str(size)] * size)
        assert found == [(True, 2 * n, size + n) for n in numbers]


def test_a_row_on_which_the_engine_fails_is_an_error_and_never_the_next_requests_answer() -> None:
    query = standing()
    assert ask(query, [1], ["1"]) == [(True, 2, 2)]
    with pytest.raises(duckdb.Error, match="Could not convert string 'x'"):
        ask(query, [1, 2], ["1", "x"])
    with pytest.raises(duckdb.Error):
        ask(query, [3], ["3"])
    assert ask(standing(), [3], ["3"]) == [(True, 6, 6)]


def test_a_query_that_nobody_needs_is_gone_with_its_cursor() -> None:
    cursor = DATABASE.cursor()
    query = StandingQuery(cursor, FIELDS, QUERY, 1000)
    ask(query, [1], ["1"])
    seen = weakref.ref(query)
    del query
    gc.collect()
    assert seen() is None
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        cursor.execute("select 1")


def test_a_process_ends_in_silence_while_a_query_stands() -> None:
    program = (
        "from tests.core.features.evaluation.test_standing_query import standing, ask\n"
        "query = standing()\nprint(ask(query, [1], ['5']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("[(True, 2, 6)]\n", "")
