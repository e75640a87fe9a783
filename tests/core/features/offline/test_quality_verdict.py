"""The verdict of quality checks, from what a run measured."""

from __future__ import annotations

from typing import Any

from millrace_core.api.quality import QualityRule
from millrace_core.features.definition import quality
from millrace_core.features.offline import quality_verdict
from millrace_core.features.offline.quality_verdict import CheckResult, QualityBaseline, QualityMeasurements

HOUR = 3_600_000_000


def judged(rule: dict[str, Any], baseline: QualityBaseline, **measured: Any) -> CheckResult:
    nothing: dict[str, Any] = {"rows": 0, "newest": None, "counts": [], "columns": {}, "stretch": None, "upto": 0}
    return quality_verdict.judge(
        quality.compile([QualityRule.model_validate(rule)]), QualityMeasurements(**nothing | measured), baseline
    ).outcomes[0]


def test_rows_are_fresh_up_to_exactly_the_age_allowed() -> None:
    rule = {"freshness": "1h"}
    assert judged(rule, QualityBaseline(), newest=5, upto=5 + HOUR).passed
    assert not judged(rule, QualityBaseline(), newest=5, upto=6 + HOUR).passed
    assert judged(rule, QualityBaseline(newest=5), upto=5 + HOUR).passed, (
        "nothing new came, but the last is young enough"
    )
    assert not judged(rule, QualityBaseline(), upto=0).passed, "no row at all"


def test_volume_is_compared_per_hour_with_the_median_of_good_runs() -> None:
    rule = {"volume": {"minRatio": 0.5, "maxRatio": 2, "runs": 3}}
    baseline = QualityBaseline(rates=(9000.0, 100.0, 120.0, 80.0))
    for rows, passed in ((99, False), (100, True), (400, True), (401, False)):
        assert judged(rule, baseline, rows=rows, stretch=(0, 2 * HOUR)).passed == passed
    assert judged(rule, QualityBaseline(rates=(1.0, 1.0)), rows=10**6, stretch=(0, HOUR)).passed, "too few runs"
    assert judged(rule, baseline, rows=10**6, stretch=None).passed, "a backfill"


def test_drift_names_what_changed() -> None:
    baseline = QualityBaseline(columns={"a": "int64", "b": "string"})
    breaking = judged({"schemaDrift": "breaking"}, baseline, columns={"a": "double", "c": "int64"})
    assert breaking.message == ("columns changed since the last good run: 'b' is gone, 'a' was int64, is double")
    added = {"a": "int64", "b": "string", "c": "int64"}
    assert judged({"schemaDrift": "breaking"}, baseline, columns=added).passed
    assert not judged({"schemaDrift": "any"}, baseline, columns=added).passed
    assert judged({"schemaDrift": "any"}, QualityBaseline(), columns=added).passed, "the first run"


def test_what_is_remembered_is_bounded() -> None:
    baseline = QualityBaseline(rates=tuple(map(float, range(100))))
    kept = quality_verdict.judge((), QualityMeasurements(5, 7, [], {"a": "int64"}, (0, HOUR), 9), baseline).baseline
    assert (len(kept.rates), kept.rates[-1], kept.newest, kept.columns) == (100, 5.0, 7, {"a": "int64"})
