"""How far a Job is: its status so far and its pods, counted so that none is missed and none counted twice.

A finished pod is first noted by uid in ``status.uncountedTerminatedPods``, then loses its finalizer, then moves from
there to the counter. Each step is taken from what is stored, so any of them may be interrupted and repeated. Indexes
that succeeded are a set, which needs no such care.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millrace_kube.resources import Object, deleting
from millrace_local.controllers.job import indexes, per_index
from millrace_local.controllers.job.children import is_tracked
from millrace_local.controllers.job.failures import Judged, judge
from millrace_local.controllers.pods import is_active, is_finished, phase


@dataclass(frozen=True)
class Tally:
    """A Job in numbers.

    Attributes:
        active: pods that run or will run.
        terminating: pods being deleted that have not ended.
        succeeded, failed: counts with the uncounted ones (of an Indexed Job: the number of succeeded indexes).
        counted_succeeded, counted_failed: counts without them, as the status shows them.
        uncounted: uids noted but not counted yet, by outcome.
        completed: the succeeded indexes of an Indexed Job.
        counting: pods to release from their finalizer once the status is written.
        failures: all failed pods that are there, but for those that the failure policy ignores.
        judged: what the failure policy says of each failed pod, by uid.
        failed_indexes: indexes out of tries, in a Job with ``backoffLimitPerIndex``.
        last_failed: in such a Job, the latest failed pod of each index that is neither done nor out of tries.
        fatal: why the failure policy ends the Job; "" when it does not.
    """

    active: list[Object]
    terminating: list[Object]
    succeeded: int
    failed: int
    counted_succeeded: int
    counted_failed: int
    uncounted: dict[str, list[str]]
    completed: set[int]
    counting: list[Object]
    failures: list[Object]
    judged: dict[str, Judged]
    failed_indexes: set[int]
    last_failed: dict[int, Object]
    fatal: str

    @property
    def is_counted(self) -> bool:
        """Whether nothing is left to count."""
        return not self.counting and not any(self.uncounted.values())


def replaces_failed_only(spec: Object) -> bool:
    """Whether a pod counts as failed only when it has ended, not as soon as its deletion begins."""
    default = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    return bool(spec.get("podReplacementPolicy", default) == "Failed")


def tally(job: Object, pods: Sequence[Object], *, ended: bool = False) -> Tally:
    """Counts the pods that the Job controls, on top of its status. ``ended``: nothing is tried again."""
    spec, status = job["spec"], job.get("status") or {}
    indexed = spec.get("completionMode") == "Indexed"
    noted = status.get("uncountedTerminatedPods") or {}
    tracked = {pod["metadata"]["uid"] for pod in pods if is_tracked(pod)}
    uncounted = {outcome: [u for u in noted.get(outcome) or [] if u in tracked] for outcome in ("succeeded", "failed")}
    settled = {outcome: len(noted.get(outcome) or []) - len(uncounted[outcome]) for outcome in uncounted}
    completed = indexes.parse(status.get("completedIndexes", ""), spec.get("completions", 0)) if indexed else set()
    judged = {pod["metadata"]["uid"]: judge(pod, spec.get("podFailurePolicy")) for pod in pods if _failed(pod, spec)}
    failed_indexes, last_failed = _failed_indexes(job, pods, judged, completed)
    counting = _counting(pods, spec, last_failed, ended=ended)
    for pod in counting:
        uid = pod["metadata"]["uid"]
        if phase(pod) == "Succeeded" and indexed:
            completed |= {indexes.index_of(pod)} & set(range(spec.get("completions", 0)))
        elif phase(pod) == "Succeeded":
            _note(uncounted["succeeded"], uid)
        elif judged[uid].verdict != "Ignore":
            _note(uncounted["failed"], uid)
    counted_failed = status.get("failed", 0) + settled["failed"]
    counted_succeeded = len(completed) if indexed else status.get("succeeded", 0) + settled["succeeded"]
    return Tally(
        active=[pod for pod in pods if is_active(pod)],
        terminating=[pod for pod in pods if deleting(pod) and not is_finished(pod)],
        succeeded=counted_succeeded + len(uncounted["succeeded"]),
        failed=counted_failed + len(uncounted["failed"]),
        counted_succeeded=counted_succeeded,
        counted_failed=counted_failed,
        uncounted=uncounted,
        completed=completed,
        counting=counting,
        failures=[pod for pod in pods if _blamed(judged.get(pod["metadata"]["uid"]))],
        judged=judged,
        failed_indexes=failed_indexes,
        last_failed=last_failed,
        fatal=next((verdict.message for verdict in judged.values() if verdict.verdict == "FailJob"), ""),
    )


def _failed_indexes(
    job: Object, pods: Sequence[Object], judged: Mapping[str, Judged], completed: set[int]
) -> tuple[set[int], dict[int, Object]]:
    """In a Job with a limit for each index: those out of tries, and the latest failed pod of each that is not."""
    spec, status = job["spec"], job.get("status") or {}
    tries = per_index.limit(spec)
    if tries is None:
        return set(), {}
    done = {indexes.index_of(pod) for pod in pods if phase(pod) == "Succeeded"} | completed
    failed = [pod for pod in pods if pod["metadata"]["uid"] in judged]
    noted = indexes.parse(status.get("failedIndexes", ""), spec["completions"])
    out = (noted | per_index.newly_failed(failed, judged, tries)) - done
    return out, {i: pod for i, pod in per_index.last_failed(failed).items() if i not in out | done}


def _counting(pods: Sequence[Object], spec: Object, last_failed: Mapping[int, Object], *, ended: bool) -> list[Object]:
    """Pods that ended, but for the last failed one of an index that is to be tried again: it tells how often it was."""
    replaced = {indexes.index_of(pod) for pod in pods if is_active(pod)}
    kept = {pod["metadata"]["uid"] for i, pod in last_failed.items() if i not in replaced and not ended}
    return [
        pod
        for pod in pods
        if is_tracked(pod) and (is_finished(pod) or _failed(pod, spec)) and pod["metadata"]["uid"] not in kept
    ]


def _failed(pod: Object, spec: Object) -> bool:
    if phase(pod) == "Failed":
        return True
    return deleting(pod) and phase(pod) != "Succeeded" and not replaces_failed_only(spec)


def _blamed(judged: Judged | None) -> bool:
    return judged is not None and judged.verdict != "Ignore"


def _note(uids: list[str], uid: str) -> None:
    if uid not in uids:
        uids.append(uid)
