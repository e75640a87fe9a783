"""Kubernetes Events: what happened, found by ``kubectl describe`` and ``kubectl get events``.

An Event's name follows from its object and its identity. With an identity of its own (a transition of a condition) it
is written once, however often it is tried; without one its words are its identity, and a repetition counts it up.

An Event is tried again while the API server does not answer. It is lost where the server refuses it, where very many
wait, and where the process ends and does not get it written in two seconds more, or is killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from millrace_core.api import names
from millrace_core.base.errors import MillraceError, RetryError
from millrace_kube import errors
from millrace_kube.client import Client
from millrace_kube.resources import EVENTS, Object, name_of, namespace_of, resource_of
from millrace_kube.times import now, stamp

_log = logging.getLogger(__name__)

_LONGEST_NOTE: Final = 1024
_MOST_QUEUED: Final = 1000
_MOST_REMEMBERED: Final = 1000
_LAST_WRITES_SECONDS: Final = 2.0
_FIRST_RETRY_SECONDS: Final = 0.2
_LONGEST_RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Emit:
    """One Event to tell; see ``Recorder.emit``."""

    about: Object
    kind: str
    reason: str
    note: str
    identity: object


class Recorder:
    """Writes Events. One that cannot be written now waits for ``run``: it never holds up the work that it is about.

    Args:
        component: the reporting component.
        clock: the current time.
    """

    def __init__(
        self, client: Client, component: str = "millrace-operator", *, clock: Callable[[], datetime] = now
    ) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        # Each with the call that writes it.
        self._queued: asyncio.Queue[tuple[Callable[[Object], Awaitable[None]], Object]] = asyncio.Queue(_MOST_QUEUED)
        self._counts: dict[str, int] = {}
        self._unsure = _UnsureWrites()
        self._last_chance = asyncio.Event()

    @asynccontextmanager
    async def of_status(
        self, observed: Object, status: Mapping[str, Any], turned: Iterable[Object], also: Iterable[Emit]
    ) -> AsyncIterator[None]:
        """Around the write of a status: tells of it once it is written, and nothing where it is so already.

        Where its answer is lost the Events are told as soon as the object shows that it took effect; where this is
        cancelled, by ``run``.

        Args:
            observed: the object as it was read.
            turned: the conditions that turned.
            also: what else there is to tell.
        """
        for event in self._unsure.happened(observed):
            await self.tell(event)
        if status == (observed.get("status") or {}):
            yield
            return
        events = [self.transition(observed, item) for item in turned]
        events += [self.event(observed, one.kind, one.reason, one.note, one.identity) for one in also]
        self._unsure.begin(observed, status, events)
        try:
            yield
        except asyncio.CancelledError:
            for event in events:
                self._queue(partial(self._write_if_it_is_so, observed, status), event)
            raise
        self._unsure.forget(observed)
        await self._tell_each(events)

    def transition(self, about: Object, condition: dict[str, Any]) -> Object:
        """The Event that a condition turned: Normal where it is True now, Warning where it is False."""
        kind: str = "Normal" if condition["status"] == "True" else "Warning"
        identity = [condition["type"], condition["status"], condition["reason"], condition["lastTransitionTime"]]
        note = f"{condition['type']}: {condition['message']}"
        return self.event(about, kind, condition["reason"], note, identity)

    async def emit(self, about: Object, kind: str, reason: str, note: str, *, identity: object) -> None:
        """Writes one Event; see ``event`` and ``tell``."""
        await self.tell(self.event(about, kind, reason, note, identity))

    async def tell(self, event: Object) -> None:
        """Writes an Event once, now or, where no answer comes, by ``run``.

        Raises:
            LostLeadershipError: this process must not write.
        """
        try:
            await self._write_once(event)
        except errors.LostLeadershipError:
            raise
        except MillraceError as error:
            if _may_pass(error):
                self._queue(self._write_once, event)
            else:
                _lost(event, error)

    async def _tell_each(self, events: list[Object]) -> None:
        left = list(events)
        try:
            while left:
                await self.tell(left[0])
                del left[0]
        except asyncio.CancelledError:
            for event in left:
                self._queue(self._write_once, event)
            raise

    def enqueue(self, about: Object, kind: str, reason: str, note: str) -> None:
        """Has an Event written, or counted up, by ``run``; dropped where very many wait already."""
        identity = [reason, note, kind, self._component]
        self._queue(self._count_up, self.event(about, kind, reason, note, identity))

    def _queue(self, write: Callable[[Object], Awaitable[None]], event: Object) -> None:
        with suppress(asyncio.QueueFull):
            self._queued.put_nowait((write, event))

    async def run(self, stop: asyncio.Event) -> None:
        """Writes what is queued until ``stop`` is set, then what is left, for two seconds at most."""
        writing = asyncio.create_task(self._write_all())
        try:
            await stop.wait()
            self._last_chance.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._queued.join(), _LAST_WRITES_SECONDS)
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    async def _write_all(self) -> None:
        while True:
            write, event = await self._queued.get()
            try:
                await self._write_in_the_end(write, event)
            finally:
                self._queued.task_done()

    async def _write_in_the_end(self, write: Callable[[Object], Awaitable[None]], event: Object) -> None:
        """One at a time, in order: while the API server does not answer, the others wait."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                return await write(event)
            except MillraceError as error:
                if not _may_pass(error):
                    return _lost(event, error)
                _log.debug("an Event waits: %s", error)
            if self._last_chance.is_set():
                await asyncio.sleep(_FIRST_RETRY_SECONDS)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._last_chance.wait(), delay)
            delay = min(delay * 2, _LONGEST_RETRY_SECONDS)

    async def _write_if_it_is_so(self, observed: Object, status: Mapping[str, Any], event: Object) -> None:
        """Whether a write that was cut off took effect is asked, since there is no later turn that would see it."""
        found = await self._client.get(resource_of(observed), namespace_of(observed), name_of(observed))
        same = found is not None and found["metadata"]["uid"] == observed["metadata"]["uid"]
        if found is not None and same and (found.get("status") or {}) == status:
            await self._write_once(event)

    async def _write_once(self, event: Object) -> None:
        with suppress(errors.AlreadyExistsError):
            await self._client.create(EVENTS, event)

    async def _count_up(self, event: Object) -> None:
        place = namespace_of(event), name_of(event)
        count = self._counts.pop(place[1], 0)
        if count == 0:
            try:
                await self._client.create(EVENTS, event)
            except errors.AlreadyExistsError:
                found = await self._client.get(EVENTS, *place) or {}
                count = int(found.get("count") or 1)
        if count > 0:
            try:
                change = {"count": count + 1, "lastTimestamp": event["lastTimestamp"]}
                await self._client.patch(EVENTS, *place, change)
            except errors.AbsentError:  # it has expired meanwhile
                await self._client.create(EVENTS, event)
                count = 0
        self._counts[place[1]] = count + 1
        if len(self._counts) > _MOST_REMEMBERED:
            del self._counts[next(iter(self._counts))]

    def event(self, about: Object, kind: str, reason: str, note: str, identity: object) -> Object:
        """An Event as it is written.

        Args:
            kind: Normal or Warning.
            identity: what makes it this one and no other (JSON).
        """
        metadata, at = about["metadata"], stamp(self._clock())
        uid, place = metadata.get("uid", ""), namespace_of(about)
        name = f"{name_of(about)[:200]}.{names.digest([uid, identity])[:16]}"
        return {
            "metadata": {"name": name, "namespace": place or "default"},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": name_of(about),
                "namespace": place,
                "uid": uid,
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": kind,
            "reason": reason,
            "message": note[:_LONGEST_NOTE],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._component,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }


