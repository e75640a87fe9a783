"""The runs of a view: its Jobs, read together with their pods, which say how they ended. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from millrace_core.api import conditions, names
from millrace_core.base import signals, timestamps
from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object, annotations_of, deleting, labels_of, name_of
from millrace_operators.compute import memory_limits
from millrace_operators.featureview import intervals
from millrace_operators.featureview.intervals import Interval

JOB_NAME: Final = "batch.kubernetes.io/job-name"
_LEGACY_JOB_NAME: Final = "job-name"
_INDEX: Final = "batch.kubernetes.io/job-completion-index"

# States of a waiting container that end only when somebody acts.
_STUCK: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)


class RunState(StrEnum):
    """State of a run. LOST: its Job succeeded, but the pod that said what it did is gone."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


# Results of quality checks, in the form that the job reports and the status shows; None where a run made none.
Quality = tuple[Mapping[str, Any], ...] | None


@dataclass(frozen=True)
class RunResult:
    """What a run reports of itself (docs/parts.md, "FeatureView operator → materialize job").

    ``errors``: for how many rows the expression of a feature failed, by feature. ``removed``: keys that are gone,
    because the source no longer has them; None where the run removes none.
    """

    interval: Interval
    rows: int | None
    written: int | None
    keys: int | None
    seconds: float | None
    quality: Quality = None
    errors: Mapping[str, int] = field(default_factory=dict)
    later: int | None = None
    removed: int | None = None


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed, or why one at work gets nowhere.

    Attributes:
        final: the definition or the data is wrong, so a retry would fail too.
        passing: it is being tried again.
    """

    reason: str
    message: str
    final: bool = False
    quality: Quality = None
    passing: bool = False


@dataclass(frozen=True)
class Run:
    """One Job of a view.

    Attributes:
        requested: the interval it was made for; ``full``: for everything. Neither: for what is new.
        rendering: digest of what its pods run, see ``desired.rendering``; empty: it does not say.
        pods_due: when a run at work that has no pod yet is stuck.
    """

    name: str
    uid: str
    purpose: str
    definition: str
    state: RunState
    requested: Interval | None = None
    finished_at: datetime | None = None
    result: RunResult | None = None
    failure: RunFailure | None = None
    deleting: bool = False
    full: bool = False
    rendering: str = ""
    pods_due: datetime | None = None

    @property
    def one_shot(self) -> bool:
        """Whether the operator made the Job itself, rather than the CronJob."""
        return self.purpose != SCHEDULE


SCHEDULE: Final = "schedule"
BACKFILL: Final = "backfill"
COMMAND: Final = "command"
PURGE: Final = "purge"

# Reason of a run whose Job somebody stopped.
JOB_SUSPENDED: Final = "JobSuspended"

# In place of an interval: a run for everything.
EVERYTHING: Final = "full"


# How long to wait for the pod of a finished Job: watches of Jobs and of pods are not in step.
GRACE: Final = timedelta(seconds=10)


def of_jobs(jobs: Iterable[Object], pods: Iterable[Object], now: datetime) -> tuple[Run, ...]:
    """The runs, in the order of their names.

    A Job that has just ended still counts as active until the end of its pod is seen, or ``GRACE`` has passed.
    """
    by_job: dict[str, list[Object]] = {}
    for pod in pods:
        labels = labels_of(pod)
        by_job.setdefault(labels.get(JOB_NAME) or labels.get(_LEGACY_JOB_NAME, ""), []).append(pod)
    return tuple(sorted((_run(job, by_job.get(name_of(job), []), now) for job in jobs), key=lambda run: run.name))


def _run(job: Object, pods: list[Object], now: datetime) -> Run:
    annotations = annotations_of(job)
    status = job.get("status") or {}
    conditions_ = {item["type"]: item for item in status.get("conditions") or () if item.get("status") == "True"}
    end = conditions_.get("Complete") or conditions_.get("Failed")
    state, result, failure, finished = RunState.ACTIVE, None, None, None
    if end is None:
        failure = _stuck(job, pods, now)
    else:
        finished = _time(status.get("completionTime") or end.get("lastTransitionTime")) or now
        succeeded = "Complete" in conditions_
        ends = _terminated(pods, succeeded=succeeded)
        awaited = int(job["spec"].get("completions") or 1) if succeeded else 1
        if len({index for index, _ in ends}) >= awaited or finished + GRACE <= now:
            result = _result(ends) if succeeded else None
            failure = None if succeeded else _failure(job, end, [each for _, each in ends])
            state = RunState.SUCCEEDED if result else RunState.FAILED if failure else RunState.LOST
    return Run(
        name=name_of(job),
        uid=job["metadata"]["uid"],
        purpose=annotations.get(names.RUN, SCHEDULE),
        definition=annotations.get(names.DEFINITION, ""),
        state=state,
        requested=_requested(annotations.get(names.INTERVAL, "")),
        finished_at=finished,
        result=result,
        failure=failure,
        deleting=deleting(job),
        full=annotations.get(names.INTERVAL) == EVERYTHING,
        rendering=annotations.get(names.RENDERED, ""),
        pods_due=None if pods else _pods_due(job),
    )


_End = Mapping[str, Any]


def _terminated(pods: Iterable[Object], *, succeeded: bool) -> list[tuple[str, _End]]:
    """The ends of containers that did (not) succeed, each with its pod's completion index, the latest first."""
    ends = []
    for pod in pods:
        index = annotations_of(pod).get(_INDEX, "")
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            end = (container.get("state") or {}).get("terminated")
            if end is not None and (end.get("exitCode", 1) == 0) == succeeded:
                ends.append((index, end))
    return sorted(ends, key=lambda end: str(end[1].get("finishedAt") or ""), reverse=True)


