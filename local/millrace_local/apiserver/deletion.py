"""Deletes: preconditions, grace periods, finalizers and propagation policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from millrace_core.schema.errors import forbidden, not_supported
from millrace_kube.times import stamp
from millrace_local.apiserver.decoding import decode_as
from millrace_local.apiserver.errors import bad_request, conflict, invalid
from millrace_local.apiserver.errors import forbidden as refused
from millrace_local.apiserver.kinds import strategy_of
from millrace_local.apiserver.request import Request
from millrace_local.apiserver.resources import NAMESPACES, ApiResource
from millrace_local.apiserver.store import ObjectStore, StoreEntry

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_KEPT_NAMESPACES = ("default", "kube-public", "kube-system")
POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """``meta/v1`` DeleteOptions: ``grace`` in seconds, ``policy`` for dependents, ``uid`` and ``revision`` to match."""

    grace: int | None = None
    policy: str = ""
    uid: str = ""
    revision: str = ""
    dry_run: bool = False

    @classmethod
    def of(cls, request: Request) -> DeleteOptions:
        """Reads the options from the body, or from the query where there is no body.

        Raises:
            StatusError: 400 for a body that is no DeleteOptions, 422 for values that cannot be.
        """
        given: dict[str, Any] = {}
        if request.body:
            given = decode_as(request, "", "v1", "DeleteOptions")
            if given.get("kind", "DeleteOptions") != "DeleteOptions":
                raise bad_request("the body is not a DeleteOptions object")
        return cls.from_document(given, request)

    @classmethod
    def from_document(cls, given: dict[str, Any], request: Request) -> DeleteOptions:
        """Reads a DeleteOptions object; the query counts for what it leaves out."""
        grace = given.get("gracePeriodSeconds", request.number("gracePeriodSeconds"))
        orphan = given.get("orphanDependents")
        if orphan is None and "orphanDependents" in request.query:
            orphan = request.flag("orphanDependents")
        policy = given.get("propagationPolicy") or request.query.get("propagationPolicy", "")
        if policy and orphan is not None:
            field_error = forbidden("orphanDependents", "cannot be set together with propagationPolicy")
            raise invalid("DeleteOptions", "meta.k8s.io", "", [field_error])
        if policy and policy not in POLICIES:
            field_error = not_supported("propagationPolicy", policy, [*POLICIES])
            raise invalid("DeleteOptions", "meta.k8s.io", "", [field_error])
        if orphan is not None:
            policy = "Orphan" if orphan else "Background"
        wanted = given.get("preconditions") or {}
        dry_run = given.get("dryRun") or request.query.get("dryRun")
        return cls(grace, policy, wanted.get("uid") or "", wanted.get("resourceVersion") or "", bool(dry_run))


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """The object's last state, and whether it is gone already or only marked for deletion."""

    entry: StoreEntry
    gone: bool


class ObjectDeleter:
    """Deletes objects as Kubernetes does.

    Args:
        store: where objects are.
        clock: the present time.
    """

    def __init__(self, store: ObjectStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def delete(self, resource: ApiResource, entry: StoreEntry, options: DeleteOptions) -> DeleteResult:
        """Deletes an object, or marks it for deletion where finalizers or grace hold it back.

        Raises:
            StatusError: 409 where a precondition does not hold.
        """
        _check(resource, entry, options)
        obj = entry.object()
        metadata = obj["metadata"]
        strategy = strategy_of(resource)
        finalizers = _with_policy(list(metadata.get("finalizers") or ()), options.policy, strategy.orphans)
        grace = strategy.grace(obj, options.grace)
        if entry.deleting:
            grace = min(grace, metadata.get("deletionGracePeriodSeconds") or 0)
        if not finalizers and grace == 0 and not strategy.lingers:
            return DeleteResult(entry if options.dry_run else self._store.remove(entry), gone=True)
        if self._mark(metadata, finalizers, grace) and not options.dry_run:
            strategy.deleting(obj)
            entry = self._store.put(entry.resource, entry.namespace, entry.name, obj)
        return DeleteResult(entry, gone=False)

    def _mark(self, metadata: dict[str, Any], finalizers: list[str], grace: int) -> bool:
        before = (metadata.get("deletionGracePeriodSeconds"), metadata.get("finalizers") or [])
        if before == (grace, finalizers) and "deletionTimestamp" in metadata:
            return False
        if "deletionTimestamp" not in metadata and metadata.get("generation"):
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = stamp(self._clock() + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if finalizers:
            metadata["finalizers"] = finalizers
        return True


def _check(resource: ApiResource, entry: StoreEntry, options: DeleteOptions) -> None:
    if entry.resource == NAMESPACES and entry.name in _KEPT_NAMESPACES:
        raise refused(resource.plural, resource.group, entry.name, "this namespace may not be deleted")
    if options.uid and options.uid != entry.uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({entry.uid}). The object "
            "might have been deleted and then recreated"
        )
        raise conflict(resource.plural, resource.group, entry.name, why)
    if options.revision and options.revision != str(entry.revision):
        why = (
            f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion in "
            f"record ({entry.revision}). The object might have been modified"
        )
        raise conflict(resource.plural, resource.group, entry.name, why)


def _with_policy(finalizers: list[str], policy: str, orphans: bool) -> list[str]:
    if not policy:
        if {ORPHAN, FOREGROUND} & set(finalizers):
            return finalizers
        policy = "Orphan" if orphans else "Background"
    kept = [name for name in finalizers if name not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        kept.append(ORPHAN)
    elif policy == "Foreground":
        kept.append(FOREGROUND)
    return kept
