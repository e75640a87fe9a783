"""Create, update and patch: every way a client changes an object runs through the same steps.

Decode, take the patch or the new object, put back what only the server may write, prune, default, let the kind's
strategy prepare, record who owns which field, check, and store. Nothing is stored before everything has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.local.apiserver import metadata as meta
from millrace.local.apiserver.fieldmanager import record_update
from millrace.local.apiserver.kinds import strategy_of
from millrace.local.apiserver.registry import Registry
from millrace.local.apiserver.request import Request, Target
from millrace.local.apiserver.resources import Resource
from millrace.local.apiserver.schema import Schema
from millrace.local.apiserver.schema.errors import TYPE_INVALID
from millrace.local.apiserver.status import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from millrace.local.apiserver.store import Entry, Store, entry_of
from millrace.local.apiserver.strategy import Context
from millrace.local.apiserver.versions import served_object, to_stored

Obj = dict[str, Any]
#: Takes the current object and answers the wanted one; ``None`` where there is none yet (apply).
Change = Callable[[Obj], Obj]

_EMPTY: tuple[Any, ...] = (None, "", {}, [])
_VALIDATIONS = ("Ignore", "Warn", "Strict")


@dataclass(frozen=True, slots=True)
class Options:
    """What a write request says beside the object."""

    dry_run: bool = False
    manager: str = "unknown"
    validation: str = "Warn"
    force: bool = False

    @classmethod
    def of(cls, request: Request) -> Options:
        """Reads the options from the query.

        Raises:
            ApiError: 400 for a value that none of them takes.
        """
        query = request.query
        dry_run = query.get("dryRun", "")
        if dry_run not in ("", "All"):
            raise bad_request(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
        validation = query.get("fieldValidation") or "Warn"
        if validation not in _VALIDATIONS:
            raise bad_request(f'fieldValidation: Unsupported value: "{validation}": supported values: {_VALIDATIONS}')
        manager = query.get("fieldManager") or request.user_agent.partition("/")[0] or "unknown"
        return cls(dry_run == "All", manager[:128], validation, request.flag("force"))


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of a write: the object's state now, or as it would be."""

    entry: Entry
    warnings: tuple[str, ...] = ()
    created: bool = False
    removed: bool = False


