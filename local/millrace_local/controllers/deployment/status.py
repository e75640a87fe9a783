"""A Deployment's status: counts and the conditions Available and Progressing, as ``kubectl rollout status`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from millrace_core.api.conditions import find
from millrace_core.base import timestamps
from millrace_kube.conditions import with_condition, without
from millrace_kube.resources import Object
from millrace_kube.times import stamp
from millrace_local.controllers.deployment.rolling import Bounds

DEFAULT_DEADLINE = 600
# Kubernetes' own value for "no deadline" (the largest int32).
NO_DEADLINE = 2147483647
NEW_SET_AVAILABLE = "NewReplicaSetAvailable"
DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"

# (status, where None is Unknown; reason; message)
Verdict = tuple[bool | None, str, str]


def counts(deployment: Object, new: Object | None, sets: Sequence[Object]) -> Object:
    """The replica counts of the status, over all ReplicaSets; zero counts are left out, as Kubernetes does."""

    def total(field: str, of: Sequence[Object]) -> int:
        return sum((item.get("status") or {}).get(field, 0) for item in of)

    replicas = total("replicas", sets)
    available = total("availableReplicas", sets)
    wanted = sum(item["spec"].get("replicas", 1) for item in sets)
    numbers = {
        "replicas": replicas,
        "updatedReplicas": total("replicas", [new] if new else []),
        "readyReplicas": total("readyReplicas", sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
        "collisionCount": (deployment.get("status") or {}).get("collisionCount", 0),
    }
    present = {name: number for name, number in numbers.items() if number}
    return {"observedGeneration": deployment["metadata"].get("generation", 0), **present}


def is_complete(deployment: Object, numbers: Object) -> bool:
    """Whether all wanted pods are of the present template and available, and no other is left."""
    wanted = deployment["spec"].get("replicas", 1)
    fields = ("updatedReplicas", "replicas", "availableReplicas")
    return all(numbers.get(field, 0) == wanted for field in fields)


def status(
    deployment: Object, new: Object | None, sets: Sequence[Object], limits: Bounds, *, created: str, now: datetime
) -> Object:
    """The whole status. ``created`` names the ReplicaSet that this very plan creates, "" for none."""
    before = deployment.get("status") or {}
    numbers = counts(deployment, new, sets)
    conditions: list[Object] = list(before.get("conditions") or [])
    if numbers.get("availableReplicas", 0) >= limits.least:
        available = (True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        available = (False, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    conditions = _set(conditions, "Available", available, now)
    if _deadline(deployment) == NO_DEADLINE:
        return {**numbers, "conditions": without(conditions, "Progressing")}
    name = created or (new["metadata"]["name"] if new else "")
    if verdict := _progress(deployment, numbers, name, fresh=bool(created), now=now):
        renew = verdict[1] == "ReplicaSetUpdated"
        conditions = _set(conditions, "Progressing", verdict, now, renew=renew)
    return {**numbers, "conditions": conditions}


def _progress(deployment: Object, numbers: Object, name: str, *, fresh: bool, now: datetime) -> Verdict | None:
    """What Progressing shall say; the first case that holds, None to leave it as it is."""
    before = deployment.get("status") or {}
    known = find(before.get("conditions"), "Progressing")
    reason = known["reason"] if known else ""
    settled = reason == NEW_SET_AVAILABLE and numbers.get("replicas", 0) == numbers.get("updatedReplicas", 0)
    paused = bool(deployment["spec"].get("paused"))
    cases: tuple[tuple[bool, Verdict | None], ...] = (
        # A rollout that was given up stays so, paused or not.
        (paused and reason == DEADLINE_EXCEEDED, None),
        (paused, (None, "DeploymentPaused", "Deployment is paused")),
        (fresh, (True, "NewReplicaSetCreated", f'Created new replica set "{name}"')),
        # Once rolled out, a pod that comes and goes is no rollout.
        (settled, None),
        (
            is_complete(deployment, numbers),
            (True, NEW_SET_AVAILABLE, f'ReplicaSet "{name}" has successfully progressed.'),
        ),
        (known is None, (True, "FoundNewReplicaSet", f'Found new replica set "{name}"')),
        (reason == "DeploymentPaused", (None, "DeploymentResumed", "Deployment is resumed")),
        (_moved(before, numbers), (True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')),
        (
            seconds_left(deployment, before.get("conditions"), now) == 0,
            (False, DEADLINE_EXCEEDED, f'ReplicaSet "{name}" has timed out progressing.'),
        ),
    )
    return next((verdict for holds, verdict in cases if holds), None)


def _moved(before: Object, after: Object) -> bool:
    def old_pods(numbers: Object) -> int:
        return int(numbers.get("replicas", 0)) - int(numbers.get("updatedReplicas", 0))

    grew = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return old_pods(after) < old_pods(before) or any(after.get(f, 0) > before.get(f, 0) for f in grew)


def seconds_left(deployment: Object, conditions: Sequence[Object] | None, now: datetime) -> float | None:
    """Seconds until a rollout that does not move is given up; None when none is under way or it has no deadline."""
    known = find(conditions, "Progressing")
    deadline = _deadline(deployment)
    if known is None or deadline == NO_DEADLINE or deployment["spec"].get("paused"):
        return None
    if known["reason"] in (NEW_SET_AVAILABLE, DEADLINE_EXCEEDED):
        return None
    end = timestamps.parse(known["lastUpdateTime"]) + timedelta(seconds=deadline)
    return max(0.0, (end - now).total_seconds())


def _deadline(deployment: Object) -> int:
    return int(deployment["spec"].get("progressDeadlineSeconds", DEFAULT_DEADLINE))


def _set(conditions: list[Object], kind: str, verdict: Verdict, now: datetime, *, renew: bool = False) -> list[Object]:
    """Sets a condition; its update time moves only with a change, or when it is to be renewed."""
    status, reason, message = verdict
    updated = with_condition(conditions, kind, status, reason, message, now=now, lastUpdateTime=stamp(now))
    known, fresh = find(conditions, kind), find(updated, kind)
    same = known and fresh and all(known[f] == fresh[f] for f in ("status", "reason", "message"))
    return conditions if same and not renew else updated
