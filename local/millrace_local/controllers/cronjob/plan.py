"""What a CronJob needs next: a Job for the time that has come, its status, and the end of old Jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from millrace_core.api.conditions import holds
from millrace_core.base import cron, timestamps
from millrace_core.base.cron import Cron
from millrace_core.base.errors import RejectError
from millrace_kube.owners import owner_reference
from millrace_kube.resources import CRON_JOBS, JOBS, Object, deleting
from millrace_kube.times import stamp
from millrace_local.controllers.actions import Action, ActionPlan, Change, Create, Delete, EmitEvent
from millrace_local.controllers.pods import created

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# More missed times than this are worth a warning: a clock was set, or nothing ran for long.
MANY_MISSED = 100


def plan(cron_job: Object, jobs: Sequence[Object], now: datetime) -> ActionPlan:
    """The next step.

    Only the latest of the missed times is made up for. The Job's name follows from its time, so it is made once however
    often this is planned.

    Args:
        cron_job: the CronJob.
        jobs: the Jobs that it controls.
        now: the present time.
    """
    if deleting(cron_job):
        return ActionPlan()
    spec = cron_job["spec"]
    actions = _expire(cron_job, jobs)
    status, events = _account(cron_job, jobs)
    if spec.get("suspend"):
        return ActionPlan((*actions, *events, *_write(cron_job, status)))
    try:
        # Without a name it is UTC, as a Kubernetes controller in its usual container has it.
        zone = cron.time_zone(spec["timeZone"]) if spec.get("timeZone") else UTC
        schedule = cron.parse(spec["schedule"], zone, field="spec.schedule")
    except RejectError as error:
        wrong = EmitEvent(cron_job, "UnparseableSchedule", str(error), "Warning")
        return ActionPlan((*actions, *events, wrong, *_write(cron_job, status)))
    due = _due(cron_job, schedule, now)
    actions += due.events
    if due.at is not None:
        status, started = _start(cron_job, jobs, status, due.at)
        actions += started
    following = schedule.after(now)
    again = None if following is None else (following - now).total_seconds()
    return ActionPlan((*actions, *events, *_write(cron_job, status)), again)


@dataclass(frozen=True)
class _Due:
    at: datetime | None = None
    events: tuple[EmitEvent, ...] = ()


def _due(cron_job: Object, schedule: Cron, now: datetime) -> _Due:
    """The scheduled time to run now, if one has come that was not run yet and is not too long ago."""
    spec, status = cron_job["spec"], cron_job.get("status") or {}
    last = status.get("lastScheduleTime")
    since = timestamps.parse(last) if last else created(cron_job)
    deadline = spec.get("startingDeadlineSeconds")
    at = schedule.latest(since, now)
    if at is None:
        return _Due()
    events: tuple[EmitEvent, ...] = ()
    if deadline is not None:
        if at + timedelta(seconds=deadline) < now:
            message = f"Missed scheduled time to start a job: {stamp(at)}"
            return _Due(None, (EmitEvent(cron_job, "MissSchedule", message, "Warning"),))
        since = max(since, now - timedelta(seconds=deadline))
    if schedule.more_than(MANY_MISSED, since, now):
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        events = (EmitEvent(cron_job, "TooManyMissedTimes", message, "Warning"),)
    return _Due(at, events)


def _start(cron_job: Object, jobs: Sequence[Object], status: Object, at: datetime) -> tuple[Object, list[Action]]:
    """Starts the Job of the time ``at`` as the concurrency policy allows; returns the status with it."""
    policy = cron_job["spec"].get("concurrencyPolicy", "Allow")
    running = [job for job in jobs if not is_finished(job)]
    body = job_of(cron_job, at)
    done = {**status, "lastScheduleTime": stamp(at)}
    if any(job["metadata"]["name"] == body["metadata"]["name"] for job in jobs):
        return done, []
    actions: list[Action] = []
    if running and policy == "Forbid":
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return status, [EmitEvent(cron_job, "JobAlreadyActive", message)]
    if policy == "Replace":
        for job in running:
            actions += [
                Delete(JOBS, job),
                _tell(cron_job, "SuccessfulDelete", f"Deleted job {job['metadata']['name']}"),
            ]
    actions += [Create(JOBS, body), _tell(cron_job, "SuccessfulCreate", f"Created job {body['metadata']['name']}")]
    return done, actions


def job_of(cron_job: Object, at: datetime) -> Object:
    """The Job for the scheduled time ``at``; its name ends in the minutes since 1970."""
    template, metadata = cron_job["spec"]["jobTemplate"], cron_job["metadata"]
    inner = template.get("metadata") or {}
    return {
        "metadata": {
            "name": f"{metadata['name']}-{int(at.timestamp()) // 60}",
            "namespace": metadata["namespace"],
            "labels": dict(inner.get("labels") or {}),
            "annotations": {**(inner.get("annotations") or {}), SCHEDULED_AT: stamp(at)},
            "ownerReferences": [owner_reference(cron_job)],
        },
        "spec": template["spec"],
    }


def is_finished(job: Object) -> bool:
    """Whether the Job is Complete or Failed."""
    conditions = (job.get("status") or {}).get("conditions")
    return holds(conditions, "Complete") or holds(conditions, "Failed")


def _account(cron_job: Object, jobs: Sequence[Object]) -> tuple[Object, list[EmitEvent]]:
    """The status that the Jobs show, and an event for each that has ended since it was last written."""
    before = cron_job.get("status") or {}
    active = [
        {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "name": job["metadata"]["name"],
            "namespace": job["metadata"]["namespace"],
            "uid": job["metadata"]["uid"],
        }
        for job in sorted(jobs, key=lambda job: str(job["metadata"]["name"]))
        if not is_finished(job)
    ]
    status = {name: value for name, value in before.items() if name != "active"}
    if active:
        status["active"] = active
    succeeded = [job["status"]["completionTime"] for job in jobs if (job.get("status") or {}).get("completionTime")]
    if succeeded:
        times = [*succeeded, *([before["lastSuccessfulTime"]] if "lastSuccessfulTime" in before else [])]
        status["lastSuccessfulTime"] = max(times, key=timestamps.parse)
    were_active = {reference.get("uid") for reference in before.get("active") or []}
    ended = [job for job in jobs if is_finished(job) and job["metadata"]["uid"] in were_active]
    events = [
        _tell(
            cron_job,
            "SawCompletedJob",
            f"Saw completed job: {job['metadata']['name']}, condition: "
            + ("Complete" if holds(job["status"]["conditions"], "Complete") else "Failed"),
        )
        for job in ended
    ]
    return status, events


def _expire(cron_job: Object, jobs: Sequence[Object]) -> list[Action]:
    """Deletes the oldest finished Jobs beyond the history limits."""
    actions: list[Action] = []
    for field, kind, default in (
        ("successfulJobsHistoryLimit", "Complete", 3),
        ("failedJobsHistoryLimit", "Failed", 1),
    ):
        ended = [job for job in jobs if holds((job.get("status") or {}).get("conditions"), kind)]
        limit = cron_job["spec"].get(field, default)
        oldest = sorted(ended, key=lambda job: (created(job), job["metadata"]["name"]))[: max(0, len(ended) - limit)]
        for job in oldest:
            if not deleting(job):
                actions += [
                    Delete(JOBS, job),
                    _tell(cron_job, "SuccessfulDelete", f"Deleted job {job['metadata']['name']}"),
                ]
    return actions


def _tell(cron_job: Object, reason: str, message: str) -> EmitEvent:
    return EmitEvent(cron_job, reason, message)


def _write(cron_job: Object, status: Object) -> list[Action]:
    return [Change(CRON_JOBS, cron_job, {**cron_job, "status": status}, "status")]
