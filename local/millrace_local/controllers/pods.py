"""What a pod's status says about it, in the words the controllers decide by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from millrace_core.api.conditions import find
from millrace_core.base import timestamps
from millrace_kube.resources import Object, deleting

FINISHED = ("Succeeded", "Failed")


def phase(pod: Object) -> str:
    """The pod's phase; one without a status is Pending."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_finished(pod: Object) -> bool:
    """Whether all its containers have ended for good."""
    return phase(pod) in FINISHED


def is_active(pod: Object) -> bool:
    """Whether it runs or will run, and is not being deleted."""
    return not is_finished(pod) and not deleting(pod)


def ready_since(pod: Object) -> datetime | None:
    """Since when it is ready; None while it is not."""
    found = find((pod.get("status") or {}).get("conditions"), "Ready")
    if found is None or found.get("status") != "True":
        return None
    return timestamps.parse(found["lastTransitionTime"])


def is_ready(pod: Object) -> bool:
    """Whether its Ready condition is True."""
    return ready_since(pod) is not None


def until_available(pod: Object, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until it has been ready for ``min_ready_seconds``: 0 when it has, None while it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, (since + timedelta(seconds=min_ready_seconds) - now).total_seconds())


def created(obj: Object) -> datetime:
    """When the object was created."""
    return timestamps.parse(obj["metadata"]["creationTimestamp"])


def doomed_first(pods: Iterable[Object]) -> list[Object]:
    """The pods in the order in which to delete them: those that serve least first.

    Unplaced before placed, Pending before running, unready before ready, younger before older.
    """
    return sorted(
        pods,
        key=lambda pod: (
            bool(pod["spec"].get("nodeName")),
            phase(pod) != "Pending",
            is_ready(pod),
            -created(pod).timestamp(),
            pod["metadata"]["name"],
        ),
    )


def node_name(pod: Object) -> Iterator[str]:
    """The node of a pod that takes up room there: an index of informers."""
    if pod["spec"].get("nodeName") and not is_finished(pod):
        yield pod["spec"]["nodeName"]


def pod_of(template: Object, *, name: str, namespace: str, owner: Object) -> Object:
    """A pod of a pod template: its labels, annotations and spec, under ``name``, with ``owner`` as controller."""
    metadata = template.get("metadata") or {}
    inherited = {field: metadata[field] for field in ("labels", "annotations", "finalizers") if metadata.get(field)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**inherited, "name": name, "namespace": namespace, "ownerReferences": [owner]},
        "spec": dict(template.get("spec") or {}),
    }
