"""A whole life of a view without a cluster: a clock that tests move, Jobs that end as tests say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace_core.api import conditions, names
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.base import timestamps
from millrace_operators.featureview import desired, runs, status
from millrace_operators.featureview.acceptance import accept
from millrace_operators.featureview.emptied import StoreRecord
from millrace_operators.featureview.next_job import JobRequest
from millrace_operators.featureview.observe import ViewObservation
from millrace_operators.featureview.plan import ViewPlan, plan
from millrace_operators.featureview.status import StatusContext
from millrace_operators.platform import Platform
from tests.builders import Built

PLATFORM = Platform(
    inference_image="millrace/inference:test",
    gpu_image="millrace/inference-gpu:test",
    materialize_image="millrace/materialize:test",
    namespace="millrace-system",
    registry_url="http://registry",
    store_url="redis://store:6379",
)


def moment(text: str) -> datetime:
    """``12:30`` of the day of these tests, or a whole time."""
    return timestamps.parse(f"2026-11-20T{text}:00Z" if "T" not in text else text)


class Life:
    """The API server's part, as far as a view is concerned."""

    def __init__(self, view: Built, now: str = "12:00") -> None:
        self.now = moment(now)
        self.view = view.build()
        self.view["metadata"] |= {"namespace": "shop", "uid": "uid-1", "generation": 1}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.made: list[JobRequest] = []
        self.writes = 0
        self.platform = PLATFORM
        self.stored = StoreRecord.THERE

    def look(self) -> ViewPlan:
        """One reconcile."""
        view, before = accept(self.view), self.view.get("status") or {}
        observed = runs.of_jobs(self.jobs.values(), self.pods, self.now)
        planned = plan(
            ViewObservation(self.view, view, self.now, observed, rendering=self.rendering(), stored=self.stored)
        )
        for run in planned.void_runs:
            del self.jobs[run.name]
        if planned.job is not None and planned.job.name not in self.jobs:
            definition = planned.progress.definition
            self.jobs[planned.job.name] = desired.one_shot_job(self.view, self.platform, definition, planned.job)
            self.jobs[planned.job.name]["metadata"] |= {"uid": f"uid-{planned.job.name}"}
            self.made.append(planned.job)
        after = status.status(
            before, StatusContext(view, planned, self.now), self.view["spec"], self.view["metadata"]["generation"]
        )
        after = {key: value for key, value in after.items() if value is not None}
        self.writes += after != before
        self.view["status"] = after
        for run in planned.prunable:
            self.jobs.pop(run.name, None)
        return planned

    def rendering(self) -> str:
        return desired.rendering(self.view, self.platform)

    def pass_until(self, text: str) -> ViewPlan:
        """Moves the clock, looking whenever the plan asks for it, as the work queue does."""
        planned, until = self.look(), moment(text)
        while planned.wake is not None and planned.wake <= until:
            self.now = planned.wake
            planned = self.look()
        self.now = until
        return self.look()

    def tick(self) -> str:
        """The CronJob controller starts a Job, of the definition that the last look left."""
        made = f"{self.view['status']['schemaHash']}@{self.view['status']['backfillTo']}"
        cron_job = desired.cron_job(self.view, self.platform, made, suspended=False)
        name = f"{cron_job['metadata']['name']}-{int(self.now.timestamp()) // 60}"
        template = cron_job["spec"]["jobTemplate"]
        self.jobs[name] = {
            "metadata": {**template["metadata"], "name": name, "namespace": "shop", "uid": f"uid-{name}"},
            "spec": template["spec"],
        }
        return name

    def succeed(self, job: str = "", *, start: str = "", end: str = "", pod: bool = True, **figures: Any) -> None:
        """A Job ends well; its pod says what it did."""
        job = job or self.active()
        arguments = self.jobs[job]["spec"]["template"]["spec"]["containers"][0]["args"]
        asked = dict(zip(arguments[1::2], arguments[2::2], strict=False))
        until = asked.get("--end") or (end if "T" in end else timestamps.render(moment(end) if end else self.now))
        interval = {
            "start": asked.get("--start") or (timestamps.render(moment(start)) if start else None),
            "end": until,
        }
        message = {"interval": interval, "rows": 5, "written": 4, "keys": 3, "seconds": 1.5, **figures}
        self._end(job, "Complete", {}, 0, json.dumps(message) if pod else None)

    def succeed_in_shards(self, job: str, *shards: dict[str, Any]) -> None:
        """A Job of several pods ends well; each says what it did of the run."""
        until = timestamps.render(self.now)
        self._end(job, "Complete", {}, 0, None)
        for index, said in enumerate(shards):
            message = {"interval": {"start": None, "end": until}, "complete": False, **said}
            self._pod(job, 0, json.dumps(message), str(index))

    def fail(self, job: str = "", *, code: int = 1, message: str | None = None, **more: str) -> None:
        """A Job ends badly."""
        reason = "PodFailurePolicy" if code == 2 else "BackoffLimitExceeded"
        said = message if message is not None else json.dumps({"error": {"reason": "NoSuchColumn", **more}})
        self._end(job or self.active(), "Failed", {"reason": reason, "message": "it failed"}, code, said)

    def active(self) -> str:
        """The one Job at work."""
        [name] = self.at_work()
        return name

    def at_work(self) -> list[str]:
        """The Jobs at work."""
        return [name for name, job in self.jobs.items() if not (job.get("status") or {}).get("conditions")]

    def wait(self, time: timedelta) -> None:
        """Moves the clock, without a look."""
        self.now += time

    def _end(self, job: str, kind: str, more: dict[str, str], code: int, message: str | None) -> None:
        now = timestamps.render(self.now)
        condition = {"type": kind, "status": "True", "lastTransitionTime": now, **more}
        self.jobs[job]["status"] = {"conditions": [condition], "completionTime": now if kind == "Complete" else None}
        if message is not None:
            self._pod(job, code, message)

    def _pod(self, job: str, code: int, message: str, index: str = "") -> None:
        ended = {"exitCode": code, "message": message, "finishedAt": timestamps.render(self.now)}
        marks = {"batch.kubernetes.io/job-completion-index": index} if index else {}
        labels = {names.VIEW: "clicks", runs.JOB_NAME: job}
        self.pods.append(
            {
                "metadata": {"name": f"{job}-x", "labels": labels, "annotations": marks},
                "status": {"containerStatuses": [{"name": "materialize", "state": {"terminated": ended}}]},
            }
        )

    def command(self, text: str) -> None:
        """Somebody annotates the view."""
        self.view["metadata"].setdefault("annotations", {})[COMMAND_ANNOTATION] = text

    def edit(self, path: str, value: Any) -> None:
        """Somebody changes the spec."""
        self.view = Built(self.view).having(f"spec.{path}", value).build()
        self.view["metadata"]["generation"] += 1

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message."""
        found = conditions.find(self.view["status"]["conditions"], kind)
        assert found is not None
        return found["status"], found["reason"], found["message"]

    def holds(self, kind: str) -> str:
        """Status of the condition."""
        return self.condition(kind)[0]


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
