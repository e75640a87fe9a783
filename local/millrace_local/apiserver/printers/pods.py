"""Columns of pods."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace_local.apiserver.columns import AGE, NAME, TableColumn, age
from millrace_local.apiserver.jsonpath import value_at

Obj = dict[str, Any]


def _statuses(pod: Obj, field: str = "containerStatuses") -> list[Obj]:
    return (pod.get("status") or {}).get(field) or []


def _ready(pod: Obj, _: datetime) -> str:
    ready = sum(bool(status.get("ready")) for status in _statuses(pod))
    return f"{ready}/{len(pod['spec'].get('containers') or ())}"


def _ended(state: Obj) -> str:
    """The reason of a terminated state, or its signal or exit code."""
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def _initializing(pod: Obj) -> str:
    """The state of the first unfinished init container; empty when all are finished."""
    containers = pod["spec"].get("initContainers") or ()
    total = len(containers)
    for index, status in enumerate(_statuses(pod, "initContainerStatuses")):
        state = status.get("state") or {}
        if "terminated" in state:
            if state["terminated"].get("exitCode", 0) == 0:
                continue
            return f"Init:{_ended(state['terminated'])}"
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        if not status.get("started") or index >= total or "restartPolicy" not in containers[index]:
            return f"Init:{index}/{total}"
    return ""


def _running(pod: Obj, phase: str) -> str:
    reason, any_running = phase, False
    for status in reversed(_statuses(pod)):
        state = status.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting:
            reason = waiting
        elif "terminated" in state:
            reason = _ended(state["terminated"])
        elif status.get("ready") and "running" in state:
            any_running = True
    if reason == "Completed" and any_running:
        conditions = value_at(pod, "status.conditions") or ()
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return "Running" if ready else "NotReady"
    return reason


def status(pod: Obj, _: datetime) -> str:
    """The pod's status in one word, as kubectl shows it."""
    if "deletionTimestamp" in pod["metadata"]:
        return "Unknown" if value_at(pod, "status.reason") == "NodeLost" else "Terminating"
    phase = value_at(pod, "status.reason") or value_at(pod, "status.phase") or "Unknown"
    return _initializing(pod) or _running(pod, phase)


def _restarts(pod: Obj, now: datetime) -> str:
    statuses = _statuses(pod)
    count = sum(status.get("restartCount", 0) for status in statuses)
    ends = [end for status in statuses if (end := value_at(status, "lastState.terminated.finishedAt"))]
    return f"{count} ({age(max(ends), now)} ago)" if count and ends else str(count)


def _gates(pod: Obj, _: datetime) -> str:
    gates = pod["spec"].get("readinessGates")
    if not gates:
        return "<none>"
    true = {c["type"] for c in value_at(pod, "status.conditions") or () if c["status"] == "True"}
    return f"{sum(gate['conditionType'] in true for gate in gates)}/{len(gates)}"


PODS = [
    NAME,
    TableColumn("Ready", _ready, description="The aggregate readiness state of this pod for accepting traffic."),
    TableColumn("Status", status, description="The aggregate status of the containers in this pod."),
    TableColumn(
        "Restarts", _restarts, description="The number of times the containers in this pod have been restarted."
    ),
    AGE,
    TableColumn("IP", lambda pod, _: value_at(pod, "status.podIP") or "<none>", priority=1),
    TableColumn("Node", lambda pod, _: pod["spec"].get("nodeName") or "<none>", priority=1),
    TableColumn("Nominated Node", lambda pod, _: value_at(pod, "status.nominatedNodeName") or "<none>", priority=1),
    TableColumn("Readiness Gates", _gates, priority=1),
]
