"""Feature views for people: what they are and how far they are, from the definition, the object, store and registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from millrace_core.features.definition.definition import Definition
from millrace_core.features.types import times

if TYPE_CHECKING:
    from millrace.sdk.registry import Registry
    from millrace_data.online.store import Store

_RUNS: Final = 5
# Not where rows come from, but how they are read.
_OF_ALL_SOURCES: Final = frozenset({"timestampField", "createdTimestampField", "where", "credentialsSecretRef"})


def summary(definition: Definition, document: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a list."""
    spec: Mapping[str, Any] = document.get("spec") or {}
    status: Mapping[str, Any] = document.get("status") or {}
    made: dict[str, Any] = {
        "name": definition.view,
        "entities": [key.name for key in definition.entities],
        "features": len(definition.features),
        "source": source(spec.get("source") or {}),
        "ttl": spec.get("ttl"),
        "online": definition.online,
        "owner": spec.get("owner"),
    }
    if status:
        made |= {"watermark": status.get("watermark"), "ready": _condition(status, "Ready")}
    return made


def details(definition: Definition, document: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a definition and its object say."""
    spec: Mapping[str, Any] = document.get("spec") or {}
    status: Mapping[str, Any] = document.get("status") or {}
    materialization: Mapping[str, Any] = spec.get("materialization") or {}
    made: dict[str, Any] = {
        "name": definition.view,
        "namespace": definition.project,
        "description": spec.get("description"),
        "owner": spec.get("owner"),
        "tags": spec.get("tags"),
        "entities": [{"name": key.name, "type": key.type} for key in definition.entities],
        "features": [feature(each, definition) for each in spec.get("features") or ()],
        "requestFields": spec.get("requestFields"),
        "source": spec.get("source"),
        "aggregation": spec.get("aggregation"),
        "ttl": spec.get("ttl"),
        "online": definition.online,
        "schedule": materialization.get("schedule"),
        "lag": materialization.get("lag"),
        "startFrom": materialization.get("startFrom"),
        "quality": spec.get("quality"),
        "schemaHash": definition.schema_hash,
        "status": status or None,
    }
    return {name: value for name, value in made.items() if value is not None}


def feature(spec: Mapping[str, Any], definition: Definition) -> dict[str, Any]:
    """A feature with its type and, in one text, what it is made of."""
    if aggregate := spec.get("aggregate"):
        function, column = aggregate["function"], aggregate.get("column") or "*"
        quantile = f", {aggregate['quantile']}" if aggregate.get("quantile") is not None else ""
        kind, of = "aggregate", f"{function}({column}{quantile}) over {aggregate['window']}"
    elif expression := spec.get("expression"):
        kind, of = "on demand" if definition.feature[spec["name"]].on_demand else "expression", expression
    else:
        kind, of = "column", spec.get("column") or spec["name"]
    return {"name": spec["name"], "type": spec["type"], "kind": kind, "of": of}


def source(spec: Mapping[str, Any]) -> str:
    """Where rows come from, in one text."""
    for kind, where in spec.items():
        if kind not in _OF_ALL_SOURCES and isinstance(where, Mapping):
            place = where.get("uri") or where.get("table") or where.get("query") or ""
            return f"{kind} {place}".strip()
    return ""


def store_state(definition: Definition, store: Store) -> dict[str, Any]:
    """How far the online store is: ``watermark`` and ``keys``."""
    watermark = store.watermark(definition)
    return {
        "watermark": None if watermark is None else times.render(watermark),
        "keys": store.count(definition.project, definition.view),
    }


def uses(registry: Registry, project: str, view: str) -> dict[str, Any]:
    """The newest runs of a view, and what is made of it."""
    lineage = registry.lineage(project, view)
    return {
        "runs": registry.runs(project, view, _RUNS),
        "datasets": lineage["datasets"],
        "modelDeployments": lineage["modelDeployments"],
    }


def _condition(status: Mapping[str, Any], kind: str) -> str | None:
    return next((each["status"] for each in status.get("conditions") or () if each["type"] == kind), None)
