"""Metrics of feature views for Prometheus. Runs are Jobs, too short to be scraped, so the operator exports theirs.

Gauges are read from the statuses at every scrape, so they are as true as the statuses and go away with their view. Runs
are counted when a status shows a new one. A run that ended while no operator ran is counted once, when it is back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from millrace_core.base import timestamps
from millrace_kube.cache import Cache
from millrace_kube.resources import FEATURE_VIEWS, Object, Resource, name_of, namespace_of

_PREFIX: Final = "millrace_feature_view"
_VIEW: Final = ("namespace", "view")
_SEVERITIES: Final = ("block", "warn")

Place = tuple[str, str]
Read = Callable[[Mapping[str, Any]], float | None]


def _seconds(text: str | None) -> float | None:
    return timestamps.parse(text).timestamp() if text else None


def _last_run(field: str) -> Read:
    return lambda status: (status.get("lastRun") or {}).get(field)


# Name, help text, and how to read it from a status; None where there is no value yet.
_GAUGES: Final[tuple[tuple[str, str, Read], ...]] = (
    (
        "watermark_timestamp_seconds",
        "Event time up to which the online store is complete",
        lambda status: _seconds(status.get("watermark")),
    ),
    (
        "online_keys",
        "Keys in the online store, as the last run counted them",
        lambda s: (s.get("online") or {}).get("keys"),
    ),
    (
        "last_run_timestamp_seconds",
        "When the last run ended",
        lambda status: _seconds((status.get("lastRun") or {}).get("finishedAt")),
    ),
    ("last_run_success", "1 where the last run succeeded, else 0", _last_run("succeeded")),
    ("last_run_rows", "Rows that the last run read, after the latest per key was taken", _last_run("rows")),
    ("last_run_written_rows", "Rows that the online store took from the last run", _last_run("written")),
    ("last_run_seconds", "Duration of the last run", _last_run("seconds")),
    ("last_run_later_rows", "Rows of the source that were later than now in the last run", _last_run("later")),
)


class ViewMetrics(Collector):
    """Collects from the cache.

    Args:
        clock: the current time, aware.
    """

    def __init__(self, cache: Cache, clock: Callable[[], datetime]) -> None:
        self._cache = cache
        self._clock = clock
        self._seen: dict[Place, Any] = {}
        self._runs: dict[tuple[Place, str], int] = defaultdict(int)
        self._written: dict[Place, int] = defaultdict(int)
        self._errors: dict[Place, Counter[str]] = defaultdict(Counter)
        cache.subscribe(self._changed)

    def collect(self) -> Iterable[Metric]:
        """All series now."""
        views = [(*_place(view), view.get("status") or {}) for view in self._cache.all(FEATURE_VIEWS)]
        for name, meaning, read in _GAUGES:
            gauge = GaugeMetricFamily(f"{_PREFIX}_{name}", meaning, labels=_VIEW)
            for namespace, view, status in views:
                if (value := read(status)) is not None:
                    gauge.add_metric((namespace, view), float(value))
            yield gauge
        yield from self._ages(views)
        yield from self._quality(views)
        yield from self._counters()

    def _ages(self, views: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Iterable[Metric]:
        now = self._clock().timestamp()
        age = GaugeMetricFamily(f"{_PREFIX}_watermark_age_seconds", "Age of the watermark", labels=_VIEW)
        for namespace, view, status in views:
            if (watermark := _seconds(status.get("watermark"))) is not None:
                age.add_metric((namespace, view), now - watermark)
        yield age

    def _quality(self, views: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Iterable[Metric]:
        failing = GaugeMetricFamily(
            f"{_PREFIX}_quality_failing_checks",
            "Quality checks that did not pass, in the last run that made them",
            labels=(*_VIEW, "severity"),
        )
        for namespace, view, status in views:
            for severity in _SEVERITIES if status.get("quality") else ():
                found = [each for each in status["quality"] if not each["passed"] and each["severity"] == severity]
                failing.add_metric((namespace, view, severity), len(found))
        yield failing

    def _counters(self) -> Iterable[Metric]:
        runs = CounterMetricFamily(f"{_PREFIX}_runs", "Runs that ended, by outcome", labels=(*_VIEW, "outcome"))
        for (place, outcome), count in self._runs.items():
            runs.add_metric((*place, outcome), count)
        written = CounterMetricFamily(f"{_PREFIX}_rows_written", "Rows that the online store took", labels=_VIEW)
        for place, count in self._written.items():
            written.add_metric(place, count)
        errors = CounterMetricFamily(
            f"{_PREFIX}_expression_errors",
            "Rows of runs for which the expression of a feature failed, so that its value is null",
            labels=(*_VIEW, "feature"),
        )
        for place, counts in self._errors.items():
            for feature, count in counts.items():
                errors.add_metric((*place, feature), count)
        return runs, written, errors

    def _changed(self, resource: Resource, document: Object) -> None:
        if resource is not FEATURE_VIEWS:
            return
        place, last = _place(document), (document.get("status") or {}).get("lastRun")
        if self._cache.get(FEATURE_VIEWS, *place) is None:
            self._forget(place)
        elif place not in self._seen:
            # A run that ended before this process began was counted by the one before.
            self._seen[place] = last
        elif last and last != self._seen[place]:
            self._seen[place] = last
            self._runs[place, "succeeded" if last.get("succeeded") else "failed"] += 1
            self._written[place] += last.get("written") or 0
            self._errors[place].update(last.get("expressionErrors") or {})

    def _forget(self, place: Place) -> None:
        self._seen.pop(place, None)
        self._written.pop(place, None)
        self._errors.pop(place, None)
        for outcome in ("succeeded", "failed"):
            self._runs.pop((place, outcome), None)


def _place(view: Object) -> Place:
    return namespace_of(view), name_of(view)
