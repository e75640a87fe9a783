"""Conversion between the stored version of a resource and the served ones.

CRD versions convert by their ``apiVersion`` alone (strategy None). Two built-in kinds have versions of different
shape: events, stored as core ``v1``, and autoscalers, stored as ``autoscaling/v2``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from millrace_local.apiserver.resources import ApiResource
from millrace_local.apiserver.store import StoreEntry

_Convert = Callable[[dict[str, Any]], dict[str, Any]]

#: events.k8s.io/v1 name → core v1 name
_EVENT_FIELDS = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_EVENT_FIELDS_BACK = {core: new for new, core in _EVENT_FIELDS.items()}


def _renamed(obj: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in obj.items()}


def _scaler_to_v2(obj: dict[str, Any]) -> dict[str, Any]:
    spec = dict(obj.get("spec") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
        spec["metrics"] = [{"type": "Resource", "resource": resource}]
    return {**obj, "spec": spec}


def _scaler_to_v1(obj: dict[str, Any]) -> dict[str, Any]:
    spec = dict(obj.get("spec") or {})
    for metric in spec.pop("metrics", None) or ():
        resource = metric.get("resource") or {}
        target = resource.get("target") or {}
        if resource.get("name") == "cpu" and "averageUtilization" in target:
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
    spec.pop("behavior", None)
    status = {k: v for k, v in (obj.get("status") or {}).items() if k not in ("conditions", "currentMetrics")}
    return {**obj, "spec": spec, **({"status": status} if "status" in obj else {})}


_TO_STORED: dict[tuple[str, str], _Convert] = {
    ("events.k8s.io/v1", "Event"): lambda obj: _renamed(obj, _EVENT_FIELDS),
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _scaler_to_v2,
}
_TO_SERVED: dict[tuple[str, str], _Convert] = {
    ("events.k8s.io/v1", "Event"): lambda obj: _renamed(obj, _EVENT_FIELDS_BACK),
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _scaler_to_v1,
}


def to_stored(obj: dict[str, Any], resource: ApiResource) -> dict[str, Any]:
    """An object in its storage version, without apiVersion and kind."""
    bare = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind")}
    convert = _TO_STORED.get((resource.api_version, resource.kind))
    return convert(bare) if convert else bare


def served_object(entry: StoreEntry, resource: ApiResource) -> dict[str, Any]:
    """A stored object in the version of ``resource``, with apiVersion and kind first."""
    obj = entry.object()
    convert = _TO_SERVED.get((resource.api_version, resource.kind))
    return {"apiVersion": resource.api_version, "kind": resource.kind, **(convert(obj) if convert else obj)}


def served(entry: StoreEntry, resource: ApiResource) -> bytes:
    """A stored object as JSON in the version of ``resource``."""
    if (resource.api_version, resource.kind) in _TO_SERVED:
        return orjson.dumps(served_object(entry, resource))
    return resource.head + entry.body
