"""The API server behind its HTTP surface: store, registry, schemas, watches and the garbage collector."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from millrace_core.schema import Schema, compile_schema
from millrace_kube.times import now
from millrace_local.apiserver.columns import parse_time
from millrace_local.apiserver.crds import resources_of
from millrace_local.apiserver.deletion import ObjectDeleter
from millrace_local.apiserver.garbage_collector import GarbageCollector
from millrace_local.apiserver.journal import Journal, JournalFullError
from millrace_local.apiserver.openapi import builtin_schema
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.reads import ObjectReader
from millrace_local.apiserver.registry import ResourceRegistry
from millrace_local.apiserver.request import RequestTarget
from millrace_local.apiserver.resources import CRDS, EVENTS, NAMESPACES, ApiResource
from millrace_local.apiserver.store import ObjectStore, WatchEvent
from millrace_local.apiserver.watching import WatchHub
from millrace_local.apiserver.writes import ObjectWriter

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_EVENT_LIFETIME = timedelta(hours=1)
_EVENT_SWEEP_SECONDS = 60
_SCALE = ApiResource("autoscaling", "v1", "Scale", "scales", "scale", namespaced=True)


def _last_written(event: dict[str, Any]) -> datetime:
    """By this server's clock. The times that an Event itself tells are those of its writer's clock."""
    metadata = event["metadata"]
    texts = [metadata["creationTimestamp"], *(one.get("time", "") for one in metadata.get("managedFields") or ())]
    return max((time for time in map(parse_time, texts) if time), default=datetime.max.replace(tzinfo=UTC))


class ApiServer:
    """The state and the workers of one API server; ``App`` is the HTTP surface on top.

    Args:
        data: the folder of the journal.
        clock: the present time.
        pods: the folder in which the node of this machine keeps its pods; None without one.
    """

    def __init__(self, data: Path, clock: Callable[[], datetime] = now, pods: Path | None = None) -> None:
        self._clock = clock
        self.pods = pods
        self.journal = Journal(data / "journal.db")
        self.registry = ResourceRegistry()
        self.hub = WatchHub()
        self._schemas: dict[ApiResource, Schema] = {}
        self.store = ObjectStore(self.journal)
        self.hub.revision = lambda: self.store.revision
        for entry in self.store.entries(CRDS):
            self._define(entry.name, entry.object())
        self.deleter = ObjectDeleter(self.store, clock)
        self.collector = GarbageCollector(self.store, self.registry, self.deleter)
        self.writer = ObjectWriter(self.store, self.registry, self.schema, clock)
        self.reader = ObjectReader(self.store, self.registry, self.hub)
        self.store.listeners += [self._definitions_changed, self.hub.publish, self.collector.notice]
        self._first_namespaces()

    def _first_namespaces(self) -> None:
        namespaces = self.registry.find("", "v1", "namespaces")
        if namespaces is None:
            return
        for name in _NAMESPACES:
            if self.store.get(NAMESPACES, "", name) is None:
                self.writer.create(
                    RequestTarget(namespaces), {"metadata": {"name": name}}, WriteOptions(manager="millrace-apiserver")
                )

    def schema(self, resource: ApiResource) -> Schema:
        """The compiled schema of a resource; compiled at its first use."""
        found = self._schemas.get(resource)
        if found is None:
            if resource.custom:
                raw = (resource.definition.get("schema") or {}).get("openAPIV3Schema") or {}
            else:
                raw = builtin_schema(resource.group, resource.version, resource.kind)
            found = self._schemas[resource] = compile_schema(raw)
        return found

    def scale_schema(self) -> Schema:
        """The compiled schema of ``Scale``."""
        return self.schema(_SCALE)

    def _definitions_changed(self, event: WatchEvent) -> None:
        if event.entry.resource != CRDS:
            return
        name = event.entry.name
        if event.type == "DELETED":
            plural, _, group = name.partition(".")
            self.registry.undefine(name)
            self.hub.drop(f"{group}/{plural}")
        elif event.old is None or event.old.object()["spec"] != event.entry.object()["spec"]:
            self._define(name, event.entry.object())

    def _define(self, name: str, definition: dict[str, object]) -> None:
        self._schemas = {r: s for r, s in self._schemas.items() if not r.custom or f"{r.plural}.{r.group}" != name}
        self.registry.define(name, definition, resources_of(definition))

    async def run(self) -> None:
        """Collects garbage, expires Events and checkpoints the journal until cancelled."""
        self.collector.resume()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.collector.run())
            tasks.create_task(self._checkpoints())
            tasks.create_task(self._sweep())

    async def _checkpoints(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.journal.erase()
            if self.journal.wants_checkpoint:
                await asyncio.to_thread(self.journal.checkpoint)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_EVENT_SWEEP_SECONDS)
            await self.expire_events()

    async def expire_events(self) -> None:
        """Removes events an hour after they were last written, as a real API server does."""
        oldest = self._clock() - _EVENT_LIFETIME
        for entry in self.store.entries(EVENTS):
            if _last_written(entry.object()) < oldest and self.store.get(EVENTS, *entry.key) is entry:
                with contextlib.suppress(JournalFullError):
                    self.store.remove(entry)
                await asyncio.sleep(0)

    def close(self) -> None:
        """Ends all watches and closes the journal."""
        self.hub.drop()
        self.journal.close()
