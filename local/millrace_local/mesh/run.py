"""The mesh's loop: watch, translate, write Envoy's files.

The agent starts it beside the controllers and the node; they may share informers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from millrace_kube.client import Client
from millrace_kube.events import Recorder
from millrace_kube.informer import Informers
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
from millrace_kube.stopping import until
from millrace_kube.store import Store
from millrace_local.mesh.admin import EnvoyAdmin
from millrace_local.mesh.holding import HeldSubsets
from millrace_local.mesh.model import MeshObjects, RouteProblem
from millrace_local.mesh.publisher import Publisher
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate

log = logging.getLogger(__name__)

RESOURCES = (SERVICES, ENDPOINT_SLICES, PODS, VIRTUAL_SERVICES, DESTINATION_RULES, HTTP_ROUTES)

# Under constant change the loop rests this many times as long as its last turn took: others share the process.
REST_FACTOR = 3.0
LONGEST_REST = 1.0
# The pause before the next look where Envoy did not confirm, or where a subset is held.
RECHECK_SECONDS = 0.25


async def run(
    client: Client, settings: MeshSettings, stop: asyncio.Event, *, informers: Informers | None = None
) -> None:
    """Keeps Envoy's files up to date with Services, routes and endpoints until ``stop`` is set.

    Args:
        client: an open client.
        settings: where to write.
        stop: ends the loop; the files stay.
        informers: informers that somebody else runs; by default the mesh runs its own.
    """
    own = informers is None
    shared = informers or Informers(client)
    watched = {resource: shared.of(resource) for resource in RESOURCES}
    recorder = Recorder(client, "millrace-mesh")
    settings.directory.mkdir(parents=True, exist_ok=True)
    async with EnvoyAdmin(settings.directory) as admin, asyncio.TaskGroup() as tasks:
        if own:
            tasks.create_task(until(stop, shared.run()))
        tasks.create_task(recorder.run(stop))
        loop = _MeshLoop(watched, Publisher(settings, admin), settings.debounce, _reporter(watched, recorder))
        keeping = tasks.create_task(loop.keep())
        await stop.wait()
        keeping.cancel()


class _MeshLoop:
    def __init__(
        self,
        watched: dict[Resource, Store],
        publisher: Publisher,
        debounce: float,
        report: Callable[[RouteProblem], None],
    ) -> None:
        self._watched = watched
        self._publisher = publisher
        self._debounce = debounce
        self._report = report
        self._changed = asyncio.Event()
        self._known: set[RouteProblem] = set()
        self._held = HeldSubsets()

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
        """Waits for a change; at most ``RECHECK_SECONDS`` if Envoy has not confirmed the last one or a subset is
        held.
        """
        settled = self._publisher.confirmed and not self._held.active
        try:
            async with asyncio.timeout(None if settled else RECHECK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _publish(self) -> None:
        mesh = translate(mesh_objects(self._watched))
        clusters = self._held.apply(self._publisher.clusters, mesh.clusters, mesh.ready, monotonic())
        mesh = replace(mesh, clusters=clusters)
        refused = await self._publisher.publish(mesh)
        problems = {*mesh.problems, *refused}
        for problem in sorted(problems - self._known, key=str):
            self._report(problem)
        self._known = problems

    def _any_changed(self, _old: Object | None, _new: Object | None) -> None:
        self._changed.set()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Only a pod's labels count; its address and readiness come with its EndpointSlice."""
        if _labels(old) != _labels(new):
            self._changed.set()


def mesh_objects(watched: dict[Resource, Store]) -> MeshObjects:
    """The objects that the informers hold now."""
    items = {resource: tuple(informer.items.values()) for resource, informer in watched.items()}
    return MeshObjects(
        services=items[SERVICES],
        endpoint_slices=items[ENDPOINT_SLICES],
        pods=items[PODS],
        virtual_services=items[VIRTUAL_SERVICES],
        destination_rules=items[DESTINATION_RULES],
        http_routes=items[HTTP_ROUTES],
    )


def _labels(pod: Object | None) -> object:
    return None if pod is None else pod["metadata"].get("labels") or {}


def _reporter(watched: dict[Resource, Store], recorder: Recorder) -> Callable[[RouteProblem], None]:
    """Writes a problem to the log, and as an Event on its object."""
    resources = {resource.kind: resource for resource in watched}

    def report(problem: RouteProblem) -> None:
        log.warning("%s %s/%s: %s", problem.kind, problem.namespace, problem.name, problem.message)
        resource = resources[problem.kind]
        item = watched[resource].get(problem.namespace, problem.name)
        if item is not None:
            recorder.enqueue(item, "Warning", "NotRouted", problem.message)

    return report
