"""Whether a Job has come to its end, and why: an ordered list of reasons, the first that holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from millrace_core.api.conditions import find, holds
from millrace_core.base import timestamps
from millrace_kube.resources import Object
from millrace_local.controllers.job.tally import Tally
from millrace_local.controllers.pods import phase

DEFAULT_BACKOFF_LIMIT = 6
REACHED = "Reached expected number of succeeded pods"


@dataclass(frozen=True)
class Ending:
    """How a Job ends. Its final condition follows once all its pods have ended and are counted."""

    succeeded: bool
    reason: str
    message: str

    @property
    def announced_by(self) -> str:
        """The condition that says that the end is decided."""
        return "SuccessCriteriaMet" if self.succeeded else "FailureTarget"

    @property
    def final(self) -> str:
        """The condition that says that it is reached."""
        return "Complete" if self.succeeded else "Failed"


def ending(job: Object, tally: Tally, now: datetime) -> Ending | None:
    """The Job's end, or None while it goes on."""
    return next((found for rule in _RULES if (found := rule(job, tally, now))), None)


def _was_announced(job: Object, _tally: Tally, _now: datetime) -> Ending | None:
    conditions = (job.get("status") or {}).get("conditions")
    for kind, succeeded in (("FailureTarget", False), ("SuccessCriteriaMet", True)):
        if holds(conditions, kind) and (found := find(conditions, kind)):
            return Ending(succeeded, found["reason"], found["message"])
    return None


def _policy_says_so(_job: Object, tally: Tally, _now: datetime) -> Ending | None:
    return Ending(False, "PodFailurePolicy", tally.fatal) if tally.fatal else None


def _tried_too_often(job: Object, tally: Tally, _now: datetime) -> Ending | None:
    limit = job["spec"].get("backoffLimit", DEFAULT_BACKOFF_LIMIT)
    restarts = sum(_restarts(pod) for pod in tally.active)
    if tally.failed > limit or (restarts > 0 and restarts >= limit):
        return Ending(False, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    return None


def _restarts(pod: Object) -> int:
    """Restarts in place, which are the tries of a pod with ``restartPolicy: OnFailure``."""
    if pod["spec"].get("restartPolicy") != "OnFailure" or phase(pod) not in ("Running", "Pending"):
        return 0
    status = pod.get("status") or {}
    containers = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    return sum(container.get("restartCount", 0) for container in containers)


def deadline_left(job: Object, now: datetime) -> float | None:
    """Seconds until ``activeDeadlineSeconds`` are over; None without a deadline or a start."""
    seconds, started = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if seconds is None or not started or job["spec"].get("suspend"):
        return None
    return (timestamps.parse(started) + timedelta(seconds=seconds) - now).total_seconds()


def _took_too_long(job: Object, _tally: Tally, now: datetime) -> Ending | None:
    left = deadline_left(job, now)
    if left is None or left > 0:
        return None
    return Ending(False, "DeadlineExceeded", "Job was active longer than specified deadline")


def _indexes_failed(job: Object, tally: Tally, _now: datetime) -> Ending | None:
    spec, failed = job["spec"], len(tally.failed_indexes)
    most = spec.get("maxFailedIndexes")
    if most is not None and failed > most:
        why = "Job has exceeded the specified maximal number of failed indexes"
        return Ending(False, "MaxFailedIndexesExceeded", why)
    if failed and failed + tally.succeeded >= spec["completions"]:
        return Ending(False, "FailedIndexes", "Job has failed indexes")
    return None


def _is_complete(job: Object, tally: Tally, _now: datetime) -> Ending | None:
    completions = wanted_completions(job)
    if completions is None:
        # A work queue: one success says that it is empty; the others finish what they have.
        done = tally.succeeded > 0 and not tally.active and not tally.terminating
    else:
        done = tally.succeeded >= completions
    return Ending(True, "CompletionsReached", REACHED) if done else None


def wanted_completions(job: Object) -> int | None:
    """``spec.completions``; 1 where parallelism is not given either, None for a work queue."""
    spec = job["spec"]
    completions: int | None = spec.get("completions", None if "parallelism" in spec else 1)
    return completions


_RULES: tuple[Callable[[Object, Tally, datetime], Ending | None], ...] = (
    # What was announced is never taken back.
    _was_announced,
    _policy_says_so,
    _tried_too_often,
    _took_too_long,
    _indexes_failed,
    _is_complete,
)
