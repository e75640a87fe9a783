"""Metrics of all three kinds for Prometheus: their conditions, and how Experiments split the traffic.

They are read from the statuses at every scrape, so they are as true as the statuses, and go away with their object.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from millrace_kube.cache import Cache
from millrace_kube.resources import EXPERIMENTS, FEATURE_VIEWS, MODEL_DEPLOYMENTS, name_of, namespace_of

_KINDS: Final = (FEATURE_VIEWS, MODEL_DEPLOYMENTS, EXPERIMENTS)


class ObjectMetrics(Collector):
    """Collects from the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        """All series now."""
        yield self._conditions()
        yield self._weights()

    def _conditions(self) -> Metric:
        gauge = GaugeMetricFamily(
            "millrace_object_condition",
            "1 for the status (True, False or Unknown) that a condition of an object has",
            labels=("namespace", "kind", "name", "type", "status"),
        )
        for resource in _KINDS:
            for document in self._cache.all(resource):
                place = namespace_of(document), resource.kind, name_of(document)
                for each in (document.get("status") or {}).get("conditions") or ():
                    gauge.add_metric((*place, each["type"], each["status"]), 1)
        return gauge

    def _weights(self) -> Metric:
        gauge = GaugeMetricFamily(
            "millrace_experiment_weight_percent",
            "Percentage of a service's traffic that the route gives an arm",
            labels=("namespace", "experiment", "arm"),
        )
        for document in self._cache.all(EXPERIMENTS):
            weights = (document.get("status") or {}).get("weights") or {}
            for arm, percent in (weights.get("applied") or {}).items():
                gauge.add_metric((namespace_of(document), name_of(document), arm), percent)
        return gauge
