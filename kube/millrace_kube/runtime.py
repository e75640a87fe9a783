"""The operators' process inside: stores kept true, changed objects mapped to keys, keys reconciled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from millrace_kube import kopf_streams
from millrace_kube.cache import are_current
from millrace_kube.cached_client import CachedClient
from millrace_kube.connection import Connection
from millrace_kube.informer import Informer, Informers
from millrace_kube.loop import Loop, Reconcile
from millrace_kube.metrics import KubeMetrics
from millrace_kube.queue import Key
from millrace_kube.resources import (
    EXPERIMENTS,
    FEATURE_VIEWS,
    MODEL_DEPLOYMENTS,
    Object,
    Resource,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_kube.stopping import ended

Mapper = Callable[[Object], Iterable[tuple[str, str]]]

# The kinds that users write, which kopf streams; children and all else are kept by informers. Of single namespaces kopf
# wants to know whether they exist, which nobody may ask who has rights in them alone: so informers keep those too.
_BY_KOPF: Final = (FEATURE_VIEWS, MODEL_DEPLOYMENTS, EXPERIMENTS)


@dataclass(frozen=True)
class Controller:
    """One control loop.

    Args:
        name: its name, which its keys carry: a kind, as a rule.
        reconcile: see ``Loop``.
        watches: for each watched resource, the (namespace, name) of the keys that a changed object concerns.
        reads: what it reads beside them. Without the lists of all, in the key's namespace, no reconcile begins.
    """

    name: str
    reconcile: Reconcile
    watches: Mapping[Resource, Mapper]
    reads: tuple[Resource, ...] = ()


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
        resync: seconds after which every object is reconciled, though nothing happened.
    """

    def __init__(
        self,
        cluster: CachedClient,
        controllers: Iterable[Controller],
        *,
        metrics: KubeMetrics | None = None,
        workers: int = 16,
        resync: float = 300.0,
        random: Random | None = None,
    ) -> None:
        self.cluster = cluster
        self._resync = resync
        controllers = tuple(controllers)
        reconciles = {controller.name: controller.reconcile for controller in controllers}
        self._needs = {controller.name: (*controller.watches, *controller.reads) for controller in controllers}
        self._loop = Loop(reconciles, workers=workers, metrics=metrics, random=random, may_begin=self._may_begin)
        self.queue = self._loop.queue
        self._mappers = _mappers(controllers)
        cluster.cache.subscribe(self._enqueue)
        for store in cluster.cache.stores:
            store.on_turned(self._enqueue_all)
            store.on_synced(self._loop.resume)

    @property
    def synced(self) -> bool:
        """Whether everything is listed, and all reconciles go on."""
        return self.cluster.cache.is_current

    async def run(self) -> None:
        """Reconciles until cancelled, each key while all is listed that its reconcile reads in its namespace.

        At its end Events that wait are written, for two seconds at most.

        What is not listed yet, or is refused, looks as if it were gone; and of a server that was set back some stores
        would hold the past and others the future.
        """
        stop = asyncio.Event()
        telling = asyncio.create_task(self.cluster.events.run(stop))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._loop.run())
                group.create_task(self._reconcile_all_forever())
        finally:
            stop.set()
            await ended(telling)

    async def watch(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        """Keeps the cache true until cancelled, or until SIGTERM or SIGINT, which kopf would take over.

        Args:
            connect: logs in, again where the API server refuses the old token.
        """
        client, stores = self.cluster.client, self.cluster.cache.stores
        streamed = [store for store in stores if store.resource in _BY_KOPF and not store.namespace]
        listed = Informers(client, [store for store in stores if store not in streamed], relist=self._resync)
        tasks = [asyncio.create_task(listed.run(), name="informers")]
        if streamed:
            informers = [Informer(client, store) for store in streamed]
            following = kopf_streams.follow(informers, connect, relist=self._resync)
            tasks.append(asyncio.create_task(following, name="kopf's streams"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reconcile_all_forever(self) -> None:
        while True:
            await asyncio.sleep(self._resync)
            self._enqueue_all()

    def _may_begin(self, key: Key) -> bool:
        return are_current(self.cluster.cache.stores_of(self._needs[key.controller], key.namespace))

    def _enqueue_all(self) -> None:
        """Also where a kind turns (``Store.on_turned``): what depends on it need not hold objects of it."""
        for store in self.cluster.cache.stores:
            for document in list(store.items.values()):
                self._enqueue(store.resource, document)

    def _enqueue(self, resource: Resource, document: Object) -> None:
        for controller, mapper in self._mappers.get(resource, ()):
            for place in mapper(document):
                self.queue.add(Key(controller, *place))


def _mappers(controllers: Iterable[Controller]) -> dict[Resource, list[tuple[str, Mapper]]]:
    found: dict[Resource, list[tuple[str, Mapper]]] = {}
    for controller in controllers:
        for resource, mapper in controller.watches.items():
            found.setdefault(resource, []).append((controller.name, mapper))
    return found
