from __future__ import annotations

from itertools import count

import duckdb
import pyarrow as pa
import pytest

from millrace_core.features.evaluation.time_limit import TimeLimit
from millrace_data.sources.row_expressions import RowExpressions

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
