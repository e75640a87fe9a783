"""What a pod's status says about it, in the words the controllers decide by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from millrace_local.client.conditions import condition
from millrace_local.client.resources import Obj
from millrace_local.client.times import moment_of
from millrace_local.controllers.owners import is_deleted

FINISHED = ("Succeeded", "Failed")


def phase(pod: Obj) -> str:
    """The pod's phase; one without a status is Pending."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_finished(pod: Obj) -> bool:
    """Whether all its containers have ended for good."""
    return phase(pod) in FINISHED


def is_active(pod: Obj) -> bool:
    """Whether it runs or will run, and is not being deleted."""
    return not is_finished(pod) and not is_deleted(pod)


def ready_since(pod: Obj) -> datetime | None:
    """Since when it is ready; None while it is not."""
    found = condition((pod.get("status") or {}).get("conditions"), "Ready")
    if found is None or found.get("status") != "True":
        return None
    return moment_of(found["lastTransitionTime"])


def is_ready(pod: Obj) -> bool:
    """Whether its Ready condition is True."""
    return ready_since(pod) is not None


def until_available(pod: Obj, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until it has been ready for ``min_ready_seconds``: 0 when it has, None while it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, (since + timedelta(seconds=min_ready_seconds) - now).total_seconds())


def created(obj: Obj) -> datetime:
    """When the object was created."""
    return moment_of(obj["metadata"]["creationTimestamp"])


def doomed_first(pods: Iterable[Obj]) -> list[Obj]:
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


def node_name(pod: Obj) -> Iterator[str]:
    """The node of a pod that takes up room there: an index of informers."""
    if pod["spec"].get("nodeName") and not is_finished(pod):
        yield pod["spec"]["nodeName"]
