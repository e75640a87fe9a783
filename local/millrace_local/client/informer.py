"""A local copy of one resource, kept by list and watch, with listeners and indices.

The watch resumes where it ended; only when the server no longer knows the version (410) is everything listed again, and
listeners then hear the differences only. Failures are retried with a growing delay, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from contextlib import suppress

from millrace_kube.client import Client
from millrace_kube.errors import AbsentError, ApiError, ExpiredError
from millrace_kube.resources import Object, Resource

log = logging.getLogger(__name__)

# Called with (old, new): old is None for an addition, new is None for a removal.
Listener = Callable[[Object | None, Object | None], None]
Index = Callable[[Object], Iterable[str]]

FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
WHILE_NOT_INSTALLED = 2.0


def key_of(obj: Object) -> str:
    """``namespace/name``, or ``/name`` for a cluster-wide object."""
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def version_of(obj: Object) -> int:
    """The resource version as a number; -1 when the server's versions are not numbers."""
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else -1


class Informer:
    """Keeps ``items`` equal to what the server holds, a moment late.

    ``observe`` takes the answer to one's own write, so that a controller reads its own writes at once and never
    repeats one because its copy was late.
    """

    def __init__(self, client: Client, resource: Resource, *, fields: str = "", labels: str = "") -> None:
        self.resource = resource
        self.items: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._fields = fields
        self._labels = labels
        self._version = ""
        self._listeners: list[Listener] = []
        self._indices: dict[str, tuple[Index, dict[str, set[str]]]] = {}

    def subscribe(self, listener: Listener) -> None:
        """Calls ``listener`` for everything known now and for each change from now on; it must not block."""
        self._listeners.append(listener)
        for item in list(self.items.values()):
            listener(None, item)

    def index(self, name: str, keys: Index) -> None:
        """Keeps an index ``name`` of the items by what ``keys`` returns for each."""
        if name not in self._indices:
            self._indices[name] = (keys, {})
            for key, item in self.items.items():
                self._enter(name, key, item)

    def by(self, name: str, value: str) -> list[Object]:
        """The items whose index ``name`` holds ``value``, in the order of their names."""
        return [self.items[key] for key in sorted(self._indices[name][1].get(value, ()))]

    def get(self, namespace: str, name: str) -> Object | None:
        """The object of this name, if known."""
        return self.items.get(f"{namespace}/{name}")

    def observe(self, obj: Object) -> None:
        """Takes the answer to one's own create or patch, unless the watch is already past it."""
        version = version_of(obj)
        known = self.items.get(key_of(obj))
        newest = max(int(self._version) if self._version.isdigit() else 0, version_of(known) if known else 0)
        if version > newest:
            self._put(obj)

    async def run(self, stop: asyncio.Event) -> None:
        """Lists and watches until ``stop`` is set."""
        keeping = asyncio.create_task(self._keep())
        try:
            await stop.wait()
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self) -> None:
        delay = FIRST_DELAY
        while True:
            before, asked = self._version, 0.0
            try:
                if not self._version:
                    self._replace(*await self._client.list(self.resource, fields=self._fields, labels=self._labels))
                await self._watch()
                pause = FIRST_DELAY
            except ApiError as error:
                asked, pause = error.delay, self._pause_after(error, delay)
            except (KeyError, TypeError, AttributeError):
                # Not a Kubernetes answer. Whatever it was, the next full list puts it right.
                log.exception("%s: an answer of unknown form", self.resource.plural)
                self._version, pause = "", LONGEST_DELAY
            # What brought something before it broke is resumed at once.
            moved = self._version not in ("", before)
            delay = FIRST_DELAY if moved else min(delay * 2, LONGEST_DELAY)
            pause = FIRST_DELAY if moved else pause
            await asyncio.sleep(max(asked, pause * random.uniform(0.8, 1.2)))  # noqa: S311

    def _pause_after(self, error: ApiError, delay: float) -> float:
        if isinstance(error, ExpiredError):
            self._version = ""
            return delay
        if isinstance(error, AbsentError):
            # The kind is not installed (yet): the same as an empty list, looked at again.
            self._replace([], "")
            return min(delay, WHILE_NOT_INSTALLED)
        if error.status:
            log.warning("%s: %s", self.resource.plural, error)
        else:
            log.debug("%s: %s", self.resource.plural, error)
        return delay

    async def _watch(self) -> None:
        seconds = random.randint(240, 360)  # noqa: S311 - spreads reconnections
        async for kind, obj in self._client.watch(
            self.resource, version=self._version, fields=self._fields, labels=self._labels, seconds=seconds
        ):
            if kind == "DELETED":
                self._remove(key_of(obj), obj)
            elif kind != "BOOKMARK":
                self._take(obj)
            self._version = obj["metadata"].get("resourceVersion", self._version)

    def _take(self, obj: Object) -> None:
        """Puts a watched object, unless a newer one is known: a stale watch must not turn time back."""
        known = self.items.get(key_of(obj))
        if known is None or version_of(obj) < 0 or version_of(obj) > version_of(known):
            self._put(obj)

    def _replace(self, items: list[Object], version: str) -> None:
        fresh = {key_of(item): item for item in items}
        for key in [key for key in self.items if key not in fresh]:
            self._remove(key, None)
        for key, item in fresh.items():
            known = self.items.get(key)
            if known is None or _differs(known, item):
                self._put(item)
        self._version = version
        self.synced.set()

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        # Bookkeeping of server-side apply: nobody here reads it, and it is half of an object's bytes.
        obj["metadata"].pop("managedFields", None)
        old = self.items.get(key)
        if old is not None:
            self._leave(key, old)
        self.items[key] = obj
        for name in self._indices:
            self._enter(name, key, obj)
        self._tell(old, obj)

    def _remove(self, key: str, last: Object | None) -> None:
        old = self.items.get(key)
        if old is None or (last is not None and -1 < version_of(last) < version_of(old)):
            return
        self._leave(key, old)
        del self.items[key]
        self._tell(old, None)

    def _enter(self, name: str, key: str, obj: Object) -> None:
        keys, table = self._indices[name]
        for value in keys(obj):
            table.setdefault(value, set()).add(key)

    def _leave(self, key: str, obj: Object) -> None:
        for keys, table in self._indices.values():
            for value in keys(obj):
                if members := table.get(value):
                    members.discard(key)
                    if not members:
                        del table[value]

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for listener in self._listeners:
            try:
                listener(old, new)
            except Exception:
                # One listener's fault must not end the watch of all.
                log.exception("%s: a listener failed", self.resource.plural)


