"""All controllers together, on one set of informers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from millrace_kube.client import Client
from millrace_kube.events import Recorder
from millrace_kube.informer import Informers
from millrace_kube.stopping import until
from millrace_kube.times import now as wall_clock
from millrace_local.controllers.accounts import AccountController
from millrace_local.controllers.actions import Executor
from millrace_local.controllers.cronjob.controller import CronJobController
from millrace_local.controllers.deployment.controller import DeploymentController
from millrace_local.controllers.disruption import DisruptionController
from millrace_local.controllers.endpoints import EndpointsController
from millrace_local.controllers.job.controller import JobController
from millrace_local.controllers.job.plan import BACKOFF_SECONDS
from millrace_local.controllers.loop import Controller, ControllerLoop
from millrace_local.controllers.replicaset import ReplicaSetController
from millrace_local.controllers.scaling.controller import ScalingController
from millrace_local.controllers.scaling.prometheus import Prometheus
from millrace_local.controllers.scheduler.controller import SchedulerController


@dataclass(frozen=True)
class ControllerSettings:
    """What the controllers need to know.

    Attributes:
        prometheus: URL of the Prometheus that ScaledObjects are scaled by, instead of the ``serverAddress`` of their
            triggers; "" to ask that one.
        proxy: URL of the mesh's ingress, through which ``*.svc`` addresses of triggers are reached; "" for none.
        job_backoff: seconds to wait after the first failed pod of a Job, doubled for each one more.
    """

    prometheus: str = ""
    proxy: str = ""
    job_backoff: float = BACKOFF_SECONDS


async def run(
    client: Client,
    settings: ControllerSettings,
    stop: asyncio.Event,
    *,
    informers: Informers,
    now: Callable[[], datetime] = wall_clock,
) -> None:
    """Runs the controllers until ``stop`` is set, on ``informers`` that the caller runs."""
    recorder = Recorder(client, "millrace-controllers", clock=now)
    executor = Executor(client, informers, recorder)
    controllers: list[Controller] = [
        AccountController(),
        SchedulerController(),
        EndpointsController(),
        ReplicaSetController(),
        DeploymentController(),
        JobController(backoff=settings.job_backoff),
        CronJobController(),
        DisruptionController(),
    ]
    loops = [ControllerLoop(controller, executor, now=now) for controller in controllers]
    for loop in loops:
        loop.wire(informers)
    scaling = ScalingController(client, executor, Prometheus(settings.prometheus, settings.proxy), now=now)
    scaling.wire(informers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run(stop))
        # Nothing is decided before everything has been seen once.
        await until(stop, informers.synced())
        for loop in loops:
            tasks.create_task(until(stop, loop.run()))
        tasks.create_task(scaling.run(stop))
