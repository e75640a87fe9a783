"""Which changes make a Job worth planning, and what its plan sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from millrace_kube.informer import Informers
from millrace_kube.owners import controller_of
from millrace_kube.resources import JOBS, PODS, Object, key_of
from millrace_local.controllers.actions import ActionPlan, Change
from millrace_local.controllers.job.children import is_tracked, job_key, untracked
from millrace_local.controllers.job.plan import BACKOFF_SECONDS, plan

OURS = "kubernetes.io/job-controller"


class JobController:
    """Runs Jobs to completion.

    Args:
        backoff: seconds to wait after the first failed pod of a Job.
    """

    name = "job"
    workers = 4

    def __init__(self, *, backoff: float = BACKOFF_SECONDS) -> None:
        self._backoff = backoff

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A Job is planned when it or one of its pods changes, also after the Job is gone."""
        self._jobs = informers.of(JOBS)
        self._pods = informers.of(PODS)
        self._pods.index("job", job_key)

        def of_pod(old: Object | None, new: Object | None) -> None:
            if pod := new or old:
                for key in job_key(pod):
                    touch(key)

        def of_job(old: Object | None, new: Object | None) -> None:
            if job := new or old:
                touch(key_of(job))

        self._jobs.subscribe(of_job)
        self._pods.subscribe(of_pod)

    def plan(self, key: str, now: datetime) -> ActionPlan:
        """The next step of the Job; pods that a Job no longer there left behind are let go."""
        job = self._jobs.items.get(key)
        uid = job["metadata"]["uid"] if job else ""
        pods = self._pods.by("job", key)
        own = [pod for pod in pods if (controller_of(pod) or {}).get("uid") == uid]
        orphans = [pod for pod in pods if is_tracked(pod) and (controller_of(pod) or {}).get("uid") != uid]
        if orphans:
            return ActionPlan(tuple(Change(PODS, pod, untracked(pod)) for pod in orphans), 0.0)
        if job is None or job["spec"].get("managedBy", OURS) != OURS:
            return ActionPlan()
        namespace = job["metadata"]["namespace"]
        return plan(
            job,
            own,
            now,
            is_taken=lambda name: self._pods.get(namespace, name) is not None,
            backoff=self._backoff,
        )
