"""Watch events in, reconciles out: keeps the cache true, maps changed objects to keys, and works the queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random

from millrace_core.base.errors import MillraceError, RetryError
from millrace_kube import errors
from millrace_kube.cached_client import CachedClient
from millrace_kube.metrics import KubeMetrics
from millrace_kube.queue import Key, Requeue, WorkQueue, backoff
from millrace_kube.resources import Object, Resource, labels_of, name_of, namespace_of
from millrace_kube.sightings import Sightings

_log = logging.getLogger(__name__)

Mapper = Callable[[Object], Iterable[tuple[str, str]]]
Reconcile = Callable[[Key], Awaitable[Requeue | None]]


@dataclass(frozen=True)
class Controller:
    """One control loop.

    Args:
        name: its name, which its keys carry: a kind, as a rule.
        reconcile: brings one object to what its spec says; idempotent; may raise, and is then tried again.
        watches: for each watched resource, the (namespace, name) of the keys that a changed object concerns.
    """

    name: str
    reconcile: Reconcile
    watches: Mapping[Resource, Mapper]


def itself(document: Object) -> Iterable[tuple[str, str]]:
    """Mapper: the key of the object itself."""
    return [(namespace_of(document), name_of(document))]


def by_label(label: str) -> Mapper:
    """Mapper: the key that a child's label names, in the child's namespace."""

    def owners(document: Object) -> Iterable[tuple[str, str]]:
        owner = labels_of(document).get(label)
        return [(namespace_of(document), owner)] if owner else []

    return owners


class Runtime:
    """Runs the controllers of one process.

    Args:
        workers: reconciles at work at once.
        patience: seconds after which a change that we know of, but no watch has told, makes us list again.
        resync: seconds after which every kind is listed again and every object reconciled, though nothing happened;
            what a watch has lost is found then at the latest.
    """

    def __init__(
        self,
        cluster: CachedClient,
        controllers: Iterable[Controller],
        *,
        metrics: KubeMetrics | None = None,
        workers: int = 16,
        patience: float = 5.0,
        resync: float = 300.0,
        random: Random | None = None,
    ) -> None:
        self.cluster = cluster
        self.controllers = {controller.name: controller for controller in controllers}
        self.synced = False
        self._metrics = metrics or KubeMetrics()
        self.queue = WorkQueue(self._metrics)
        self._workers = workers
        self._resync = resync
        self._random = random or Random()  # noqa: S311 jitter, no secret
        self._failures: dict[Key, int] = {}
        self._sightings = Sightings(self._mark_stale, patience)
        self._due = asyncio.Event()
        self._stale: set[Resource] = set()
        self._mappers = _mappers(self.controllers.values())
        cluster.cache.subscribe(self._route)

    def observe(self, resource: Resource, event: str | None, document: Object) -> None:
        """Takes one watch event: ADDED, MODIFIED, DELETED, or None for an object of a list that a watch begins with."""
        document = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
        if event == "DELETED":
            self.cluster.cache.remove(resource, document)
        else:
            self.cluster.cache.upsert(resource, document)
        self._sightings.saw(resource, (namespace_of(document), name_of(document)))
        if event is None:
            self._sightings.began(resource)

    async def run(self) -> None:
        """Lists everything, then reconciles until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._list_until_done(self.cluster.cache.resources)
                self.synced = True
                # Not before: what is not listed yet looks as if it were gone.
                for _ in range(self._workers):
                    group.create_task(self._work())
                group.create_task(self._relist_forever())
        finally:
            self.queue.close()
            self._sightings.close()

    async def relist(self, resource: Resource) -> None:
        """Lists one kind and makes the cache equal to it."""
        began = asyncio.get_running_loop().time()
        try:
            labels = self.cluster.cache.resources[resource].labels
            documents, version = await self.cluster.client.list(resource, labels=labels)
        except errors.AbsentError:
            self.cluster.cache.unserved(resource)
        else:
            self.cluster.cache.replace(resource, documents, version)
        self._sightings.listed(resource, began)

    async def reconcile(self, key: Key) -> None:
        """One turn of one key, and when its next one is."""
        controller = self.controllers[key.controller]
        started = time.perf_counter()
        try:
            wish = await controller.reconcile(key)
        except Exception as error:
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            self._metrics.reconciles.labels(key.controller, "requeue" if wish else "ok").inc()
            if wish is not None:
                self.queue.add_after(key, wish.after)
        self._metrics.seconds.labels(key.controller).observe(time.perf_counter() - started)

    def _failed(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        known = isinstance(error, MillraceError)
        self._metrics.reconciles.labels(key.controller, "retry" if known else "error").inc()
        delay = backoff(failures, self._random)
        if isinstance(error, RetryError):
            delay = max(delay, error.delay)
        if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th…: an outage is not a flood of lines
            level = logging.INFO if isinstance(error, errors.ConflictError) else logging.WARNING
            _log.log(level, "%s: %s; try %d follows in %.1f s", key, error, failures + 1, delay, exc_info=not known)
        self.queue.add_after(key, delay)

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                await self.reconcile(key)
            finally:
                self.queue.done(key)

    def _route(self, resource: Resource, document: Object) -> None:
        place = namespace_of(document), name_of(document)
        if self.cluster.cache.get(resource, *place) is None:
            self._sightings.saw(resource, place)
        else:
            self._sightings.expect(resource, place)
        self._enqueue(resource, document)

    def _enqueue(self, resource: Resource, document: Object) -> None:
        for controller, mapper in self._mappers.get(resource, ()):
            for place in mapper(document):
                self.queue.add(Key(controller, *place))

    def _mark_stale(self, resource: Resource) -> None:
        self._stale.add(resource)
        self._due.set()

    async def _relist_forever(self) -> None:
        loop = asyncio.get_running_loop()
        resync_at = loop.time() + self._resync
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(resync_at):
                    await self._due.wait()
            self._due.clear()
            stale, self._stale = self._stale, set()
            everything = loop.time() >= resync_at
            await self._list_until_done(tuple(self.cluster.cache.resources) if everything else tuple(stale))
            if everything:
                resync_at = loop.time() + self._resync
                self._reconcile_everything()

    def _reconcile_everything(self) -> None:
        for resource in self.cluster.cache.resources:
            for document in self.cluster.cache.all(resource):
                self._enqueue(resource, document)

    async def _list_until_done(self, resources: Iterable[Resource]) -> None:
        waiting, failures = list(resources), 0
        while waiting:
            results = await asyncio.gather(*map(self.relist, waiting), return_exceptions=True)
            failed = [(kind, result) for kind, result in zip(waiting, results, strict=True) if result is not None]
            for _, error in failed:
                if not isinstance(error, MillraceError):
                    raise error
            waiting = [kind for kind, _ in failed]
            if failed:
                failures += 1
                delay = backoff(failures, self._random)
                _log.warning("cannot list %s: %s; again in %.1f s", failed[0][0].plural, failed[0][1], delay)
                await asyncio.sleep(delay)


def _mappers(controllers: Iterable[Controller]) -> dict[Resource, list[tuple[str, Mapper]]]:
    found: dict[Resource, list[tuple[str, Mapper]]] = {}
    for controller in controllers:
        for resource, mapper in controller.watches.items():
            found.setdefault(resource, []).append((controller.name, mapper))
    return found
