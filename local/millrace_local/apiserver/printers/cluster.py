"""Columns of nodes, namespaces, events, autoscalers and other cluster-wide kinds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace_local.apiserver.columns import AGE, NAME, TableColumn, age
from millrace_local.apiserver.jsonpath import value_at

Obj = dict[str, Any]
_ROLE = "node-role.kubernetes.io/"
CREATED_AT = [NAME, TableColumn("Created At", lambda obj, _: obj["metadata"].get("creationTimestamp"), type="date")]
NAMESPACES = [NAME, TableColumn("Status", lambda obj, _: value_at(obj, "status.phase") or ""), AGE]


def _node_status(node: Obj, _: datetime) -> str:
    ready = next((c for c in value_at(node, "status.conditions") or () if c["type"] == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Obj, _: datetime) -> str:
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE))) or "<none>"


def _address(kind: str) -> TableColumn:
    def read(node: Obj, _: datetime) -> str:
        found = value_at(node, "status.addresses") or ()
        return next((address["address"] for address in found if address["type"] == kind), "<none>")

    return TableColumn(kind.replace("IP", "-IP"), read, priority=1)


def _info(name: str, field: str, priority: int = 1) -> TableColumn:
    return TableColumn(
        name, lambda node, _: value_at(node, f"status.nodeInfo.{field}") or "<unknown>", priority=priority
    )


NODES = [
    NAME,
    TableColumn("Status", _node_status),
    TableColumn("Roles", _roles),
    AGE,
    _info("Version", "kubeletVersion", 0),
    _address("InternalIP"),
    _address("ExternalIP"),
    _info("OS-Image", "osImage"),
    _info("Kernel-Version", "kernelVersion"),
    _info("Container-Runtime", "containerRuntimeVersion"),
]


def _last_seen(event: Obj, now: datetime) -> str:
    series = (event.get("series") or {}).get("lastObservedTime")
    return age(series or event.get("lastTimestamp") or event.get("eventTime"), now)


def _first_seen(event: Obj, now: datetime) -> str:
    return age(event.get("firstTimestamp") or event.get("eventTime"), now)


def _involved(event: Obj) -> Obj:
    """What the event is about, under either of its names."""
    return event.get("involvedObject") or event.get("regarding") or {}


def _event_object(event: Obj, _: datetime) -> str:
    involved = _involved(event)
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def _event_source(event: Obj, _: datetime) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    return f"{component}, {source['host']}" if source.get("host") else component


def _event_count(event: Obj, _: datetime) -> int:
    series = (event.get("series") or {}).get("count")
    return int(series or event.get("count") or event.get("deprecatedCount") or 1)


EVENTS = [
    TableColumn("Last Seen", _last_seen),
    TableColumn("Type", lambda event, _: event.get("type")),
    TableColumn("Reason", lambda event, _: event.get("reason")),
    TableColumn("Object", _event_object),
    TableColumn("Subobject", lambda event, _: _involved(event).get("fieldPath") or "", priority=1),
    TableColumn("Source", _event_source, priority=1),
    TableColumn("Message", lambda event, _: (event.get("message") or event.get("note") or "").strip()),
    TableColumn("First Seen", _first_seen, priority=1),
    TableColumn("Count", _event_count, type="integer", priority=1),
    TableColumn("Name", lambda event, _: event["metadata"]["name"], format="name", priority=1),
]
LEASES = [NAME, TableColumn("Holder", lambda lease, _: value_at(lease, "spec.holderIdentity") or ""), AGE]


def _scaler_targets(scaler: Obj, _: datetime) -> str:
    current = value_at(scaler, "status.currentMetrics") or ()
    shown = []
    for index, metric in enumerate(scaler["spec"].get("metrics") or ()):
        source = next((value for value in metric.values() if isinstance(value, dict)), {})
        target = source.get("target") or {}
        now = next((v for v in current[index].values() if isinstance(v, dict)), {}) if index < len(current) else {}
        value, wanted = _measure(now.get("current") or {}), _measure(target)
        name = source.get("name") or (source.get("metric") or {}).get("name") or metric.get("type")
        shown.append(f"{name}: {value}/{wanted}")
    return ", ".join(shown) or "<none>"


def _measure(value: Obj) -> str:
    if value.get("averageUtilization") is not None:
        return f"{value['averageUtilization']}%"
    return str(value.get("averageValue") or value.get("value") or "<unknown>")


def _scaler_reference(scaler: Obj, _: datetime) -> str:
    target = scaler["spec"]["scaleTargetRef"]
    return f"{target['kind']}/{target['name']}"


SCALERS = [
    NAME,
    TableColumn("Reference", _scaler_reference),
    TableColumn("Targets", _scaler_targets),
    TableColumn("MinPods", lambda obj, _: str(obj["spec"].get("minReplicas", "<unset>"))),
    TableColumn("MaxPods", lambda obj, _: obj["spec"]["maxReplicas"], type="integer"),
    TableColumn("Replicas", lambda obj, _: value_at(obj, "status.currentReplicas") or 0, type="integer"),
    AGE,
]


def _bound(name: str) -> TableColumn:
    shown = "Min Available" if name == "minAvailable" else "Max Unavailable"
    return TableColumn(shown, lambda obj, _: str((obj.get("spec") or {}).get(name, "N/A")))


BUDGETS = [
    NAME,
    _bound("minAvailable"),
    _bound("maxUnavailable"),
    TableColumn("Allowed Disruptions", lambda obj, _: value_at(obj, "status.disruptionsAllowed") or 0, type="integer"),
    AGE,
]
ROLE_BINDINGS = [
    NAME,
    TableColumn("Role", lambda obj, _: f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}"),
    AGE,
]
PRIORITY_CLASSES = [
    NAME,
    TableColumn("Value", lambda obj, _: obj["value"], type="integer"),
    TableColumn("Global-Default", lambda obj, _: bool(obj.get("globalDefault")), type="boolean"),
    AGE,
]