def _may_pass(error: MillraceError) -> bool:
    """Whether the same write may succeed soon. A right or a namespace that is missing is no matter of seconds."""
    hopeless = (errors.ForbiddenError, errors.AbsentError, errors.LostLeadershipError)
    return isinstance(error, RetryError) and not isinstance(error, hopeless)


def _lost(event: Object, error: MillraceError) -> None:
    _log.warning("an Event was lost: %s: %s (%s)", event["reason"], event["message"], error)


class _UnsureWrites:
    """Status writes whose answer did not come: whether they took effect shows when the object is seen again.

    A connection may break, and a time limit pass, after the API server has written. Then the next turn finds the status
    as it should be and has nothing to write, and nobody would tell what the write was to be told with. Held are, for
    each object, the writes that were tried on one version of it, with their Events.
    """

    def __init__(self) -> None:
        self._tries: dict[str, tuple[str, list[tuple[Mapping[str, Any], list[Object]]]]] = {}

    def begin(self, observed: Object, status: Mapping[str, Any], events: list[Object]) -> None:
        """``status`` is about to be written on condition that the object is as ``observed``."""
        uid, version = observed["metadata"]["uid"], observed["metadata"]["resourceVersion"]
        tried_on, tries = self._tries.pop(uid, (version, []))
        self._tries[uid] = (version, [*(tries if tried_on == version else []), (status, events)])
        if len(self._tries) > _MOST_REMEMBERED:
            del self._tries[next(iter(self._tries))]

    def forget(self, observed: Object) -> None:
        """The answer came."""
        self._tries.pop(observed["metadata"]["uid"], None)

    def happened(self, observed: Object) -> list[Object]:
        """The Events of a write that took effect, as a newer version of the object shows; given once."""
        uid, version = observed["metadata"]["uid"], observed["metadata"]["resourceVersion"]
        tried_on, tries = self._tries.get(uid, (version, []))
        if tried_on == version:
            return []
        del self._tries[uid]
        return next((events for status, events in tries if status == (observed.get("status") or {})), [])
