"""What Prometheus is told of objects: their conditions, and the split of Experiments."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from millrace_kube.cache import Cache
from millrace_kube.resources import EXPERIMENTS, MODEL_DEPLOYMENTS, Resource
from millrace_operators.operator.object_metrics import ObjectMetrics

PLACE = {"namespace": "shop", "kind": "ModelDeployment", "name": "m"}


class Objects:
    def __init__(self) -> None:
        self.version = 0
        self.cache = Cache()
        self.registry = CollectorRegistry()
        self.registry.register(ObjectMetrics(self.cache))

    def has(self, resource: Resource, name: str, status: dict[str, Any] | None) -> None:
        self.version += 1
        metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": str(self.version)}
        self.cache.upsert(resource, {"metadata": metadata, **({} if status is None else {"status": status})})

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
        }


def conditions(**statuses: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status} for kind, status in statuses.items()]}


def test_a_condition_is_one_series_by_the_status_that_it_has_now() -> None:
    objects = Objects()
    objects.has(MODEL_DEPLOYMENTS, "m", conditions(Ready="False", Available="Unknown"))
    objects.has(MODEL_DEPLOYMENTS, "new", None)
    place = tuple(PLACE.values())
    assert objects.series("millrace_object_condition") == {
        (*place, "Ready", "False"): 1,
        (*place, "Available", "Unknown"): 1,
    }
    objects.has(MODEL_DEPLOYMENTS, "m", conditions(Ready="True"))
    assert objects.series("millrace_object_condition") == {(*place, "Ready", "True"): 1}


def test_the_split_is_what_the_route_has() -> None:
    objects = Objects()
    objects.has(EXPERIMENTS, "e", {"weights": {"desired": {"a": 50, "b": 50}, "applied": {"a": 90, "b": 10}}})
    objects.has(EXPERIMENTS, "waits", {"weights": {"desired": {"a": 50, "b": 50}}})
    assert objects.series("millrace_experiment_weight_percent") == {("shop", "e", "a"): 90, ("shop", "e", "b"): 10}
