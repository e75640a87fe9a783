"""Which changes make a CronJob worth planning, and what its plan sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from millrace_kube.informer import Informers
from millrace_kube.owners import controller_of, controller_uid
from millrace_kube.resources import CRON_JOBS, JOBS, Object, key_of
from millrace_local.controllers.actions import ActionPlan
from millrace_local.controllers.cronjob.plan import plan


class CronJobController:
    """Starts Jobs as CronJobs ask."""

    name = "cronjob"
    workers = 4

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A CronJob is planned when it or one of its Jobs changes, and when its next time comes."""
        self._cron_jobs = informers.of(CRON_JOBS)
        self._jobs = informers.of(JOBS)
        self._jobs.index("controller", controller_uid)

        def of_job(old: Object | None, new: Object | None) -> None:
            job = new or old
            if job and (owner := controller_of(job)) and owner["kind"] == "CronJob":
                touch(f"{job['metadata']['namespace']}/{owner['name']}")

        self._cron_jobs.subscribe(lambda _old, new: touch(key_of(new)) if new else None)
        self._jobs.subscribe(of_job)

    def plan(self, key: str, now: datetime) -> ActionPlan:
        """The next step of this CronJob."""
        cron_job = self._cron_jobs.items.get(key)
        if cron_job is None:
            return ActionPlan()
        return plan(cron_job, self._jobs.by("controller", cron_job["metadata"]["uid"]), now)
