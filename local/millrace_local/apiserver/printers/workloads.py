"""Columns of the workloads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace_local.apiserver.columns import AGE, NAME, TableColumn, age, duration, parse_time
from millrace_local.apiserver.jsonpath import value_at
from millrace_local.apiserver.scale import selector_text

Obj = dict[str, Any]


def _number(name: str, path: str) -> TableColumn:
    return TableColumn(name, lambda obj, _: value_at(obj, path) or 0, type="integer")


def _pod_spec(obj: Obj) -> Obj:
    spec = obj["spec"].get("jobTemplate", {}).get("spec") or obj["spec"]
    return (spec.get("template") or {}).get("spec") or {}


def _selector(obj: Obj, _: datetime) -> str:
    return selector_text(obj["spec"].get("selector") or {}) or "<none>"


_CONTAINERS = TableColumn(
    "Containers", lambda obj, _: ",".join(c["name"] for c in _pod_spec(obj).get("containers") or ()), priority=1
)
_IMAGES = TableColumn(
    "Images", lambda obj, _: ",".join(c.get("image", "") for c in _pod_spec(obj).get("containers") or ()), priority=1
)
_SELECTOR = TableColumn("Selector", _selector, priority=1)
_WIDE = [_CONTAINERS, _IMAGES, _SELECTOR]


def _ready_of_wanted(obj: Obj, _: datetime) -> str:
    return f"{value_at(obj, 'status.readyReplicas') or 0}/{obj['spec'].get('replicas', 0)}"


DEPLOYMENTS = [
    NAME,
    TableColumn("Ready", _ready_of_wanted, description="Number of the pod with ready state"),
    TableColumn("Up-to-date", lambda obj, _: str(value_at(obj, "status.updatedReplicas") or 0)),
    TableColumn("Available", lambda obj, _: str(value_at(obj, "status.availableReplicas") or 0)),
    AGE,
    *_WIDE,
]
REPLICA_SETS = [
    NAME,
    _number("Desired", "spec.replicas"),
    _number("Current", "status.replicas"),
    _number("Ready", "status.readyReplicas"),
    AGE,
    *_WIDE,
]
STATEFUL_SETS = [NAME, TableColumn("Ready", _ready_of_wanted), AGE, _CONTAINERS, _IMAGES]


def _node_selector(obj: Obj, _: datetime) -> str:
    return selector_text(_pod_spec(obj).get("nodeSelector") or {}) or "<none>"


DAEMON_SETS = [
    NAME,
    _number("Desired", "status.desiredNumberScheduled"),
    _number("Current", "status.currentNumberScheduled"),
    _number("Ready", "status.numberReady"),
    _number("Up-to-date", "status.updatedNumberScheduled"),
    _number("Available", "status.numberAvailable"),
    TableColumn("Node Selector", _node_selector),
    AGE,
    *_WIDE,
]


def _job_status(job: Obj, _: datetime) -> str:
    true = {c["type"]: c for c in value_at(job, "status.conditions") or () if c["status"] == "True"}
    for kind, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if kind in true:
            return shown
    if "deletionTimestamp" in job["metadata"]:
        return "Terminating"
    for kind, shown in (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget")):
        if kind in true:
            return shown
    return "SuccessCriteriaMet" if "SuccessCriteriaMet" in true else "Running"


def _completions(job: Obj, _: datetime) -> str:
    succeeded, wanted = value_at(job, "status.succeeded") or 0, job["spec"].get("completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallel = job["spec"].get("parallelism") or 0
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


def _job_duration(job: Obj, now: datetime) -> str:
    start = parse_time(value_at(job, "status.startTime") or "")
    if start is None:
        return ""
    end = parse_time(value_at(job, "status.completionTime") or "") or now
    return duration((end - start).total_seconds())


JOBS = [
    NAME,
    TableColumn("Status", _job_status, description="Status of the job."),
    TableColumn("Completions", _completions),
    TableColumn("Duration", _job_duration, description="Time required to complete the job."),
    AGE,
    *_WIDE,
]


def _last_schedule(job: Obj, now: datetime) -> str:
    last = value_at(job, "status.lastScheduleTime")
    return age(last, now) if last else "<none>"


CRON_JOBS = [
    NAME,
    TableColumn("Schedule", lambda job, _: job["spec"]["schedule"]),
    TableColumn("Timezone", lambda job, _: job["spec"].get("timeZone") or "<none>"),
    TableColumn("Suspend", lambda job, _: str(bool(job["spec"].get("suspend"))).capitalize(), type="boolean"),
    TableColumn("Active", lambda job, _: len(value_at(job, "status.active") or ()), type="integer"),
    TableColumn("Last Schedule", _last_schedule),
    AGE,
    *_WIDE,
]


def _controller(obj: Obj, _: datetime) -> str:
    owners = [o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")]
    return (
        f"{owners[0]['kind'].lower()}.{owners[0]['apiVersion'].partition('/')[0]}/{owners[0]['name']}"
        if owners
        else "<none>"
    )


REVISIONS = [
    NAME,
    TableColumn("Controller", _controller),
    TableColumn("Revision", lambda obj, _: obj.get("revision", 0), type="integer"),
    AGE,
]