class Writer:
    """Carries out writes.

    Args:
        store: where objects are.
        schemas: the compiled schema of a resource.
        clock: the present time.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        schemas: Callable[[Resource], Schema],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._registry = registry
        self._schemas = schemas
        self._clock = clock

    def now(self) -> str:
        """The present time as metadata carries it."""
        return meta.timestamp(self._clock())

    def create(self, target: Target, obj: Obj, options: Options, *, recorded: bool = False) -> Written:
        """Creates an object; ``recorded`` says that managedFields are already as they should be."""
        resource, store = target.resource, self._store
        metadata = _checked_frame(obj, target)
        self._check_namespace(target)
        name = metadata.get("name") or ""
        if not name and metadata.get("generateName"):
            name = metadata["name"] = self._free_name(resource, target.namespace, metadata["generateName"])
        if name and store.get(resource.storage, target.namespace, name) is not None:
            raise already_exists(resource.plural, resource.group, name)
        meta.prepare_new(metadata, target.namespace, self.now())
        strategy = strategy_of(resource)
        if "status" in resource.subresources and not strategy.keeps_status_on_create:
            obj.pop("status", None)
        if strategy.generation:
            metadata["generation"] = 1
        warnings = self._shape(target, obj, None, options, recorded=recorded)
        return Written(self._commit(target, name, obj, options), warnings, created=True)

    def _free_name(self, resource: Resource, namespace: str, prefix: str) -> str:
        for _ in range(8):
            name = meta.generated_name(prefix)
            if self._store.get(resource.storage, namespace, name) is None:
                return name
        raise already_exists(resource.plural, resource.group, name)

    def _check_namespace(self, target: Target) -> None:
        if not target.resource.namespaced:
            return
        namespace = self._store.get("/namespaces", "", target.namespace)
        if namespace is None:
            raise not_found("namespaces", "", target.namespace)
        if namespace.deleting:
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {target.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(target.resource.plural, target.resource.group, target.name, why, [cause])

    def update(self, target: Target, change: Change, options: Options, *, recorded: bool = False) -> Written:
        """Changes an object, its status or another part of it, as ``target`` says."""
        resource = target.resource
        entry = self._store.get(resource.storage, target.namespace, target.name)
        if entry is None:
            raise not_found(resource.plural, resource.group, target.name)
        old = served_object(entry, resource)
        new = change(served_object(entry, resource))
        metadata = _checked_frame(new, target)
        self._check_preconditions(target, metadata, old["metadata"])
        meta.prepare_changed(metadata, old["metadata"])
        if target.namespace:
            metadata["namespace"] = target.namespace
        part_of(target, new, old)
        metadata = new["metadata"]
        warnings = self._shape(target, new, old, options, recorded=recorded)
        if _same(old, new):
            return Written(entry, warnings)
        if strategy_of(resource).generation and _spec_changed(resource, old, new):
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        if "deletionTimestamp" in metadata and strategy_of(resource).finished(new):
            if options.dry_run:
                return Written(entry, warnings, removed=True)
            # The last state a watch sees is the one without finalizers.
            self._commit(target, target.name, new, options)
            current = self._store.get(resource.storage, target.namespace, target.name)
            return Written(self._store.remove(current or entry), warnings, removed=True)
        return Written(self._commit(target, target.name, new, options), warnings)

    @staticmethod
    def _check_preconditions(target: Target, new: Obj, old: Obj) -> None:
        resource = target.resource
        if new.get("uid") and new["uid"] != old["uid"]:
            why = f"Precondition failed: UID in precondition: {new['uid']}, UID in object meta: {old['uid']}"
            raise conflict(resource.plural, resource.group, target.name, why)
        if new.get("resourceVersion", old["resourceVersion"]) not in ("", old["resourceVersion"]):
            raise conflict(resource.plural, resource.group, target.name)
        new["resourceVersion"] = old["resourceVersion"]

    def _shape(self, target: Target, obj: Obj, old: Obj | None, options: Options, *, recorded: bool) -> tuple[str, ...]:
        """Prunes, defaults, records, prepares and checks an object in place; answers warnings."""
        resource = target.resource
        schema, strategy = self._schemas(resource), strategy_of(resource)
        unknown = schema.prune(obj)
        if unknown and options.validation == "Strict":
            listed = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise bad_request(f"strict decoding error: {listed}")
        if strategy.has_spec and obj.get("spec") is None:
            obj["spec"] = {}
        schema.default(obj)
        errors = meta.metadata_errors(resource.storage, obj["metadata"])
        if old is not None:
            errors += meta.finalizer_errors(obj["metadata"], old["metadata"])
        faults = schema.validate(obj, old)
        if not resource.custom and (wrong := [f for f in faults if f.type == TYPE_INVALID]):
            where = f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}"
            raise bad_request(f"{where}: {wrong[0].path}: {wrong[0].message}".replace("'", '"'))
        errors += faults
        if not errors:
            strategy.default(obj)
            if not recorded:
                self._record(target, old, obj, options)
            context = Context(self._store, self._registry, self.now(), target.subresource)
            strategy.prepare(obj, old, context)
            errors = strategy.check(obj, old, context)
        if errors:
            raise invalid(resource.kind, resource.group, obj["metadata"].get("name") or "", errors)
        return tuple(f'unknown field "{path}"' for path in unknown) if options.validation == "Warn" else ()

    def _record(self, target: Target, old: Obj | None, new: Obj, options: Options) -> None:
        record_update(
            old,
            new,
            manager=options.manager,
            api_version=target.resource.api_version,
            schema=self._schemas(target.resource),
            now=self.now(),
            subresource=target.subresource,
        )

    def _commit(self, target: Target, name: str, obj: Obj, options: Options) -> Entry:
        resource = target.resource
        stored = to_stored(obj, resource)
        if options.dry_run:
            stored["metadata"].setdefault("resourceVersion", "0")
            return entry_of(resource.storage, target.namespace, name, stored)
        return self._store.put(resource.storage, target.namespace, name, stored)


def _checked_frame(obj: Obj, target: Target) -> Obj:
    """Checks that the object is of the resource and namespace it was sent to; answers its metadata."""
    resource = target.resource
    if not isinstance(obj, dict):
        raise bad_request(f"expected a JSON object, got {type(obj).__name__}")
    kind, api_version = obj.get("kind") or resource.kind, obj.get("apiVersion") or resource.api_version
    if kind != resource.kind or api_version != resource.api_version:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): got {kind} in {api_version}, "
            f"expected {resource.kind} in {resource.api_version}"
        )
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise bad_request(f"metadata: expected an object, got {type(metadata).__name__}")
    if faults := meta.shape_errors(metadata):
        raise invalid(resource.kind, resource.group, "", faults)
    # Empty parts are absent ones; an empty list of managers is an order to forget them.
    for name in [n for n, value in metadata.items() if value in _EMPTY and n != "managedFields"]:
        del metadata[name]
    rest = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    obj.clear()
    obj.update(apiVersion=api_version, kind=kind, metadata=metadata, **rest)
    if target.namespace and metadata.get("namespace") not in (None, "", target.namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if target.name and metadata.setdefault("name", target.name) != target.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    return metadata


def part_of(target: Target, new: Obj, old: Obj) -> None:
    """Keeps of ``new`` only the part that the subresource may write; the rest is taken from ``old``."""
    if "status" not in target.resource.subresources:
        return
    if target.subresource == "status":
        metadata = old["metadata"]
        if strategy_of(target.resource).status_metadata:
            metadata = {
                **metadata,
                **{n: new["metadata"][n] for n in ("labels", "annotations") if n in new["metadata"]},
            }
        status = new.get("status")
        new.clear()
        new.update({**old, "metadata": dict(metadata)})
        _put_or_drop(new, "status", status)
    elif not target.subresource:
        _put_or_drop(new, "status", old.get("status"))


def _put_or_drop(obj: Obj, name: str, value: Any) -> None:
    if value is None:
        obj.pop(name, None)
    else:
        obj[name] = value


def _same(old: Obj, new: Obj) -> bool:
    return _without_times(old) == _without_times(new)


def _without_times(obj: Obj) -> Obj:
    managed = obj["metadata"].get("managedFields")
    if not managed:
        return obj
    bare = [{name: value for name, value in entry.items() if name != "time"} for entry in managed]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": bare}}


def _spec_changed(resource: Resource, old: Obj, new: Obj) -> bool:
    outside = {"metadata", "status"} if "status" in resource.subresources else {"metadata"}
    return {k: v for k, v in old.items() if k not in outside} != {k: v for k, v in new.items() if k not in outside}


__all__ = ["ApiError", "Change", "Obj", "Options", "Writer", "Written"]
