"""Create, update and patch: every change of an object goes through the same steps.

Take the new object, restore what only the server may write, check and complete it, and store it. Nothing is stored
before everything has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from millrace_kube.times import stamp
from millrace_local.apiserver import metadata as meta
from millrace_local.apiserver.admission import Schemas, admit, check_envelope, keep_part
from millrace_local.apiserver.errors import StatusError, already_exists, conflict, forbidden, not_found
from millrace_local.apiserver.kinds import strategy_of
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.registry import ResourceRegistry
from millrace_local.apiserver.request import RequestTarget
from millrace_local.apiserver.resources import CRDS, NAMESPACES, ApiResource
from millrace_local.apiserver.store import ObjectStore, StoreEntry, entry_of
from millrace_local.apiserver.strategy import Draft, Obj
from millrace_local.apiserver.versions import served_object, to_stored

#: Returns the new object, given the stored one.
Change = Callable[[Obj], Obj]
_NAME_ATTEMPTS = 8
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The object after a write or a dry run, and the warnings."""

    entry: StoreEntry
    warnings: tuple[str, ...] = ()
    created: bool = False


class ObjectWriter:
    """Writes objects.

    Args:
        store: where objects are.
        registry: which resources there are.
        schemas: the compiled schema of a resource.
        clock: the present time.
    """

    def __init__(
        self, store: ObjectStore, registry: ResourceRegistry, schemas: Schemas, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._registry = registry
        self._schemas = schemas
        self._clock = clock
        # Formatted once a second: at thousands of writes per second it would cost more than routing.
        self._written_at = clock()
        self._written_now = stamp(self._written_at)

    def now(self) -> str:
        """The present time as metadata writes it."""
        now = self._clock()
        if now.second != self._written_at.second or abs(now - self._written_at) >= _MINUTE:
            self._written_at, self._written_now = now, stamp(now)
        return self._written_now

    def _draft(self, obj: Obj, old: Obj | None, subresource: str = "") -> Draft:
        return Draft(obj, old, self._store, self._registry, self.now(), subresource)

    def create(self, target: RequestTarget, obj: Obj, options: WriteOptions, *, recorded: bool = False) -> WriteResult:
        """Creates an object; ``recorded`` says that its managedFields are up to date already.

        Raises:
            StatusError: the object is invalid, its name exists, its namespace does not or is terminating.
        """
        resource, strategy, draft = target.resource, strategy_of(target.resource), self._draft(obj, None)
        metadata = check_envelope(obj, target)
        self._check_place(target)
        name = metadata.get("name") or ""
        if not name and metadata.get("generateName"):
            name = metadata["name"] = self._free_name(resource, target.namespace, metadata["generateName"])
        if name and self._store.get(resource.storage, target.namespace, name) is not None:
            raise already_exists(resource.plural, resource.group, name)
        meta.prepare_new(metadata, target.namespace, draft.now)
        if "status" in resource.subresources and not strategy.keeps_status_on_create:
            obj.pop("status", None)
        if strategy.generation:
            metadata["generation"] = 1
        warnings = admit(target, draft, options, schema=self._schemas(resource), recorded=recorded)
        return WriteResult(self._commit(target, name, obj, options), warnings, created=True)

    def _free_name(self, resource: ApiResource, namespace: str, prefix: str) -> str:
        for _ in range(_NAME_ATTEMPTS):
            name = meta.generated_name(prefix)
            if self._store.get(resource.storage, namespace, name) is None:
                return name
        raise already_exists(resource.plural, resource.group, name)

    def _check_place(self, target: RequestTarget) -> None:
        """Refuses creates in a namespace or for a CRD that is terminating."""
        resource = target.resource
        if resource.custom:
            definition = self._store.get(CRDS, "", f"{resource.plural}.{resource.group}")
            if definition is not None and definition.deleting:
                why = "create not allowed while custom resource definition is terminating"
                raise StatusError(405, "MethodNotAllowed", why)
        if not resource.namespaced:
            return
        namespace = self._store.get(NAMESPACES, "", target.namespace)
        if namespace is None:
            raise not_found("namespaces", "", target.namespace)
        if namespace.deleting:
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {target.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(resource.plural, resource.group, target.name, why, [cause])

    def update(
        self, target: RequestTarget, change: Change, options: WriteOptions, *, recorded: bool = False
    ) -> WriteResult:
        """Changes the part of an object that ``target`` names: the object, its status or another subresource.

        Raises:
            StatusError: the object does not exist, has changed meanwhile, or would become invalid.
        """
        resource, strategy = target.resource, strategy_of(target.resource)
        entry = self._store.get(resource.storage, target.namespace, target.name)
        if entry is None:
            raise not_found(resource.plural, resource.group, target.name)
        old = served_object(entry, resource)
        new = change(served_object(entry, resource))
        metadata = check_envelope(new, target)
        _check_preconditions(target, metadata, old["metadata"])
        meta.prepare_changed(metadata, old["metadata"])
        if target.namespace:
            metadata["namespace"] = target.namespace
        keep_part(target, new, old, recorded=recorded)
        draft = self._draft(new, old, target.subresource)
        warnings = admit(target, draft, options, schema=self._schemas(resource), recorded=recorded)
        if _without_times(old) == _without_times(new):
            return WriteResult(entry, warnings)
        if strategy.generation and _spec_changed(resource, old, new):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if "deletionTimestamp" in new["metadata"] and strategy.finished(new):
            return WriteResult(
                entry if options.dry_run else self._store.remove(entry, to_stored(new, resource)), warnings
            )
        return WriteResult(self._commit(target, target.name, new, options), warnings)

    def _commit(self, target: RequestTarget, name: str, obj: Obj, options: WriteOptions) -> StoreEntry:
        resource = target.resource
        stored = to_stored(obj, resource)
        if options.dry_run:
            # A dry run has no new resourceVersion; the object keeps the one it has.
            return entry_of(resource.storage, target.namespace, name, stored)
        return self._store.put(resource.storage, target.namespace, name, stored)


def _check_preconditions(target: RequestTarget, new: Obj, old: Obj) -> None:
    resource = target.resource
    if new.get("uid", old["uid"]) != old["uid"]:
        why = f"Precondition failed: UID in precondition: {new['uid']}, UID in object meta: {old['uid']}"
        raise conflict(resource.plural, resource.group, target.name, why)
    if new.get("resourceVersion", old["resourceVersion"]) != old["resourceVersion"]:
        raise conflict(resource.plural, resource.group, target.name)
    new["resourceVersion"] = old["resourceVersion"]


def _without_times(obj: Obj) -> Obj:
    """The object without the times in managedFields: a change of those alone is no change."""
    managed = obj["metadata"].get("managedFields")
    if not managed:
        return obj
    bare = [{name: value for name, value in entry.items() if name != "time"} for entry in managed]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": bare}}


def _spec_changed(resource: ApiResource, old: Obj, new: Obj) -> bool:
    outside = {"metadata", "status"} if "status" in resource.subresources else {"metadata"}
    return {k: v for k, v in old.items() if k not in outside} != {k: v for k, v in new.items() if k not in outside}
