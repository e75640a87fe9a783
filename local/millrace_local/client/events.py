"""Events for users: what ``kubectl get events`` and ``kubectl describe`` show.

An event's name follows from its object, reason and message, so repeating one (also after a restart) counts it up
instead of adding another.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from millrace_kube.client import Client
from millrace_kube.errors import AbsentError, AlreadyExistsError, ApiError
from millrace_kube.resources import EVENTS, Object, Resource
from millrace_kube.times import now as wall_clock
from millrace_kube.times import stamp

log = logging.getLogger(__name__)

WAITING_AT_MOST = 1000
REMEMBERED = 1000
LAST_WORDS_SECONDS = 2.0
LONGEST_MESSAGE = 1024


@dataclass(frozen=True)
class Happening:
    """One thing worth telling about one object."""

    resource: Resource
    regarding: Object
    reason: str
    message: str
    kind: Literal["Normal", "Warning"] = "Normal"


def event_of(happening: Happening, component: str, at: datetime, count: int = 1) -> Object:
    """The Event object that says ``happening``, seen ``count`` times, last at ``at``."""
    metadata = happening.regarding["metadata"]
    message = happening.message[:LONGEST_MESSAGE]
    identity = "\0".join((metadata.get("uid", ""), happening.reason, message, happening.kind, component))
    suffix = hashlib.sha256(identity.encode()).hexdigest()[:16]
    regarding = {
        "apiVersion": happening.resource.api_version,
        "kind": happening.resource.kind,
        "name": metadata["name"],
        "namespace": metadata.get("namespace", ""),
        "uid": metadata.get("uid", ""),
    }
    return {
        "metadata": {
            "name": f"{metadata['name'][:230]}.{suffix}",
            "namespace": metadata.get("namespace") or "default",
        },
        "involvedObject": regarding,
        "reason": happening.reason,
        "message": message,
        "type": happening.kind,
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": stamp(at),
        "lastTimestamp": stamp(at),
        "count": count,
    }


class Recorder:
    """Writes events in the background; a server that refuses them never holds up the work they tell of."""

    def __init__(self, client: Client, component: str, *, now: Callable[[], datetime] = wall_clock) -> None:
        self._client = client
        self._component = component
        self._now = now
        self._waiting: asyncio.Queue[tuple[Happening, datetime]] = asyncio.Queue(WAITING_AT_MOST)
        self._counts: OrderedDict[str, int] = OrderedDict()

    def emit(
        self,
        resource: Resource,
        regarding: Object,
        reason: str,
        message: str,
        *,
        kind: Literal["Normal", "Warning"] = "Normal",
    ) -> None:
        """Queues an event about ``regarding``; dropped when very many wait already."""
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait((Happening(resource, regarding, reason, message, kind), self._now()))

    async def run(self, stop: asyncio.Event) -> None:
        """Writes what is queued until ``stop`` is set, then what is left, for two seconds at most."""
        writing = asyncio.create_task(self._write_all())
        await stop.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), LAST_WORDS_SECONDS)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing

    async def _write_all(self) -> None:
        while True:
            happening, at = await self._waiting.get()
            try:
                await self._write(happening, at)
            except ApiError as error:
                log.debug("event not written: %s", error)
            finally:
                self._waiting.task_done()

    async def _write(self, happening: Happening, at: datetime) -> None:
        event = event_of(happening, self._component, at)
        name, namespace = event["metadata"]["name"], event["metadata"]["namespace"]
        count = self._counts.get(name, 0) + 1
        if count == 1:
            try:
                await self._client.create(EVENTS, event)
            except ApiError as error:
                if not isinstance(error, AlreadyExistsError):
                    raise
                count = int((await self._client.get(EVENTS, namespace, name) or {}).get("count") or 1) + 1
        if count > 1:
            change = {"count": count, "lastTimestamp": event["lastTimestamp"]}
            try:
                await self._client.patch(EVENTS, namespace, name, change)
            except ApiError as error:
                if not isinstance(error, AbsentError):
                    raise
                count = 0  # it has expired; the next one is written anew
        self._counts[name] = count
        self._counts.move_to_end(name)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