def _result(ends: Iterable[tuple[str, _End]]) -> RunResult | None:
    """What the pods of a run did together, each shard counted once.

    None where no pod says that the run is complete: the store has lost what a shard had written, or the pod that knew
    is gone.
    """
    shards: dict[str, Mapping[str, Any]] = {}
    complete: Mapping[str, Any] = {}
    for index, end in ends:
        message = _message(end)
        if not complete and "interval" in message and message.get("complete", True):
            complete = message
        shards.setdefault(index, message)
    reports = list(shards.values())
    try:
        interval = intervals.parse(complete["interval"])
    except (KeyError, TypeError, AttributeError, RejectError):
        return None
    seconds = [message["seconds"] for message in reports if message.get("seconds") is not None]
    return RunResult(
        interval=interval,
        rows=_sum(reports, "rows"),
        written=_sum(reports, "written"),
        # Counted when the rows of all shards were there.
        keys=complete.get("keys"),
        seconds=max(seconds, default=None),
        quality=next(filter(None, map(_quality, reports)), None),
        errors=_errors(reports),
        later=_sum(reports, "later"),
        removed=_sum(reports, "removed"),
    )


def _quality(message: Mapping[str, Any]) -> Quality:
    results = message.get("quality")
    return tuple(results) if isinstance(results, list) and results else None


def _errors(reports: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for report in reports:
        found.update(report.get("expressionErrors") or {})
    return found


def _sum(messages: Iterable[Mapping[str, Any]], figure: str) -> int | None:
    found = [message[figure] for message in messages if message.get(figure) is not None]
    return sum(found) if found else None


def _failure(job: Object, condition: Mapping[str, Any], ends: list[_End]) -> RunFailure:
    """The error that the job reported; without one, what Kubernetes says."""
    final = condition.get("reason") == "PodFailurePolicy"
    for end in ends:
        message = _message(end)
        error = message.get("error")
        if isinstance(error, Mapping):
            where = f"{error['field']}: " if error.get("field") else ""
            reason = str(error.get("reason") or conditions.RUN_FAILED)
            return RunFailure(reason, f"{where}{error.get('message', '')}", final, _quality(message))
    if ends and ends[0].get("reason") == "OOMKilled":
        limit = next(iter(memory_limits(job).values()), "")
        text = f"the run was killed for want of memory{limit and f', its limit of {limit} was reached'}; "
        text += "raise spec.materialization.resources.limits.memory"
        return RunFailure("OutOfMemory", text)
    last_line = str(ends[0].get("message") or "").strip().rpartition("\n")[2] if ends else ""
    code = signals.ended(ends[0].get("exitCode", 1), ends[0].get("signal") or 0) if ends else "its pod is gone"
    text = f"the run failed ({condition.get('reason')}: {condition.get('message', '')}; {code}) {last_line}"
    return RunFailure(conditions.RUN_FAILED, text.strip(), final)


def _stuck(job: Object, pods: list[Object], now: datetime) -> RunFailure | None:
    """Why a run at work gets nowhere: the first reason of those that are known."""
    found = (_cannot_start(pod) or _unschedulable(pod) for pod in pods if not deleting(pod))
    return next(filter(None, found), None) or _stopped(job) or _retried(job, pods) or _without_pods(job, pods, now)


def _cannot_start(pod: Object) -> RunFailure | None:
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            return RunFailure(waiting["reason"], f"the run cannot start: {waiting.get('message', '')}")
    return None


def _unschedulable(pod: Object) -> RunFailure | None:
    said = conditions.find((pod.get("status") or {}).get("conditions"), "PodScheduled")
    if said is None or said.get("status") != "False":
        return None
    reason = said.get("reason") or "Unschedulable"
    return RunFailure(reason, f"the run cannot be scheduled: {said.get('message') or 'the scheduler does not say why'}")


def _stopped(job: Object) -> RunFailure | None:
    if job["spec"].get("suspend"):
        return RunFailure(JOB_SUSPENDED, f"Job {name_of(job)} has spec.suspend true, so it has no pods")
    if job["spec"].get("parallelism") == 0:
        return RunFailure(JOB_SUSPENDED, f"Job {name_of(job)} has spec.parallelism 0, so it has no pods")
    return None


def _retried(job: Object, pods: Iterable[Object]) -> RunFailure | None:
    failed = int((job.get("status") or {}).get("failed") or 0)
    if not failed:
        return None
    ends = [end for _, end in _terminated(pods, succeeded=False)]
    why = _failure(job, {"reason": "PodFailed", "message": "a pod failed"}, ends)
    return RunFailure(why.reason, f"pods that failed: {failed}; it is tried again after: {why.message}", passing=True)


def _without_pods(job: Object, pods: Iterable[Object], now: datetime) -> RunFailure | None:
    since = _pods_due(job)
    if since is None or now < since or any(True for _ in pods) or (job.get("status") or {}).get("active"):
        return None
    text = f"Job {name_of(job)} has no pods; `kubectl describe job {name_of(job)}` says who refuses them"
    return RunFailure("NoPods", text)


def _pods_due(job: Object) -> datetime | None:
    """When a Job must have had its first pod."""
    created = _time(job["metadata"].get("creationTimestamp"))
    return created + GRACE if created is not None else None


def _message(end: _End) -> Mapping[str, Any]:
    try:
        message = json.loads(end.get("message") or "{}")
    except ValueError:
        return {}
    return message if isinstance(message, Mapping) else {}


def _requested(text: str) -> Interval | None:
    start, slash, end = text.partition("/")
    return intervals.parse({"start": start, "end": end}) if slash else None


def _time(text: str | None) -> datetime | None:
    return timestamps.parse(text) if text else None
