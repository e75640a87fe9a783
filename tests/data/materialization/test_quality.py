"""Quality checks in runs: before any write, over all shards, with a memory of the good runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from millrace_core.features.online.shard import Shard
from millrace_data.materialization import job
from millrace_data.materialization.examination import QualityBlockedError
from millrace_data.materialization.ledger import Ledger, RunShard
from millrace_data.online.store import Store
from millrace_services.materialize.reports import write_termination_log
from tests.data.materialization.test_job import amounts, run
from tests.lake import Lake

HOUR = 3_600_000_000
POSITIVE = {"column": "amount", "min": 0, "severity": "block"}


def test_a_blocked_run_writes_nothing_and_the_watermark_stays(lake: Lake, store: Store) -> None:
    lake.having("spec.quality", [POSITIVE])
    lake.add((1, 10, 1.0))
    assert [each.passed for each in run(lake, store, now=20).quality] == [True]
    lake.add((1, 25, -1.0), (2, 25, 2.0))
    with pytest.raises(QualityBlockedError, match=r"amount.range: 1 of 2 values are less than 0") as raised:
        run(lake, store, now=30)
    assert (raised.value.reason, raised.value.field) == ("QualityBlocked", "spec.quality")
    assert amounts(lake, store, range(1, 3)) == [1.0, None]
    assert store.watermark(lake.definition) == 20
    lake.having("spec.quality", [POSITIVE | {"severity": "warn"}])
    [outcome] = run(lake, store, now=30).quality
    assert not outcome.passed
    assert amounts(lake, store, range(1, 3)) == [-1.0, 2.0]


def test_a_column_that_no_feature_reads_can_be_checked(lake: Lake, store: Store) -> None:
    lake.having("spec.features", [{"name": "amount", "type": "float64"}])
    lake.having("spec.quality", [{"column": "visits", "max": 1}, {"predicate": "visits < 3 and amount >= 0"}])
    lake.add((1, 10, 1.0), (2, 10, 1.0), (3, 10, -1.0))
    with pytest.raises(QualityBlockedError) as raised:
        run(lake, store, now=20)
    assert [(each.name, each.failing) for each in raised.value.outcomes] == [
        ("visits.range", 2),
        ("visits < 3 and amount >= 0", 1),
    ]


def test_rows_that_came_late_are_checked_too(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.having("spec.quality", [POSITIVE])
    lake.add((1, 10, 1.0), created=15)
    run(lake, store, now=20)
    lake.add((2, 5, -1.0), created=25)
    with pytest.raises(QualityBlockedError):
        run(lake, store, now=30)


def test_shares_are_blocked_by_rows_of_any_of_them_and_agree(lake: Lake, store: Store) -> None:
    lake.having("spec.quality", [POSITIVE, {"volume": {"minRatio": 0.1}}])
    lake.add(*((user, 10, -1.0 if user == 7 else 1.0) for user in range(40)))
    for index in range(2):
        with pytest.raises(QualityBlockedError, match="1 of 40 values"):
            run(lake, store, now=20, part=RunShard("one", Shard(index, 2)))
    lake.add((41, 10, -1.0))
    with pytest.raises(QualityBlockedError, match="1 of 40 values"):
        run(lake, store, now=20, part=RunShard("one", Shard(0, 2)))
    assert store.count("shop", "user-stats") == 0


def test_good_runs_are_remembered_with_the_watermark_and_bad_ones_are_not(lake: Lake, store: Store) -> None:
    lake.having("spec.quality", [{"volume": {"minRatio": 0.5}}, {"schemaDrift": "any"}])
    lake.add((0, 0, 0.0))
    run(lake, store, now=HOUR)
    for hour in range(1, 4):
        lake.add(*((user, hour * HOUR + 1, 0.0) for user in range(10)))
        for index in range(2):
            run(lake, store, now=(hour + 1) * HOUR, part=RunShard(f"run-{hour}", Shard(index, 2)))
    memory = Ledger(store, lake.definition).memory()
    assert memory.rates == (10.0, 10.0, 10.0)
    assert memory.newest == 3 * HOUR + 1
    assert memory.columns is not None
    assert memory.columns["amount"] == "double"
    lake.add(*((user, 4 * HOUR + 1, 0.0) for user in range(4)))
    with pytest.raises(QualityBlockedError, match=r"4 rows per hour, the median of 3 runs is 10; expected 5 to any"):
        run(lake, store, now=5 * HOUR)
    assert Ledger(store, lake.definition).memory() == memory
    lake.add((9, 4 * HOUR + 2, 0.0))
    assert all(each.passed for each in run(lake, store, now=5 * HOUR).quality)


def test_freshness_counts_from_the_newest_row_of_earlier_runs_where_nothing_new_came(lake: Lake, store: Store) -> None:
    lake.having("spec.quality", [{"freshness": "2h", "severity": "warn"}])
    lake.add((1, HOUR, 1.0))
    assert run(lake, store, now=2 * HOUR).quality[0].passed
    assert run(lake, store, now=3 * HOUR).quality[0].passed
    outcome = run(lake, store, now=3 * HOUR + 1).quality[0]
    assert not outcome.passed
    assert outcome.message.startswith("the newest event time is 1970-01-01T01:00:00Z")


def test_a_run_without_rules_looks_at_its_source_only_twice(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0))
    assert run(lake, store, now=20).quality == ()
    assert Ledger(store, lake.definition).memory().columns is None


def test_a_blocked_process_ends_with_2_and_tells_each_check(lake: Lake, store: Store) -> None:
    lake.having("spec.quality", [POSITIVE, {"name": "known", "column": "visits", "maxNullRate": 0}])
    lake.add((1, 10, -1.0))
    code, result, said = lake.job("run", "--end", "1970-01-01T00:00:01Z")
    assert code == 2
    assert result["error"]["reason"] == "QualityBlocked"
    assert result["quality"][0] == {
        "name": "amount.range",
        "severity": "block",
        "passed": False,
        "message": "1 of 1 values are less than 0",
        "checked": 1,
        "failing": 1,
    }
    assert "Traceback" not in said


COUNTED = [
    {"name": "amount", "type": "float64"},
    {"name": "small", "type": "int32", "expression": "amount::tinyint"},
    {"name": "root", "type": "int64", "expression": "amount::uinteger"},
]


def test_expressions_that_fail_are_counted_in_the_run_and_are_a_warning_without_a_rule(
    lake: Lake, store: Store
) -> None:
    lake.having("spec.features", COUNTED)
    lake.add((1, 10, 1.0), (2, 10, 128.0), (3, 10, -300.0), (4, 5, 1000.0), (4, 10, 4.0))

    result = run(lake, store, now=20)

    assert (result.written, result.errors) == (4, {"small": 2, "root": 1})
    assert [(each.name, each.severity, each.passed, each.checked, each.failing) for each in result.quality] == [
        ("small.maxErrorRate", "warn", False, 4, 2),
        ("root.maxErrorRate", "warn", False, 4, 1),
    ]
    assert job.as_dict(result, 0.1, 30)["expressionErrors"] == {"small": 2, "root": 1}
    lake.replace((1, 25, 1.0))
    good = run(lake, store, now=30)
    assert (good.errors, good.quality) == ({}, ())
    assert "expressionErrors" not in job.as_dict(good, 0.1, 40)


def test_a_rule_says_how_often_an_expression_may_fail_and_one_that_blocks_writes_nothing(
    lake: Lake, store: Store
) -> None:
    lake.having("spec.features", COUNTED)
    lake.having("spec.quality", [{"maxErrorRate": 0.5, "feature": "small"}, {"maxErrorRate": 0.5, "severity": "warn"}])
    lake.add((1, 10, 1.0), (2, 10, 128.0))
    result = run(lake, store, now=20)
    assert [(each.name, each.severity, each.passed) for each in result.quality] == [
        ("small.maxErrorRate", "block", True),
        ("small.maxErrorRate", "warn", True),
        ("root.maxErrorRate", "warn", True),
    ]
    lake.replace((1, 25, 1000.0), (3, 25, 128.0), (4, 25, 1.0))
    with pytest.raises(QualityBlockedError, match=r"the expression of small fails for 2 of 3 rows.*66.67%; at most 50"):
        run(lake, store, now=30)
    assert amounts(lake, store, range(1, 5)) == [1.0, 128.0, None, None]
    assert store.watermark(lake.definition) == 20


def test_a_rule_that_blocks_sees_the_rows_of_all_shards_and_shards_tell_what_failed_for_theirs(
    lake: Lake, store: Store
) -> None:
    lake.having("spec.features", COUNTED)
    lake.add(*((user, 10, -1.0 if user < 4 else 1000.0) for user in range(40)))
    results = [run(lake, store, now=20, part=RunShard("one", Shard(index, 2))) for index in range(2)]
    assert sum((Counter(each.errors) for each in results), Counter()) == {"small": 36, "root": 4}
    assert [each.quality for each in results] == [(), ()]
    lake.having("spec.quality", [{"maxErrorRate": 0.05, "feature": "root"}])
    store.client.flushall()
    for index in range(2):
        with pytest.raises(QualityBlockedError, match="root fails for 4 of 40 rows"):
            run(lake, store, now=20, part=RunShard("two", Shard(index, 2)))
    assert store.count("shop", "user-stats") == 0


def test_the_record_of_a_run_and_its_message_tell_what_failed(lake: Lake, store: Store) -> None:
    lake.having("spec.features", COUNTED)
    lake.add((1, 10, 1000.0), (2, 10, 1.0))
    code, told, _ = lake.job("run")
    assert (code, told["expressionErrors"]) == (0, {"small": 1})
    assert told["quality"][0]["name"] == "small.maxErrorRate"


def test_of_very_many_expressions_that_fail_the_message_names_those_that_fail_most(tmp_path: Path) -> None:
    errors = {f"feature_with_a_rather_long_name_{index}": index for index in range(1, 500)}
    write_termination_log(str(tmp_path / "log"), {"view": "v", "expressionErrors": errors})
    written = (tmp_path / "log").read_bytes()
    assert len(written) <= 4096
    assert list(json.loads(written)["expressionErrors"].values())[:3] == [499, 498, 497]


@pytest.mark.parametrize("filler", ["x", "é", '"'])
def test_what_a_termination_message_cannot_hold_is_left_out_from_the_end(tmp_path: Path, filler: str) -> None:
    def outcome(number: int, **more: Any) -> dict[str, Any]:
        base = {"name": f"check-{number}", "severity": "block", "passed": True, "message": filler * 100}
        return {**base, "checked": 10**12, "failing": 0, **more}

    results = [*map(outcome, range(100)), outcome(100, passed=False, severity="warn"), outcome(101, passed=False)]
    document = {"error": {"reason": "X", "message": filler * 9000, "field": "f"}, "quality": results}
    path = tmp_path / "log"
    write_termination_log(str(path), document)
    written = path.read_bytes()
    assert len(written) <= 4096
    told = json.loads(written)
    assert told["error"]["message"].endswith("…")
    assert [each["name"] for each in told["quality"]][:3] == ["check-101", "check-100", "check-0"]
    assert orjson.dumps(document["quality"]) == orjson.dumps(results), "the record in the registry is whole"
