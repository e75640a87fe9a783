"""The gate Jobs of a ModelDeployment, read together with their pods, which say what they found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from millrace_core.base import timestamps
from millrace_kube.resources import Object, deleting, name_of
from millrace_operators.compute import memory_limits
from millrace_operators.modeldeployment import pods as pod_states
from millrace_operators.modeldeployment.gate_job import CHAMPION, GATE
from millrace_operators.modeldeployment.pods import Failure

# Watches of Jobs and of pods are not in step; and a Job that gets no pod for so long is refused them.
GRACE: Final = timedelta(seconds=15)


@dataclass(frozen=True)
class GateRun:
    """One Job.

    Attributes:
        ended: whether nothing more will come of it.
        result: the judgement that it left; None: none.
        failure: why there is none, or why one at work gets nowhere.
        wake: when to look again, though nobody tells of anything.
    """

    name: str
    ended: bool
    result: Mapping[str, Any] | None = None
    failure: Failure | None = None
    wake: datetime | None = None


def read(job: Object, pods: Sequence[Object], now: datetime) -> GateRun:
    """What is known of a Job now."""
    name, status = name_of(job), job.get("status") or {}
    true = {item["type"]: item for item in status.get("conditions") or () if item.get("status") == "True"}
    end = true.get("Complete") or true.get("Failed")
    if end is None:
        stuck = _stuck(job, pods, now)
        born = timestamps.parse(job["metadata"]["creationTimestamp"])
        return GateRun(name, ended=False, failure=stuck, wake=born + GRACE if not pods and now < born + GRACE else None)
    result = _result(pods)
    if result is not None:
        return GateRun(name, ended=True, result=result)
    ended_at = timestamps.parse(str(status.get("completionTime") or end.get("lastTransitionTime")))
    failure = _failure(job, pods)
    if failure is None and now < ended_at + GRACE:
        return GateRun(name, ended=False, wake=ended_at + GRACE)
    if failure is None and "Failed" in true:
        failure = Failure(str(end.get("reason") or "JobFailed"), f"{end.get('message') or 'it left no message'}")
    return GateRun(
        name, ended=True, failure=failure or Failure("ResultLost", "its pod is gone, and the result with it")
    )


def _result(pods: Iterable[Object]) -> Mapping[str, Any] | None:
    """The judgement in the termination message of a container that succeeded."""
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated") or {}
            if container.get("name") == GATE and ended.get("exitCode") == 0:
                found = _json(ended.get("message"))
                if isinstance(found.get("verdict"), str) and isinstance(found.get("rules"), list):
                    return found
    return None


def _stuck(job: Object, pods: Sequence[Object], now: datetime) -> Failure | None:
    living = [pod for pod in pods if not deleting(pod)]
    found = _failure(job, living)
    if found is not None:
        return found
    if job["spec"].get("suspend"):
        return Failure("JobSuspended", "spec.suspend is true, so it has no pods")
    born = timestamps.parse(job["metadata"]["creationTimestamp"])
    if not living and now >= born + GRACE and not (job.get("status") or {}).get("active"):
        return Failure("NoPods", f"it has no pods; `kubectl describe job {name_of(job)}` says who refuses them")
    return None


def _failure(job: Object, pods: Iterable[Object]) -> Failure | None:
    """What keeps a pod from judging; of the champion's model it is said whose it is."""
    limits, seen = memory_limits(job), list(pods)
    own = pod_states.failure((_with(pod, lambda name: name != CHAMPION) for pod in seen), limits)
    if own is not None:
        return own
    of_champion = pod_states.failure((_with(pod, lambda name: name == CHAMPION) for pod in seen), limits)
    if of_champion is None:
        return None
    return Failure(of_champion.reason, f"the champion's model cannot be compared with: {of_champion.message}")


def _with(pod: Object, wanted: Any) -> Object:
    status = pod.get("status") or {}
    kept = [each for each in status.get("initContainerStatuses") or () if wanted(each.get("name"))]
    return {**pod, "status": {**status, "initContainerStatuses": kept}}


def _json(text: object) -> Mapping[str, Any]:
    try:
        found = orjson.loads(str(text))
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, Mapping) else {}
