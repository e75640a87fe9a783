"""Keeps stores true by list and watch.

A watch resumes where it ended, also where its connection broke. Everything is listed again, and listeners are called
with the differences alone, where the server does not know the version (410), where the resumed watch fails too or says
nothing (the server was away, and may be back as an earlier self, at which a watch from a later version waits in
silence), where another store saw such a thing, and from time to time. Failures are retried with a growing delay for as
long as it takes; so is a refusal (403), of which the store takes note: no watch tells that a right was given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from random import Random
from typing import Final

from millrace_core.base import retry
from millrace_core.base.errors import MillraceError
from millrace_kube.client import Client
from millrace_kube.errors import AbsentError, ApiError, ExpiredError, ForbiddenError
from millrace_kube.resources import Resource, version_of
from millrace_kube.stopping import until
from millrace_kube.store import Store

_log = logging.getLogger(__name__)

LONGEST_DELAY: Final = 10.0
# As above, of what is refused: a person waits who has just granted it.
LONGEST_REFUSED: Final = 4.0
# How soon a kind that is not served is looked for again.
WHILE_NOT_INSTALLED: Final = 2.0
# After so many failures in a row everything is listed; so a server that answers lists but no watch is polled.
LIST_AFTER: Final = 2
RELIST_SECONDS: Final = 300.0
# What reading an answer raises that has not the form of Kubernetes' answers.
UNKNOWN_FORM: Final = (KeyError, TypeError, AttributeError, ValueError)


class Informer:
    """Keeps one store equal to what the server holds, a moment late.

    Args:
        relist: seconds after which everything is listed again, though nothing happened.
    """

    def __init__(
        self, client: Client, store: Store, *, relist: float = RELIST_SECONDS, random: Random | None = None
    ) -> None:
        self.store = store
        self._client = client
        self._relist_seconds = relist
        self._random = random or Random()  # noqa: S311 jitter, no secret
        self._version = ""  # From which to watch; empty: list first.
        self._list_at = 0.0  # By the event loop's clock.

    async def relist(self) -> str:
        """Lists everything and makes the store equal to it; the version of the list, empty where the kind is absent."""
        watch = self.store.watch
        try:
            found, version = await self._client.list(
                self.store.resource, self.store.namespace, labels=watch.labels, fields=watch.fields
            )
        except AbsentError:
            self.store.clear()
            return ""
        self.store.replace(found, int(version or 0))
        self._list_at = asyncio.get_running_loop().time() + self._relist_seconds
        return version

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        failures = 0
        while True:
            began, least = self._version, 0.0
            try:
                self._version = began = self._version or await self.relist()
                if self._version:
                    await until(self.store.due, self._watch())
                    failures = 0
                else:
                    least = WHILE_NOT_INSTALLED
            except MillraceError as error:
                # What brought something before it broke is resumed at once.
                failures = failures + 1 if self._version in ("", began) else 1
                least = self._failed(error, failures)
            except UNKNOWN_FORM as error:
                # Not a Kubernetes answer. Whatever it was, the next full list puts it right.
                failures, self._version = failures + 1, ""
                level = logging.WARNING if retry.is_told(failures) else logging.DEBUG
                _log.log(level, "%s: an answer of unknown form: %r", self.store.resource.plural, error)
            await self._pause(max(least, pause(self.store, failures, self._random)))

    async def _watch(self) -> None:
        store, watch = self.store, self.store.watch
        seconds = self._random.randint(240, 360)  # spreads reconnections
        events = self._client.watch(
            store.resource,
            self._version,
            namespace=store.namespace,
            labels=watch.labels,
            fields=watch.fields,
            seconds=seconds,
        )
        async with aclosing(events):
            async for kind, document in events:
                if kind == "DELETED":
                    store.remove(document)
                elif kind != "BOOKMARK":
                    store.upsert(document)
                store.advance(version_of(document))
                self._version = document["metadata"]["resourceVersion"]

    async def _pause(self, seconds: float) -> None:
        """Waits, less long where a list comes to be due meanwhile, to which the next turn goes."""
        if not self.store.due.is_set():
            await until(self.store.due, asyncio.sleep(seconds))
        else:
            await asyncio.sleep(seconds)
        if self.store.due.is_set() or asyncio.get_running_loop().time() > self._list_at:
            self._version = ""

    def _failed(self, error: MillraceError, failures: int) -> float:
        """Decides where to go on from, and after how many seconds at the earliest."""
        if failures >= LIST_AFTER or isinstance(error, (ExpiredError, AbsentError, ForbiddenError)):
            self._version = ""
        if isinstance(error, ForbiddenError):
            self.store.refuse(str(error))
        # That no answer comes every other part of the process says as well; an expired version is of no concern; and
        # of what is refused the store's owner tells, of all kinds at once.
        quiet = isinstance(error, (ExpiredError, ForbiddenError)) or (isinstance(error, ApiError) and error.status == 0)
        level = logging.WARNING if retry.is_told(failures) and not quiet else logging.DEBUG
        _log.log(level, "%s: %s", self.store.resource.plural, error)
        return error.delay if isinstance(error, ApiError) else 0.0


def pause(store: Store, failures: int, random: Random) -> float:
    """Seconds until the next try after so many failures in a row."""
    return retry.delay(max(failures, 1), longest=LONGEST_REFUSED if store.refused else LONGEST_DELAY, random=random)


class Informers:
    """One informer for each store, shared by everything in this process."""

    def __init__(self, client: Client, stores: Iterable[Store] = (), *, relist: float = RELIST_SECONDS) -> None:
        self._client = client
        self._relist = relist
        self._informers = {
            (store.resource, store.namespace): Informer(client, store, relist=relist) for store in stores
        }
        self._running: asyncio.TaskGroup | None = None

    def of(self, resource: Resource) -> Store:
        """The store of ``resource``; its informer starts at once when the others run already."""
        place = resource, ""
        if place not in self._informers:
            informer = self._informers[place] = Informer(self._client, Store(resource), relist=self._relist)
            informer.store.on_set_back(self._doubt)
            if self._running:
                self._running.create_task(informer.run())
        return self._informers[place].store

    def _doubt(self) -> None:
        for informer in self._informers.values():
            informer.store.doubt()

    async def synced(self) -> None:
        """Returns when each store has its first list."""
        for informer in list(self._informers.values()):
            await informer.store.synced.wait()

    async def run(self) -> None:
        """Runs the informers until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._running:
                for informer in self._informers.values():
                    self._running.create_task(informer.run())
                await asyncio.Event().wait()
        finally:
            self._running = None
