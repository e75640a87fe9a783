"""What a Job needs next: pods, the counting of those that ended, its end, and its own removal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from millrace_core.api.conditions import find, holds
from millrace_core.base import timestamps
from millrace_kube.conditions import with_condition
from millrace_kube.resources import JOBS, PODS, Object, deleting
from millrace_kube.times import stamp
from millrace_local.controllers.actions import Action, ActionPlan, Change, Create, Delete, EmitEvent, soonest
from millrace_local.controllers.job import indexes, per_index
from millrace_local.controllers.job.children import is_tracked, pod, untracked
from millrace_local.controllers.job.ending import Ending, deadline_left, ending, wanted_completions
from millrace_local.controllers.job.failures import seconds_to_wait
from millrace_local.controllers.job.tally import Tally, replaces_failed_only, tally
from millrace_local.controllers.naming import free_names
from millrace_local.controllers.pods import doomed_first, is_ready

# Kubernetes' own: 10 s after the first failure, doubled for each further one.
BACKOFF_SECONDS = 10.0
BURST = 500


@dataclass(frozen=True)
class _Step:
    """Work on pods, and what it means for the status."""

    actions: tuple[Action, ...] = ()
    made: int = 0
    removed: int = 0
    again: float | None = None


def plan(
    job: Object,
    pods: Sequence[Object],
    now: datetime,
    *,
    is_taken: Callable[[str], bool],
    backoff: float = BACKOFF_SECONDS,
) -> ActionPlan:
    """The next step.

    Args:
        job: the Job.
        pods: the pods that it controls.
        now: the present time.
        is_taken: whether a pod of this name exists in the namespace, whoever controls it.
        backoff: seconds to wait after the first failed pod.
    """
    conditions = (job.get("status") or {}).get("conditions")
    if deleting(job):
        return ActionPlan(_release(pods))
    if holds(conditions, "Complete") or holds(conditions, "Failed"):
        return _after_the_end(job, pods, now)
    count = tally(job, pods)
    end = ending(job, count, now)
    if end:
        count = tally(job, pods, ended=True)
        step = _stop(job, count.active, counted=not end.succeeded)
    elif job["spec"].get("suspend"):
        step = _stop(job, count.active, counted=False)
    else:
        step = _work(job, pods, count, now, backoff, is_taken)
    status = _status(job, count, step, end, now)
    write = Change(JOBS, job, {**job, "status": status}, "status")
    again = soonest(step.again, deadline_left(job, now))
    # Only what the status has noted may lose its finalizer, so the order of these matters.
    return ActionPlan((*step.actions, *_unsupported(job), write, *_release(count.counting), *_told(job, status)), again)


def _after_the_end(job: Object, pods: Sequence[Object], now: datetime) -> ActionPlan:
    ttl, status = job["spec"].get("ttlSecondsAfterFinished"), job["status"]
    release = _release(pods)
    if ttl is None:
        return ActionPlan(release)
    final = next(found for kind in ("Complete", "Failed") if (found := find(status["conditions"], kind)))
    left = (timestamps.parse(final["lastTransitionTime"]) + timedelta(seconds=ttl) - now).total_seconds()
    return ActionPlan((*release, Delete(JOBS, job)) if left <= 0 else release, left if left > 0 else None)


def _release(pods: Sequence[Object]) -> tuple[Action, ...]:
    return tuple(Change(PODS, child, untracked(child)) for child in pods if is_tracked(child))


def _stop(job: Object, doomed: Sequence[Object], *, counted: bool) -> _Step:
    """Deletes pods. Those that shall not count as failed lose their finalizer first."""
    actions: list[Action] = []
    for child in doomed:
        actions += _release([child]) if not counted else ()
        message = f"Deleted pod: {child['metadata']['name']}"
        actions += [Delete(PODS, child), EmitEvent(job, "SuccessfulDelete", message)]
    return _Step(tuple(actions), removed=len(doomed))


def _work(
    job: Object, pods: Sequence[Object], count: Tally, now: datetime, backoff: float, is_taken: Callable[[str], bool]
) -> _Step:
    """Makes or removes pods until as many as wanted are active."""
    spec = job["spec"]
    parallelism, completions = spec.get("parallelism", 1), wanted_completions(job)
    if completions is None:
        wanted = len(count.active) if count.succeeded else parallelism
    else:
        wanted = max(0, min(parallelism, completions - count.succeeded - len(count.failed_indexes)))
    indexed = spec.get("completionMode") == "Indexed"
    if wrong := _misplaced(count.active, completions or 0) if indexed else []:
        return _stop(job, wrong, counted=False)
    if len(count.active) > wanted:
        return _stop(job, doomed_first(count.active)[: len(count.active) - wanted], counted=False)
    occupied = [*count.active, *(count.terminating if replaces_failed_only(spec) else [])]
    amount = min(wanted - len(occupied), BURST)
    if amount <= 0:
        return _Step()
    present = count.completed | count.failed_indexes | {indexes.index_of(child) for child in occupied}
    if per_index.limit(spec) is not None:
        return _work_on_indexes(job, count, present, amount, now, backoff, is_taken)
    if wait := seconds_to_wait(pods, count.failures, backoff, now):
        return _Step(again=wait)
    chosen = list(indexes.missing(completions or 0, present, amount)) if indexed else [None] * amount
    return _make(job, chosen, is_taken, lambda _: {})


def _work_on_indexes(
    job: Object,
    count: Tally,
    present: set[int],
    amount: int,
    now: datetime,
    backoff: float,
    is_taken: Callable[[str], bool],
) -> _Step:
    """Makes pods of the lowest indexes that do not have to wait after a failure."""
    waits = {index: per_index.seconds_to_wait(last, backoff, now) for index, last in count.last_failed.items()}
    waiting = {index: wait for index, wait in waits.items() if wait > 0 and index not in present}
    chosen = indexes.missing(job["spec"]["completions"], present | set(waiting), amount)

    def tries(index: int) -> dict[str, str]:
        return per_index.tries_before(count.last_failed.get(index), count.judged)

    step = _make(job, chosen, is_taken, tries)
    return replace(step, again=min(waiting.values(), default=None))


def _make(
    job: Object,
    chosen: Sequence[int | None],
    is_taken: Callable[[str], bool],
    tries: Callable[[int], dict[str, str]],
) -> _Step:
    metadata = job["metadata"]
    actions: list[Action] = []
    plain = islice(free_names(metadata["name"], metadata["uid"], is_taken), len(chosen))
    for index, name in zip(chosen, plain, strict=True):
        if index is not None:
            base = f"{metadata['name'][:46]}-{index}"
            name = next(free_names(base, f"{metadata['uid']}/{index}", is_taken))  # noqa: PLW2901
        event = EmitEvent(job, "SuccessfulCreate", f"Created pod: {name}")
        carried = {} if index is None else tries(index)
        actions += [Create(PODS, pod(job, name, index, carried)), event]
    return _Step(tuple(actions), made=len(chosen))


def _misplaced(active: Sequence[Object], completions: int) -> list[Object]:
    """Active pods whose index is out of range, or that an older one has already."""
    seen: set[int] = set()
    wrong = []
    for child in reversed(doomed_first(active)):
        index = indexes.index_of(child)
        if index in seen or not 0 <= index < completions:
            wrong.append(child)
        seen.add(index)
    return wrong


def _status(job: Object, count: Tally, step: _Step, end: Ending | None, now: datetime) -> Object:
    before, spec = job.get("status") or {}, job["spec"]
    suspended = bool(spec.get("suspend")) and end is None
    active = len(count.active) + step.made - step.removed
    numbers = {"active": active, "succeeded": count.counted_succeeded, "failed": count.counted_failed}
    uncounted = {outcome: uids for outcome, uids in count.uncounted.items() if uids}
    status: Object = {
        **{name: number for name, number in numbers.items() if number},
        "ready": sum(is_ready(child) for child in count.active),
        "terminating": len(count.terminating) + step.removed,
        "uncountedTerminatedPods": uncounted,
    }
    if count.completed:
        status["completedIndexes"] = indexes.render(count.completed)
    if per_index.limit(spec) is not None:
        status["failedIndexes"] = indexes.render(count.failed_indexes)
    if not suspended:
        status["startTime"] = before.get("startTime") or stamp(now)
    conditions = _suspended(before.get("conditions"), suspended, now)
    if end:
        conditions = with_condition(conditions, end.announced_by, True, end.reason, end.message, now=now)
        if not active and not status["terminating"] and count.is_counted:
            conditions = with_condition(conditions, end.final, True, end.reason, end.message, now=now)
            if end.succeeded:
                status["completionTime"] = stamp(now)
    if conditions:
        status["conditions"] = conditions
    return status


def _suspended(conditions: list[Object] | None, suspended: bool, now: datetime) -> list[Object]:
    if suspended:
        return with_condition(conditions, "Suspended", True, "JobSuspended", "Job suspended", now=now)
    if holds(conditions, "Suspended"):
        return with_condition(conditions, "Suspended", False, "JobResumed", "Job resumed", now=now)
    return list(conditions or [])


def _told(job: Object, status: Object) -> list[Action]:
    """One Event for each condition that changed."""
    before, after = (job.get("status") or {}).get("conditions"), status.get("conditions")
    events: list[Action] = []
    if holds(after, "Complete"):
        events.append(EmitEvent(job, "Completed", "Job completed"))
    if holds(after, "Failed") and (failed := find(after, "Failed")):
        events.append(EmitEvent(job, failed["reason"], failed["message"], "Warning"))
    if holds(after, "Suspended") != holds(before, "Suspended"):
        reason, message = ("Suspended", "Job suspended") if holds(after, "Suspended") else ("Resumed", "Job resumed")
        events.append(EmitEvent(job, reason, message))
    return events


def _unsupported(job: Object) -> list[Action]:
    """Says once, at the start, which fields of the Job are not acted on here."""
    if (job.get("status") or {}).get("startTime"):
        return []
    if job["spec"].get("successPolicy") is None:
        return []
    return [EmitEvent(job, "NotSupported", "the embedded mode does not act on spec.successPolicy", "Warning")]
