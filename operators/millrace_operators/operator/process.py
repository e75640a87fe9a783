"""The one process of the three operators: waits for the Lease, watches, reconciles, and stops cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

from millrace_core.base.errors import MillraceError
from millrace_kube import lease
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_kube.connection import Connection, connect
from millrace_kube.lease import LeaderLease
from millrace_kube.metrics import KubeMetrics
from millrace_kube.resources import EXPERIMENTS, FEATURE_VIEWS, MODEL_DEPLOYMENTS
from millrace_kube.runtime import Controller, Runtime
from millrace_operators.experiment import handlers as experiments
from millrace_operators.featureview import handlers as feature_views
from millrace_operators.featureview.metrics import ViewMetrics
from millrace_operators.modeldeployment import handlers as model_deployments
from millrace_operators.operator import health
from millrace_operators.operator.catalogue import Mirror, Release
from millrace_operators.operator.object_metrics import ObjectMetrics
from millrace_operators.operator.refused import RefusedLists
from millrace_operators.operator.settings import OperatorSettings
from millrace_operators.platform import Platform

_log = logging.getLogger(__name__)

LEASE_NAME: Final = "millrace-operator"

_RELEASE_SECONDS: Final = 3.0


def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
    """The control loops of the three kinds."""
    return [
        controller
        for operator in (feature_views, model_deployments, experiments)
        for controller in operator.controllers(cluster, platform)
    ]


async def run(settings: OperatorSettings, environ: Mapping[str, str]) -> int:
    """Runs until asked to stop; the exit code. Ends the process at once where the Lease is lost.

    Raises:
        RejectError: no kubeconfig, no usable token, or the health port is in use.
    """
    operator = _Operator(settings, partial(connect, environ))
    stop = _stop_on_signals()
    async with health.serve(
        settings.host, settings.health_port, operator.checks, operator.metrics, settings.allowed_hosts
    ):
        return await operator.run(stop)


class _Operator:
    """One life of the process."""

    def __init__(self, settings: OperatorSettings, connect: Callable[[], Awaitable[Connection]]) -> None:
        self.metrics = KubeMetrics()
        self._settings = settings
        self._platform = settings.platform()
        self._connect = connect
        self._lease: LeaderLease | None = None
        self._runtime: Runtime | None = None
        self._refused: RefusedLists | None = None

    def checks(self) -> dict[str, str]:
        """For the health endpoint."""
        leading = self._lease is not None and self._lease.held
        synced = self._runtime is not None and self._runtime.synced
        refused = self._refused.shown() if self._refused else ""
        return {
            "leading": "" if leading else "another process holds the Lease; this one stands by",
            "cache": "" if synced or refused else "not everything is listed yet",
            "rights": f"the API server refuses to list, in {refused}" if refused else "",
            "crds": self._missing_crds() if synced else "",
        }

    def _missing_crds(self) -> str:
        cache = self._runtime.cluster.cache if self._runtime else Cache()
        kinds = (FEATURE_VIEWS, MODEL_DEPLOYMENTS, EXPERIMENTS)
        missing = [kind.kind for kind in kinds if not any(store.served for store in cache.stores_of([kind]))]
        return f"{', '.join(missing)} not served: install the CRDs (the chart's folder crds)" if missing else ""

    async def run(self, stop: asyncio.Event) -> int:
        """Waits for the Lease, leads, and lets it go."""
        namespace = self._settings.namespace
        async with Client(await self._connect(), reconnect=self._connect) as client:
            self._lease = LeaderLease(client, namespace, LEASE_NAME, lease.identity(), is_dead=lease.is_dead)
            try:
                if await _first(stop, [asyncio.create_task(self._lease.acquire())]) is None:
                    return 0
                self.metrics.leading.set(1)
                return await self._lead(stop, self._lease)
            finally:
                with contextlib.suppress(MillraceError, TimeoutError):
                    async with asyncio.timeout(_RELEASE_SECONDS):
                        await self._lease.release()

    async def _lead(self, stop: asyncio.Event, held: LeaderLease) -> int:
        configuration = await self._connect()
        async with Client(configuration, metrics=self.metrics, fence=held.fence, reconnect=self._connect) as client:
            cluster = CachedClient(client, Cache(scope=self._settings.scope()), metrics=self.metrics)
            for collector in (ViewMetrics(cluster.cache, cluster.now), ObjectMetrics(cluster.cache)):
                self.metrics.registry.register(collector)
            self._runtime = Runtime(
                cluster,
                controllers(cluster, self._platform),
                metrics=self.metrics,
                workers=self._settings.workers,
                resync=self._settings.resync_seconds,
            )
            self._refused = RefusedLists(cluster.cache, self.metrics, self._settings.namespace)
            keeping = asyncio.create_task(held.keep(), name="keeping the Lease")
            watching = asyncio.create_task(self._runtime.watch(self._connect), name="watching")
            tasks = [keeping, watching, asyncio.create_task(self._runtime.run(), name="reconciling")]
            tasks.append(asyncio.create_task(self._refused.run(), name="telling what is refused"))
            if self._settings.registry_url:
                release = Release(self._settings.namespace, self._settings.namespaces or None)
                mirror = Mirror(cluster.cache, self._settings.registry_url, release, self._platform.bearer)
                tasks.append(asyncio.create_task(mirror.run(), name="mirroring the catalogue"))
            ended = await _first(stop, tasks, fatal=keeping)
        # kopf takes the signals over when it starts; its watches end well where it got one.
        if ended is None or ended is watching:
            return 0
        _log.error("%s ended, which it never should", ended.get_name())
        return 1


async def _first(
    stop: asyncio.Event, tasks: Iterable[asyncio.Task[None]], *, fatal: asyncio.Task[None] | None = None
) -> asyncio.Task[None] | None:
    """Waits for the first of ``tasks`` to end and gives it, or None where ``stop`` came first; then ends the others.

    Raises: what a task raised.
    """
    stopped = asyncio.create_task(stop.wait())
    everything = [stopped, *tasks]
    try:
        done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        if fatal in done:
            _log.error("the Lease is lost: ending at once, before another process acts")
            logging.shutdown()
            os._exit(1)
    finally:
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)
    ended = next((task for task in tasks if task in done), None)
    if ended is not None:
        ended.result()
    return ended if stopped not in done else None


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
