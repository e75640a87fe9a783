"""Queries that run longer than they may are stopped, and only these. The clock is the test's own."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import count, repeat

import duckdb
import pyarrow as pa
import pytest

from millrace_core.base.errors import RejectError
from millrace_core.features.evaluation.program import Program
from millrace_core.features.evaluation.time_limit import TimeLimit
from tests.core.features.expressions.test_compiled import computed, view

# Weeks of work.
ENDLESS = "select count(*) from range(10000000000000) a, range(1000) b where a.range % 7 = b.range % 3"
# With 3 of them 20,000 rows take 80 billion steps, which is many minutes.
HEAVY = [computed(f"x{index}", f"levenshtein(a || '{index}', reverse(a))", "int64") for index in range(3)]


def passing() -> TimeLimit:
    """A limit whose clock goes an hour further each time somebody looks."""
    return TimeLimit(count(0, 3600).__next__, every=0.001)


def standing() -> TimeLimit:
    """A limit whose clock stands still."""
    return TimeLimit(lambda: 0.0, every=0.001)


def test_a_query_that_never_ends_is_stopped_and_its_connection_goes_on() -> None:
    with duckdb.connect() as connection:
        with pytest.raises(duckdb.InterruptException), passing().over(connection, 1):
            connection.execute(ENDLESS).fetchall()
        with standing().over(connection, 1):
            assert connection.execute("select 42").fetchall() == [(42,)]


def test_others_than_the_one_that_takes_too_long_go_on() -> None:
    limit = passing()
    with duckdb.connect() as slow, duckdb.connect() as other, limit.over(other, 1e12):
        with pytest.raises(duckdb.InterruptException), limit.over(slow, 1):
            slow.execute(ENDLESS).fetchall()
        assert other.execute("select count(*) from range(100000)").fetchall() == [(100_000,)]


def test_a_read_that_takes_too_long_is_refused_by_its_features_and_the_next_one_is_answered() -> None:
    definition = view(*HEAVY, columns=[{"name": "a", "type": "string"}])
    names = [f"x{index}" for index in range(3)]
    clock = [repeat(0)]
    program = Program(definition, names, (), TimeLimit(lambda: float(next(clock[-1])), every=0.001))
    program.values([["ab"]], 1)
    clock.append(count(0, 3600))

    with pytest.raises(RejectError, match=r"x0, x1, x2 of feature view .* took too long for 20000 rows") as refused:
        program.values([["é" * 600] * 20_000], 20_000)

    assert refused.value.reason == "ExpressionTooSlow"
    program = Program(definition, names[:1], (), standing())
    assert program.values([["ab"]], 1).values == [(2,)]
    assert program.values([["ab"]], 1).values == [(2,)]


def test_a_process_ends_in_silence_after_it_was_watched() -> None:
    program = (
        "import duckdb\n"
        "from millrace_core.features.evaluation.time_limit import LIMIT\n"
        "connection = duckdb.connect()\n"
        "with LIMIT.over(connection, 1000):\n    print(connection.execute('select 42').fetchall())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("[(42,)]\n", "")


def test_a_batch_of_a_run_that_takes_too_long_is_refused_too() -> None:
    definition = view(*HEAVY, columns=[{"name": "a", "type": "string"}])
    program = Program(definition, [f"x{index}" for index in range(3)], (), passing())
    there = pa.array([True] * 20_000)

    with pytest.raises(RejectError, match="took too long for 20000 rows"):
        program.arrays([pa.array(["é" * 600] * 20_000)], there, there)


def test_what_is_surely_short_is_not_watched_and_what_may_be_long_is() -> None:
    looked = count()
    limit = TimeLimit(lambda: float(next(looked)), every=3600)
    definition = view(computed("short", "strlen(a)", "int64"), HEAVY[0], columns=[{"name": "a", "type": "string"}])
    for name, watched in ("short", 0), ("x0", 1):
        program = Program(definition, [name], (), limit)
        program.values([["ab"]], 1)
        before = next(looked)

        assert program.values([["ab"]], 1).values == [(2,)]

        assert next(looked) == before + 1 + watched


def test_an_interruption_that_came_too_late_for_its_read_stops_no_later_one() -> None:
    definition = view(HEAVY[0], columns=[{"name": "a", "type": "string"}])
    clock = [repeat(0)]
    limit = TimeLimit(lambda: float(next(clock[-1])), every=0.0001)
    program = Program(definition, ["x0"], (), limit)
    program.values([["ab"]], 1)
    found = program._standing.rows

    def then_interrupted(columns: list[pa.Array], rows: int) -> list[tuple[object, ...]]:
        answer = found(columns, rows)
        clock.append(count(0, 3600))
        [watched] = limit._running.values()
        while not watched.interrupted:
            time.sleep(0.0001)
        clock.append(repeat(0))
        return answer

    program._standing.rows = then_interrupted
    assert program.values([["ab"]], 1).values == [(2,)]
    assert program.values([["ab"]], 1).values == [(2,)]


def test_a_query_after_one_whose_interruption_came_too_late_is_not_stopped() -> None:
    with duckdb.connect() as connection:
        for ask in (
            lambda: connection.execute("select sum(range) from range(1000000)").fetchall(),
            lambda: connection.sql("select sum(range) from range(1000000)").fetchall(),
            lambda: connection.sql("select sum(range) from range(1000000)").to_arrow_table().to_pylist(),
        ):
            connection.execute("select 42").fetchall()
            connection.interrupt()
            assert ask()