def _differs(known: Object, item: Object) -> bool:
    ours: Object = known["metadata"]
    theirs: Object = item["metadata"]
    return (ours.get("uid"), ours["resourceVersion"]) != (theirs.get("uid"), theirs["resourceVersion"])


class Informers:
    """One informer per resource, shared by everything in this process."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[Resource, Informer] = {}
        self._running: tuple[asyncio.TaskGroup, asyncio.Event] | None = None

    def of(self, resource: Resource) -> Informer:
        """The informer of ``resource``; it starts at once when the others run already."""
        if resource not in self._informers:
            informer = self._informers[resource] = Informer(self._client, resource)
            if self._running:
                group, stop = self._running
                group.create_task(informer.run(stop))
        return self._informers[resource]

    async def synced(self, stop: asyncio.Event) -> None:
        """Returns when each has its first list, or ``stop`` is set."""
        stopping = asyncio.create_task(stop.wait())
        listing = [asyncio.create_task(informer.synced.wait()) for informer in self._informers.values()]
        for task in listing:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, *listing):
            task.cancel()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the informers until ``stop`` is set."""
        async with asyncio.TaskGroup() as group:
            self._running = (group, stop)
            for informer in list(self._informers.values()):
                group.create_task(informer.run(stop))
            await stop.wait()
        self._running = None
