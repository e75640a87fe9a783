"""The mesh's loop: watch, translate, write Envoy's files.

The agent starts it beside the controllers and the node, with the informers they share or without.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from millrace_kube.resources import (
    DESTINATION_RULES,
    ENDPOINT_SLICES,
    HTTP_ROUTES,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Object,
    Resource,
)
from millrace_local.client.api import Client
from millrace_local.client.events import Recorder
from millrace_local.client.informer import Informer, Informers
from millrace_local.mesh.admin import Admin
from millrace_local.mesh.holding import Holding
from millrace_local.mesh.model import Problem, Snapshot
from millrace_local.mesh.publisher import Publisher
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate

log = logging.getLogger(__name__)

RESOURCES = (SERVICES, ENDPOINT_SLICES, PODS, VIRTUAL_SERVICES, DESTINATION_RULES, HTTP_ROUTES)

# While objects keep changing, at least this many times the duration of the last translation is spent on other work.
REST_FACTOR = 3.0
LONGEST_REST = 1.0
# How soon to look again where Envoy was not there to confirm, or where a subset is held.
ASK_AGAIN_SECONDS = 0.25


async def run(
    client: Client, settings: MeshSettings, stop: asyncio.Event, *, informers: Informers | None = None
) -> None:
    """Keeps Envoy's files equal to what the cluster's Services, routes and endpoints say until ``stop`` is set.

    Args:
        client: an open client.
        settings: where to write.
        stop: ends the loop; the files stay as they are.
        informers: informers that somebody else runs; by default the mesh runs its own.
    """
    own = informers is None
    shared = informers or Informers(client)
    watched = {resource: shared.of(resource) for resource in RESOURCES}
    recorder = Recorder(client, "millrace-mesh")
    settings.directory.mkdir(parents=True, exist_ok=True)
    async with Admin(settings.directory) as admin, asyncio.TaskGroup() as tasks:
        if own:
            tasks.create_task(shared.run(stop))
        tasks.create_task(recorder.run(stop))
        loop = _Loop(watched, Publisher(settings, admin), settings.debounce, _reporter(watched, recorder))
        keeping = tasks.create_task(loop.keep())
        await stop.wait()
        keeping.cancel()


class _Loop:
    def __init__(
        self,
        watched: dict[Resource, Informer],
        publisher: Publisher,
        debounce: float,
        report: Callable[[Problem], None],
    ) -> None:
        self._watched = watched
        self._publisher = publisher
        self._debounce = debounce
        self._report = report
        self._changed = asyncio.Event()
        self._known: set[Problem] = set()
        self._holding = Holding()

    async def keep(self) -> None:
        """Publishes once everything has been listed, and after every change."""
        await asyncio.gather(*(informer.synced.wait() for informer in self._watched.values()))
        for resource, informer in self._watched.items():
            informer.subscribe(self._pod_changed if resource is PODS else self._any_changed)
        self._changed.set()
        took = 0.0
        while True:
            await self._next()
            await asyncio.sleep(max(self._debounce, min(took * REST_FACTOR, LONGEST_REST)))
            self._changed.clear()
            started = monotonic()
            try:
                await self._publish()
            except OSError as error:
                log.error("the mesh cannot write its files: %s", error)  # noqa: TRY400 - the message says it all
                self._changed.set()
                await asyncio.sleep(LONGEST_REST)
            took = monotonic() - started

    async def _next(self) -> None:
        """Returns at a change; or after a while, if Envoy has not confirmed the last one or a subset is held."""
        settled = self._publisher.confirmed and not self._holding.active
        try:
            async with asyncio.timeout(None if settled else ASK_AGAIN_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _publish(self) -> None:
        mesh = translate(snapshot(self._watched))
        held = self._holding.apply(self._publisher.clusters, mesh.clusters, mesh.ready, monotonic())
        mesh = replace(mesh, clusters=held)
        refused = await self._publisher.publish(mesh)
        problems = {*mesh.problems, *refused}
        for problem in sorted(problems - self._known, key=str):
            self._report(problem)
        self._known = problems

    def _any_changed(self, _old: Object | None, _new: Object | None) -> None:
        self._changed.set()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Of a pod only the labels count here; its address and readiness come with its EndpointSlice."""
        if _labels(old) != _labels(new):
            self._changed.set()


def snapshot(watched: dict[Resource, Informer]) -> Snapshot:
    """What the informers hold now."""
    items = {resource: tuple(informer.items.values()) for resource, informer in watched.items()}
    return Snapshot(
        services=items[SERVICES],
        endpoint_slices=items[ENDPOINT_SLICES],
        pods=items[PODS],
        virtual_services=items[VIRTUAL_SERVICES],
        destination_rules=items[DESTINATION_RULES],
        http_routes=items[HTTP_ROUTES],
    )


def _labels(pod: Object | None) -> object:
    return None if pod is None else pod["metadata"].get("labels") or {}


def _reporter(watched: dict[Resource, Informer], recorder: Recorder) -> Callable[[Problem], None]:
    """Says a problem in the log, and as an Event on the object it is about."""
    resources = {resource.kind: resource for resource in watched}

    def report(problem: Problem) -> None:
        log.warning("%s %s/%s: %s", problem.kind, problem.namespace, problem.name, problem.message)
        resource = resources[problem.kind]
        item = watched[resource].get(problem.namespace, problem.name)
        if item is not None:
            recorder.emit(resource, item, "NotRouted", problem.message, kind="Warning")

    return report
