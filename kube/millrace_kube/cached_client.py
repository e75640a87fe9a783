"""What operators do to the cluster: apply, delete, finalizers, status, Events. The only writer of Kubernetes objects.

Nothing is written that is already so, and nothing is decided for good on the cache alone: an apply is the whole wanted
object (a stale cache can only make it superfluous), status and finalizers are written on condition of the resource
version that was read, and every answer goes back into the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from millrace_core.api import conditions, names
from millrace_kube import errors
from millrace_kube.cache import Cache
from millrace_kube.client import Client
from millrace_kube.compare import merge_patch
from millrace_kube.contests import Contests
from millrace_kube.events import Emit, Recorder
from millrace_kube.metrics import KubeMetrics
from millrace_kube.ownership import Difference, difference, taken_over, without_scaled
from millrace_kube.resources import (
    Object,
    Resource,
    annotations_of,
    deleting,
    key_text,
    labels_of,
    name_of,
    namespace_of,
    resource_of,
    version_of,
)

MANAGED: Final = {names.MANAGED_BY: "millrace"}
# Reason of the Event about a child that somebody else had changed.
PUT_BACK: Final = "ChildPutBack"


class CachedClient:
    """Reads from the cache, writes through the client, and only what differs.

    Args:
        clock: the current time, aware, UTC.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        *,
        metrics: KubeMetrics | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.client = client
        self.cache = cache
        self.now = clock
        self.events = Recorder(client, clock=clock)
        self._metrics = metrics or KubeMetrics()
        self._contests = Contests()

    async def apply(self, desired: Object) -> bool:
        """Makes the object be as ``desired``: server-side apply, field manager ``millrace``, force.

        The label ``app.kubernetes.io/managed-by`` and the annotation ``millrace.dev/applied`` are added. Nothing is
        sent where the live object carries the hash of ``desired`` and is as ``ownership`` wants it. What others changed
        is put back, with one Event about the object's owner.

        Returns: whether anything was written.

        Raises:
            NameTakenError: an object of this name exists that Millrace did not make; it is left as it is.
            ContestedError: somebody keeps changing it; it is left as it is for up to a minute.
            ConflictError: it has changed meanwhile; the cache holds the newer one, reconcile again.
            AbsentError: the namespace or the kind does not exist. RefusedError: the API server finds it invalid.
        """
        resource = resource_of(desired)
        wanted = _stamped(desired)
        live = await self._live(resource, wanted)
        key, stamp = (resource, namespace_of(wanted), name_of(wanted)), _hash(wanted)
        if live is None:
            self._took(resource, await self.client.apply(resource, wanted), "apply")
            return True
        if labels_of(live).get(names.MANAGED_BY) != "millrace":
            raise errors.NameTakenError(
                f"{key_text(live)} exists and is not managed by Millrace",
                hint="Delete or rename it, or choose another name here",
                field="metadata.name",
            )
        found, same = difference(wanted, live), _hash(live) == stamp
        if same and not found:
            return False
        provoked = found.of_others or (same and bool(found.edits or found.drifted))
        if provoked:
            self._contests.refuse(key, stamp, f"{key_text(live)} was changed: {found.edits}", self.now())
        if same:  # before anything is written: once it is so, nobody can tell that it was not
            await self._report(live, found)
        if found.added:
            entries = {"metadata": {"managedFields": taken_over(live, found.added)}}
            await self._write_conditionally(live, entries, "", "owners")
        self._took(resource, await self.client.apply(resource, found.desired), "apply")
        if provoked:
            self._contests.note(key, stamp, self.now())
        return True

    async def _report(self, live: Object, found: Difference) -> None:
        """An Event at the child's owner, where people look; at the child itself where it has none."""
        if not found.edits:
            return
        owner = next(iter(live["metadata"].get("ownerReferences") or ()), None)
        about = live
        if owner is not None:
            metadata = {"name": owner["name"], "namespace": namespace_of(live), "uid": owner["uid"]}
            about = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "metadata": metadata}
        note = f"{key_text(live)} was changed and is put back: {found.edits}"
        await self.events.emit(about, "Warning", PUT_BACK, note, identity=_edit_of(live, found.edits))

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, propagation: str = "Background", uid: str = ""
    ) -> bool:
        """Deletes the object; False where it is already gone or going.

        Args:
            propagation: Background, Foreground or Orphan.
            uid: delete only the object with this uid.
        """
        held = self.cache.get(resource, namespace, name) if self.cache.watches(resource) else None
        if held is not None and deleting(held) and (not uid or held["metadata"]["uid"] == uid):
            return False
        deleted = await self.client.delete(resource, namespace, name, propagation=propagation, uid=uid)
        if deleted:
            self._metrics.writes.labels("delete", resource.kind).inc()
        elif held is not None and (not uid or held["metadata"]["uid"] == uid):
            self.cache.remove(resource, held)
        return deleted

    async def write_status(
        self,
        observed: Object,
        status: Mapping[str, Any],
        *,
        reported: Collection[str] | None = None,
        also: Iterable[Emit] = (),
    ) -> Object:
        """Writes the status subresource if it differs, and then one Event for each condition that turned.

        ``status`` is the whole status; fields that it lacks or that are None, at any depth, are removed. Events are
        sent only after the write that records their transition, so a retried reconcile does not repeat them. Where its
        answer was lost they are sent as soon as the object shows that it took effect.

        Args:
            observed: the object as it was read; its resource version is the condition of the write.
            reported: condition types whose transitions become Events; None: all.
            also: what else to tell of the same write.

        Returns: the object after the write; ``observed`` itself where nothing was to be written.

        Raises:
            ConflictError: the object has changed; the cache holds the newer one, reconcile again.
        """
        before = observed.get("status") or {}
        after = _without_none(status)
        turned = conditions.transitions(before.get("conditions"), after.get("conditions"))
        told = [item for item in turned if reported is None or item["type"] in reported]
        async with self.events.of_status(observed, after, told, also):
            if after == before:
                return observed
            return await self._write_conditionally(observed, {"status": merge_patch(before, after)}, "status")

    async def add_finalizer(self, observed: Object, finalizer: str) -> Object:
        """The object with the finalizer; ``observed`` itself where it has it, or is already being deleted."""
        present = observed["metadata"].get("finalizers") or []
        if finalizer in present or deleting(observed):
            return observed
        return await self._write_conditionally(observed, {"metadata": {"finalizers": [*present, finalizer]}}, "")

    async def remove_finalizer(self, observed: Object, finalizer: str) -> Object:
        """The object without the finalizer; ``observed`` itself where it has none, or has gone."""
        present = observed["metadata"].get("finalizers") or []
        if finalizer not in present:
            return observed
        rest = [item for item in present if item != finalizer]
        try:
            return await self._write_conditionally(observed, {"metadata": {"finalizers": rest}}, "")
        except errors.AbsentError:
            return observed

    async def live(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object as the API server holds it now; the cache takes it too."""
        known = self.cache.get(resource, namespace, name) if self.cache.watches(resource) else None
        found = await self.client.get(resource, namespace, name)
        if not self.cache.watches(resource):
            return found
        if found is not None:
            if known is not None and version_of(found) < version_of(known):
                self.cache.doubt()
            self.cache.upsert(resource, found)
        elif known is not None:  # and not one that was made while the answer was under way
            self.cache.remove(resource, known)
        return found

    async def _live(self, resource: Resource, wanted: Object) -> Object | None:
        """What is held, else what the API server says: a name that seems free may be somebody else's."""
        place = namespace_of(wanted), name_of(wanted)
        held = self.cache.get(resource, *place) if self.cache.watches(resource) else None
        return held or await self.client.get(resource, *place)

    async def _write_conditionally(
        self, observed: Object, patch: Object, subresource: str, verb: str = "finalizers"
    ) -> Object:
        resource, metadata = resource_of(observed), observed["metadata"]
        place = namespace_of(observed), name_of(observed)
        version = {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]}
        body = {**patch, "metadata": {**patch.get("metadata", {}), **version}}
        try:
            answer = await self.client.patch(resource, *place, body, subresource=subresource)
        except (errors.ConflictError, errors.AbsentError):
            await self.live(resource, *place)
            raise
        self._took(resource, answer, subresource or verb)
        return answer

    def _took(self, resource: Resource, answer: Object, verb: str) -> None:
        self._metrics.writes.labels(verb, resource.kind).inc()
        if not self.cache.watches(resource):
            return
        if deleting(answer) and not answer["metadata"].get("finalizers"):
            self.cache.remove(resource, answer)
        else:
            self.cache.upsert(resource, answer)


def _stamped(desired: Object) -> Object:
    metadata = dict(desired["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), **MANAGED}
    stamp = {names.APPLIED_HASH: names.digest(without_scaled({**desired, "metadata": metadata}))[:16]}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **stamp}
    return {**desired, "metadata": metadata}


def _without_none(fields: Mapping[str, Any]) -> Object:
    """The fields that have a value: the API server keeps no others, so they would differ for ever."""
    kept = {name: value for name, value in fields.items() if value is not None}
    return {name: _without_none(value) if isinstance(value, Mapping) else value for name, value in kept.items()}


def _edit_of(live: Object, edits: str) -> list[Any]:
    """What makes an edit this one: not the resource version, which a controller's status moves while it is put back."""
    metadata = live["metadata"]
    entries = [entry for entry in metadata.get("managedFields") or () if not entry.get("subresource")]
    writes = sorted((entry.get("manager", ""), entry.get("time", "")) for entry in entries)
    return [metadata["uid"], metadata.get("generation"), edits, writes]


def _hash(document: Object) -> str:
    return annotations_of(document).get(names.APPLIED_HASH, "")
