"""What Prometheus is told of views."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from millrace_kube.cache import Cache
from millrace_kube.resources import FEATURE_VIEWS
from millrace_operators.featureview.metrics import ViewMetrics
from tests.builders import feature_view
from tests.operators.featureview.life import moment

VIEW = {"namespace": "shop", "view": "clicks"}


class Views:
    def __init__(self) -> None:
        self.version = 0
        self.cache = Cache()
        self.registry = CollectorRegistry()
        self.registry.register(ViewMetrics(self.cache, lambda: moment("12:30")))

    def has(self, **status: Any) -> None:
        self.version += 1
        view = feature_view("clicks").build()
        view["metadata"] |= {"namespace": "shop", "uid": "u", "resourceVersion": str(self.version)}
        self.cache.upsert(FEATURE_VIEWS, {**view, "status": status})

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"millrace_feature_view_{name}", {**VIEW, **labels})


def run(finished: str, *, succeeded: bool = True) -> dict[str, Any]:
    figures = {"rows": 50, "written": 40, "seconds": 3.2} if succeeded else {}
    return {"name": "j", "succeeded": succeeded, "finishedAt": f"2026-11-20T{finished}:00Z", **figures}


def test_gauges_tell_what_the_status_tells() -> None:
    views = Views()
    views.has(watermark="2026-11-20T12:00:00Z", online={"keys": 7}, lastRun=run("12:01"))
    assert views.value("watermark_timestamp_seconds") == moment("12:00").timestamp()
    assert views.value("watermark_age_seconds") == 1800
    assert views.value("online_keys") == 7
    assert views.value("last_run_timestamp_seconds") == moment("12:01").timestamp()
    figures = ("last_run_success", "last_run_rows", "last_run_written_rows", "last_run_seconds")
    assert [views.value(name) for name in figures] == [1, 50, 40, 3.2]
    assert views.value("quality_failing_checks", severity="block") is None


def test_failing_checks_are_counted_by_severity() -> None:
    views = Views()
    results = [("block", False), ("warn", False), ("warn", False), ("block", True)]
    views.has(quality=[{"name": "x", "message": "", "severity": s, "passed": p} for s, p in results])
    assert views.value("quality_failing_checks", severity="block") == 1
    assert views.value("quality_failing_checks", severity="warn") == 2


def test_runs_count_once_each_from_the_first_that_ends_here() -> None:
    views = Views()
    views.has(lastRun=run("12:01"))
    assert views.value("runs_total", outcome="succeeded") is None
    for _ in range(2):
        views.has(lastRun=run("12:15"))
    views.has(lastRun=run("12:16", succeeded=False))
    views.has(lastRun=run("12:20"))
    assert views.value("runs_total", outcome="succeeded") == 2
    assert views.value("runs_total", outcome="failed") == 1
    assert views.value("rows_written_total") == 80


def test_a_view_that_goes_takes_its_series_with_it() -> None:
    views = Views()
    views.has()
    views.has(watermark="2026-11-20T12:00:00Z", lastRun=run("12:15"))
    views.version += 1
    gone = views.cache.get(FEATURE_VIEWS, "shop", "clicks")
    assert gone is not None
    views.cache.remove(FEATURE_VIEWS, gone)
    assert [sample for metric in views.registry.collect() for sample in metric.samples] == []


def test_expressions_that_fail_count_by_feature_once_a_run() -> None:
    views = Views()
    views.has(lastRun=run("12:01") | {"expressionErrors": {"age": 9}})
    for _ in range(2):
        views.has(lastRun=run("12:15") | {"expressionErrors": {"age": 2, "day": 1}})
    views.has(lastRun=run("12:20") | {"expressionErrors": {"age": 3}})
    assert views.value("expression_errors_total", feature="age") == 5
    assert views.value("expression_errors_total", feature="day") == 1
