from __future__ import annotations

import dataclasses
from itertools import count

import duckdb
import pyarrow as pa
import pytest

from millrace_core.base.errors import RejectError
from millrace_core.features.evaluation.slices import require_short
from millrace_core.features.evaluation.time_limit import TimeLimit
from millrace_core.features.expressions.expressions import parse
from millrace_data.sources.row_expressions import RowExpressions, failure, row_expressions

# Weeks of work.
ENDLESS = "(select count(*) from range(10000000000000) x, range(1000) y where x.range % 7 = y.range % 3)"


def test_a_batch_whose_expressions_take_too_long_is_stopped_and_the_next_one_is_computed() -> None:
    batch = pa.record_batch({"a": [1, 2]})
    with duckdb.connect() as engine:
        with pytest.raises(duckdb.InterruptException):
            # The clock goes an hour further at each look.
            RowExpressions(engine, TimeLimit(count(0, 3600).__next__, every=0.001)).evaluate(batch, ["a"], [ENDLESS])
        (found,) = RowExpressions(engine, TimeLimit(lambda: 0.0)).evaluate(batch, ["a"], ["a + 1"])
    assert found.to_pylist() == [2, 3]


def test_what_is_stopped_or_needs_too_much_memory_is_said_as_such() -> None:
    batch = pa.record_batch({"a": [1]})
    assert failure(duckdb.InterruptException("x"), "the filter", "f").reason == "ExpressionTooSlow"
    with row_expressions() as rows, pytest.raises(duckdb.OutOfMemoryException) as error:
        rows.evaluate(batch, ["a"], ["(select count(distinct range) from range(60000000))"])
    assert "the filter needs more than 512MiB" in failure(error.value, "the filter", "f").message


@pytest.mark.parametrize(
    ("column", "length"),
    [
        (pa.array(["a" * 5000, None]), "5,000"),
        (pa.array([b"a" * 5000]), "5,000"),
        (pa.array([["a" * 100, "b"], []]), "200"),
        (pa.array([[1, 2, 3], None]), "24"),
        (pa.array([{"b": "a" * 5000, "c": 1}]), "5,000"),
        (pa.array(["a", None]), ""),
        (pa.array([None, None], pa.string()), ""),
        (pa.array([1, 2]), ""),
    ],
)
def test_a_value_longer_than_an_expression_takes_is_refused_by_its_column(column: pa.Array, length: str) -> None:
    expression = dataclasses.replace(parse("levenshtein(a, a)", where="w"), longest=10)
    batch = pa.record_batch({"a": column})
    if not length:
        require_short(expression, batch, ["a"], "w")
        return
    with pytest.raises(RejectError, match=f"column 'a' has {length} bytes, and the expression takes 10") as refused:
        require_short(expression, batch, ["a"], "w")
    assert (refused.value.field, refused.value.reason) == ("w", "ExpressionTooLarge")


def test_a_batch_is_cut_so_that_it_can_be_stopped_within() -> None:
    heavy = parse("levenshtein(a || 'wxyz', reverse(a)) > 3", where="w")
    batch = pa.record_batch({"a": ["é" * 200, "b"] * 1000})
    with duckdb.connect() as engine:
        rows = RowExpressions(engine)
        (found,) = rows.evaluate(batch, ["a"], [heavy.over({("a",): "a"})], [heavy])
        assert found.to_pylist() == [True] * 2000
        chunks = engine.table("rows").to_arrow_reader(10**6)
        assert max(len(each) for each in chunks) < 100
