"""kopf's watch streams, and nothing else of kopf: no handler state, annotation or finalizer ever lands on an object.

``kopf.on.event`` handlers only look (kopf calls them low-level spies), so nothing of kopf's can fight a GitOps tool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Final

import kopf

from millrace_kube.connection import Connection
from millrace_kube.resources import Resource
from millrace_kube.runtime import Runtime

# How kopf names the tasks that hold its streams.
_STREAMS: Final = ("watcher for ", "resource observer")
_CANCEL_AGAIN_SECONDS: Final = 0.5


class _Backoffs:
    """Seconds between kopf's tries of a failed request; without an end, because an outage must not end the operator."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1, 2, 5)
        while True:
            yield 10


class _NoDiffs(kopf.DiffBaseStorage):
    """Nobody asks kopf what changed, so it need not copy every object to find out (a third of its time)."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing of the object."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Nothing was stored."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


async def watch(runtime: Runtime, connect: Callable[[], Awaitable[Connection]]) -> None:
    """Streams watch events of every cached resource into ``runtime.observe`` until cancelled.

    kopf's tasks are started and ended one by one: ``kopf.operator`` would also end every other task of the loop.

    Args:
        connect: connects, again whenever the API server refuses the old one's token.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)
    registry, settings = kopf.OperatorRegistry(), _settings()
    _log_in(registry, connect)
    for resource in runtime.cluster.cache.resources:
        _spy(registry, settings, runtime, resource)
    tasks = await kopf.spawn_tasks(registry=registry, settings=settings, standalone=True, clusterwide=True)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # none of them ends on its own, but by an error
    finally:
        logging.getLogger("kopf").setLevel(logging.CRITICAL)  # what is cut off now is no error
        await _end(tasks)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels kopf's tasks until all are done.

    One cancel is not enough: where a stream gives way to its next one (after 410, or a list that failed), kopf swallows
    a cancel that comes in that moment, and streams on. The tasks that wait for the streams get no second cancel, which
    would make them go without their streams, and leave the connections open.
    """
    for task in tasks:
        task.cancel()
    waiting = set(tasks)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=_CANCEL_AGAIN_SECONDS)
        for task in asyncio.all_tasks():
            if task.cancelling() and task.get_name().startswith(_STREAMS):
                task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _spy(
    registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, runtime: Runtime, resource: Resource
) -> None:
    where = (resource.group, resource.version, resource.plural)
    if labels := runtime.cluster.cache.resources[resource].labels:
        settings.watching.label_selectors[where] = labels

    @kopf.on.event(*where, registry=registry, id=f"observe-{resource.plural}")
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        runtime.observe(resource, event["type"], dict(event["object"]))


def _log_in(registry: kopf.OperatorRegistry, connect: Callable[[], Awaitable[Connection]]) -> None:
    @kopf.on.login(registry=registry, id="log-in")
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        found = await connect()
        return kopf.AiohttpSession(server=found.server, aiohttp_session=found.session(found.authorization()))


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.reconnect_backoff = 0.2
    settings.queueing.idle_timeout = 0.5
    settings.queueing.exit_timeout = 0.1
    settings.process.ultimate_exiting_timeout = None
    return settings
