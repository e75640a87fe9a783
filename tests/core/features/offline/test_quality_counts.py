"""What quality checks count as failing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace_core.api.quality import QualityRule
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import quality
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.evaluation.time_limit import TimeLimit
from millrace_core.features.history.history import TimeRange
from millrace_core.features.offline import quality_verdict
from millrace_core.features.offline.quality_counts import count_checks
from millrace_core.features.offline.quality_verdict import CheckResult, QualityBaseline, QualityMeasurements
from tests.core.features.histories import TableSource, view
from tests.examples import examples

HOUR = 3_600_000_000
V = view(("x", "float64"), created="created")


def rules(*documents: dict[str, Any]) -> tuple[quality.Check, ...]:
    return quality.compile([QualityRule.model_validate(document) for document in documents])


def table(**columns: Any) -> pa.Table:
    length = max(len(column) for column in columns.values())
    made = {
        "id": pa.array(range(length), pa.int64()),
        "at": pa.array(range(length), pa.timestamp("us")),
        "created": pa.nulls(length, pa.timestamp("us")),
    }
    made |= {name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()}
    return pa.table(made)


def outcomes(
    tmp_path: Path, rows: pa.Table, *documents: dict[str, Any], windows: Sequence[TimeRange] = (TimeRange(None, 2**60),)
) -> list[CheckResult]:
    checks = rules(*documents)
    seen = count_checks(V, TableSource(rows, 3), windows, checks, Engine(str(tmp_path / "spill"), threads=1))
    figures = QualityMeasurements(seen.rows, seen.newest, seen.counts, {}, None, 0)
    return list(quality_verdict.judge(checks, figures, QualityBaseline()).outcomes)


@pytest.mark.parametrize(
    ("values", "rule", "checked", "failing"),
    [
        ([1.0, None, 3.0, None], {"maxNullRate": 0.5}, 4, 2),
        ([0.5, 1.0, 2.0, 2.5, None, math.nan], {"min": 1, "max": 2}, 5, 3),
        ([1, 2, 3], {"min": 3}, 3, 2),
        (["paid", "open", None, "lost"], {"allowed": ["paid", "open"]}, 3, 1),
        ([1, 2, 3], {"allowed": [1, "2"]}, 3, 1),
        ([1.0, 2.5], {"allowed": [1, "2.5"]}, 2, 0),
        ([True, False], {"allowed": ["true"]}, 2, 1),
        (["a@b", "ab", None, "x\n@"], {"pattern": "@"}, 3, 1),
        (pa.array(["DE", "DEU"]).dictionary_encode(), {"pattern": "^[A-Z]{2}$"}, 2, 1),
        ([1, 2, 2, 2, None, None], {"unique": True}, 4, 2),
        (["it's", "b"], {"allowed": ["it's"]}, 2, 1),
    ],
)
def test_what_counts_as_failing_of_a_column(
    tmp_path: Path, values: Any, rule: dict[str, Any], checked: int, failing: int
) -> None:
    [outcome] = outcomes(tmp_path, table(x=values), {"column": "x", **rule})
    assert (outcome.checked, outcome.failing) == (checked, failing)


def test_each_check_of_a_rule_has_a_result_of_its_own(tmp_path: Path) -> None:
    rule = {"column": "x", "maxNullRate": 0.3, "max": 2, "unique": True, "severity": "warn"}
    found = outcomes(tmp_path, table(x=[1.0, 1.0, 3.0, None]), rule)
    assert [(each.name, each.passed) for each in found] == [
        ("x.maxNullRate", True),
        ("x.range", False),
        ("x.unique", False),
    ]
    assert found[1].message == "1 of 3 values are greater than 2"
    assert {each.severity for each in found} == {"warn"}


def test_a_share_of_failures_may_be_allowed(tmp_path: Path) -> None:
    rows = table(x=[1.0, 2.0, 3.0, 4.0])
    at_most = {"column": "x", "min": 2, "maxFailingShare": 0.25}
    [passed] = outcomes(tmp_path, rows, at_most)
    [failed] = outcomes(tmp_path, rows, at_most | {"maxFailingShare": 0.24})
    assert (passed.passed, failed.passed) == (True, False)
    assert failed.message == "1 of 4 values are less than 2 (25.00%; at most 24.00% may)"


def test_a_condition_that_is_null_passes_and_one_that_cannot_be_computed_fails(tmp_path: Path) -> None:
    rows = table(x=pa.array(["1", "-1", None, "abc"]), y=[1, 1, 1, 1])
    [outcome] = outcomes(tmp_path, rows, {"predicate": "cast(x as integer) > 0 and y = 1"})
    assert (outcome.checked, outcome.failing, outcome.name) == (4, 2, "cast(x as integer) > 0 and y = 1")


def test_conditions_see_times_in_utc_without_a_zone(tmp_path: Path) -> None:
    rows = table(x=pa.array([HOUR, 2 * HOUR], pa.timestamp("us", "Europe/Berlin")))
    [outcome] = outcomes(tmp_path, rows, {"predicate": "x <= timestamp '1970-01-01 01:00:00'"})
    assert outcome.failing == 1


def test_rows_of_one_entity_and_moment_are_found_and_null_keys_are_none(tmp_path: Path) -> None:
    ids = pa.array([1, 1, 2, None, None], pa.int64())
    rows = table(id=ids, at=pa.array([5, 5, 5, 5, 5], pa.timestamp("us")), x=[0.0] * 5)
    [outcome] = outcomes(tmp_path, rows, {"unique": True})
    assert (outcome.name, outcome.checked, outcome.failing) == ("unique", 3, 1)


def test_only_rows_of_the_windows_count_and_late_ones_are_no_volume(tmp_path: Path) -> None:
    rows = table(x=[0.0] * 10, created=pa.array([20] * 5 + [3] * 5, pa.timestamp("us")))
    checks = rules({"column": "x", "min": 1})
    windows = [TimeRange(7, 8), TimeRange(None, 6, 10)]
    seen = count_checks(V, TableSource(rows), windows, checks, Engine(str(tmp_path / "spill")))
    assert (seen.rows, seen.newest, seen.counts) == (2, 8, [(7, 7)])


def test_a_run_without_rows_passes_what_is_counted(tmp_path: Path) -> None:
    found = outcomes(tmp_path, table(x=[0.0]).slice(0, 0), {"column": "x", "min": 1}, {"predicate": "x > 0"})
    assert [each.passed for each in found] == [True, True]


@pytest.mark.parametrize(
    ("values", "rule", "field", "said"),
    [
        (["a"], {"column": "x", "min": 1}, "spec.quality[0]", "a range needs numbers"),
        ([1], {"column": "x", "pattern": "a"}, "spec.quality[0]", "a pattern needs texts"),
        ([1.0], {"column": "x", "allowed": ["a"]}, "spec.quality[0]", "not all that is allowed are numbers"),
        ([1.0], {"predicate": "x + 1"}, "spec.quality[0].predicate", "a condition"),
    ],
)
def test_a_check_that_does_not_fit_its_column_names_the_field(
    tmp_path: Path, values: Any, rule: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(RejectError, match=said) as raised:
        outcomes(tmp_path, table(x=values), rule)
    assert raised.value.field == field


VALUES = st.one_of(st.none(), st.floats(width=32), st.integers(-3, 3).map(float))


@settings(max_examples=examples(0.5), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), VALUES), max_size=30))
def test_counts_are_those_of_a_loop_over_the_rows(tmp_path: Path, rows: list[tuple[int, float | None]]) -> None:
    ids = [key for key, _ in rows]
    values = [value for _, value in rows]
    given_rows = table(
        id=pa.array(ids, pa.int64()), at=pa.array([0] * len(rows), pa.timestamp("us")), x=pa.array(values, pa.float64())
    )
    found = outcomes(
        tmp_path,
        given_rows,
        {"column": "x", "maxNullRate": 0, "min": -1, "max": 1, "allowed": [0, 1]},
        {"unique": True},
        {"predicate": "x between -1 and 1"},
    )
    there = [value for value in values if value is not None]
    assert [each.failing for each in found] == [
        values.count(None),
        sum(not -1 <= value <= 1 for value in there),
        sum(value not in (0, 1) for value in there),
        len(ids) - len(set(ids)),
        sum(not -1 <= value <= 1 for value in there),
    ]


# Weeks of work for 2,000 rows of 1,000 letters, as each row is compared a thousand times.
HEAVY = "levenshtein(x || 'a', reverse(x)) + levenshtein(x || 'b', reverse(x)) > 0"


def test_a_predicate_that_takes_too_long_for_a_batch_is_stopped_and_named(tmp_path: Path) -> None:
    rows = table(x=["é" * 600] * 20_000)
    clock = TimeLimit(count(0, 3600).__next__, every=0.001)
    engine = Engine(str(tmp_path / "spill"), threads=1)
    with pytest.raises(RejectError, match=r"spec.quality\[0\].predicate took too long for a batch") as refused:
        count_checks(V, TableSource(rows, 20_000), [TimeRange(None, 2**60)], rules({"predicate": HEAVY}), engine, clock)
    assert (refused.value.field, refused.value.reason) == ("spec.quality", "ExpressionTooSlow")


def test_waiting_for_the_source_costs_a_predicate_no_time(tmp_path: Path) -> None:
    now = [0.0]

    class Slow(TableSource):
        def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
            for batch in super().scan(columns, time_range):
                now[0] += 1000
                yield batch

    engine = Engine(str(tmp_path / "spill"), threads=1)
    looked = TimeLimit(lambda: now[0], every=0.001)
    seen = count_checks(
        V, Slow(table(x=[1.0] * 50), 1), [TimeRange(None, 2**60)], rules({"predicate": "x > 0"}), engine, looked
    )
    assert seen.counts == [(50, 0)]


def test_a_value_longer_than_a_predicate_takes_is_refused_by_its_column(tmp_path: Path) -> None:
    with pytest.raises(RejectError, match="a value of column 'x' has 1,000,000 bytes") as refused:
        outcomes(tmp_path, table(x=["a", "a" * 1_000_000]), {"predicate": HEAVY})
    assert refused.value.field == "spec.quality[0].predicate"
