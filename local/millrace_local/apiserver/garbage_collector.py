"""Deletes what owners, namespaces and CRDs leave behind.

One worker follows the store and does what Kubernetes' garbage collector, namespace controller and CRD finalizer do: it
deletes dependents whose owners are gone, removes owner references of orphans, keeps an owner that is deleted in the
foreground until its dependents are gone, and empties namespaces and CRDs before they disappear.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from millrace_local.apiserver.crds import CRD_FINALIZER
from millrace_local.apiserver.deletion import FOREGROUND, ORPHAN, DeleteOptions, ObjectDeleter
from millrace_local.apiserver.journal import JournalFullError
from millrace_local.apiserver.registry import ResourceRegistry
from millrace_local.apiserver.resources import CRDS, NAMESPACES
from millrace_local.apiserver.store import ObjectStore, StoreEntry, WatchEvent

_RETRY_SECONDS = 2.0
_log = logging.getLogger(__name__)


class GarbageCollector:
    """The queue of objects to look at, and the worker, ``run``, that looks at them."""

    def __init__(self, store: ObjectStore, registry: ResourceRegistry, deleter: ObjectDeleter) -> None:
        self._store = store
        self._registry = registry
        self._deleter = deleter
        self._due: dict[tuple[str, str, str], None] = {}
        self._wake = asyncio.Event()

    def resume(self) -> None:
        """Queues everything once, to finish what was under way when the server stopped."""
        for storage in self._store.resources():
            for entry in self._store.entries(storage):
                if entry.deleting or entry.owners:
                    self._add(entry)

    def notice(self, event: WatchEvent) -> None:
        """Queues what a change in the store concerns."""
        entry = event.entry
        if event.type == "DELETED":
            for dependent in self._store.dependents(entry.uid):
                self._add(dependent)
            for owner in entry.owners:
                self._add_deleting(self._store.by_uid(owner))
            self._add_deleting(self._store.get(NAMESPACES, "", entry.namespace) if entry.namespace else None)
            group, _, plural = entry.resource.rpartition("/")
            self._add_deleting(self._store.get(CRDS, "", f"{plural}.{group}"))
        elif entry.deleting or (entry.owners and (event.old is None or event.old.owners != entry.owners)):
            self._add(entry)

    def _add_deleting(self, entry: StoreEntry | None) -> None:
        if entry is not None and entry.deleting:
            self._add(entry)

    def _add(self, entry: StoreEntry) -> None:
        self._due[(entry.resource, entry.namespace, entry.name)] = None
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                key = next(iter(self._due))
                del self._due[key]
                try:
                    self._process(key)
                except JournalFullError as error:
                    _log.warning("garbage collection waits: %s", error)
                    self._due[key] = None
                    await asyncio.sleep(_RETRY_SECONDS)
                except Exception:
                    # One object that fails must not block all others.
                    _log.exception("garbage collection of %s failed", "/".join(key))
                await asyncio.sleep(0)

    def _process(self, key: tuple[str, str, str]) -> None:
        entry = self._store.get(*key)
        if entry is None:
            return
        if entry.deleting:
            finalizers = entry.object()["metadata"].get("finalizers") or []
            if ORPHAN in finalizers:
                self._orphan(entry)
            elif FOREGROUND in finalizers:
                self._foreground(entry)
            elif entry.resource == NAMESPACES:
                self._empty_namespace(entry)
            elif entry.resource == CRDS and CRD_FINALIZER in finalizers:
                self._empty_crd(entry)
        elif entry.owners:
            self._dependent(entry)

    def _dependent(self, entry: StoreEntry) -> None:
        """Deletes an object whose owners are all gone; otherwise removes the references to owners that are gone."""
        obj = entry.object()
        references = obj["metadata"]["ownerReferences"]
        solid, waiting = [], []
        for reference in references:
            owner = self._owner(entry, reference)
            if owner is None:
                continue
            if owner.deleting and reference.get("blockOwnerDeletion") and _has_finalizer(owner, FOREGROUND):
                waiting.append(reference)
            else:
                solid.append(reference)
        if solid:
            if len(solid) < len(references):
                obj["metadata"]["ownerReferences"] = solid
                self._store.put(entry.resource, entry.namespace, entry.name, obj)
            return
        has_dependents = waiting and self._store.dependents(entry.uid)
        self._delete(entry, "Foreground" if has_dependents else "Background")

    def _owner(self, entry: StoreEntry, reference: dict[str, Any]) -> StoreEntry | None:
        owner = self._store.by_uid(reference["uid"])
        if owner is None or owner.namespace not in ("", entry.namespace) or owner.name != reference["name"]:
            return None
        return owner

    def _delete(self, entry: StoreEntry, policy: str) -> None:
        resource = self._registry.of_storage(entry.resource)
        if resource is not None and not entry.deleting:
            self._deleter.delete(resource, entry, DeleteOptions(policy=policy))

    def _orphan(self, owner: StoreEntry) -> None:
        for dependent in self._store.dependents(owner.uid):
            obj = dependent.object()
            kept = [r for r in obj["metadata"]["ownerReferences"] if r["uid"] != owner.uid]
            if kept:
                obj["metadata"]["ownerReferences"] = kept
            else:
                del obj["metadata"]["ownerReferences"]
            self._store.put(dependent.resource, dependent.namespace, dependent.name, obj)
        self._release(owner, ORPHAN)

    def _foreground(self, owner: StoreEntry) -> None:
        blocking = False
        for dependent in self._store.dependents(owner.uid):
            references = dependent.object()["metadata"]["ownerReferences"]
            blocking |= any(r["uid"] == owner.uid and r.get("blockOwnerDeletion") for r in references)
            self._dependent(dependent) if not dependent.deleting else None
        # Some dependents may be gone already; the end of each of the others queues the owner again.
        remaining = self._store.dependents(owner.uid)
        if not remaining or not blocking:
            self._release(owner, FOREGROUND)

    def _release(self, entry: StoreEntry, finalizer: str) -> None:
        """Removes one finalizer; the object goes when it was the last."""
        current = self._store.get(entry.resource, entry.namespace, entry.name)
        if current is None:
            return
        obj = current.object()
        metadata = obj["metadata"]
        finalizers = [name for name in metadata.get("finalizers") or () if name != finalizer]
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if not finalizers and not metadata.get("deletionGracePeriodSeconds") and entry.resource != NAMESPACES:
            self._store.remove(current, obj)
        else:
            self._store.put(entry.resource, entry.namespace, entry.name, obj)

    def _empty_namespace(self, namespace: StoreEntry) -> None:
        remaining = False
        for resource in self._registry.stored():
            if not resource.namespaced:
                continue
            for entry in self._store.entries(resource.storage, namespace.name):
                if not entry.deleting:
                    self._deleter.delete(resource, entry, DeleteOptions(policy="Background"))
                remaining |= self._store.get(entry.resource, entry.namespace, entry.name) is not None
        if remaining:
            return
        obj = namespace.object()
        if obj["spec"].get("finalizers"):
            obj["spec"]["finalizers"] = []
            namespace = self._store.put(NAMESPACES, "", namespace.name, obj)
        if not obj["metadata"].get("finalizers"):
            self._store.remove(namespace)

    def _empty_crd(self, definition: StoreEntry) -> None:
        plural, _, group = definition.name.partition(".")
        resource = self._registry.of_storage(f"{group}/{plural}")
        storage = f"{group}/{plural}"
        for entry in self._store.entries(storage):
            if not entry.deleting and resource is not None:
                self._deleter.delete(resource, entry, DeleteOptions(policy="Background"))
        if not self._store.entries(storage):
            self._release(definition, CRD_FINALIZER)


def _has_finalizer(entry: StoreEntry, name: str) -> bool:
    return name in (entry.object()["metadata"].get("finalizers") or ())
