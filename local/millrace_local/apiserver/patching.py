"""PATCH requests: their type, and the change they make."""

from __future__ import annotations

from typing import Any

from millrace_core.schema import Schema
from millrace_local.apiserver.decoding import decode_patch
from millrace_local.apiserver.errors import StatusError, bad_request, not_found, unsupported_media_type
from millrace_local.apiserver.fieldmanager import ApplyConflict, apply
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.patches import PatchError, apply_json_patch, apply_merge_patch, apply_strategic_patch
from millrace_local.apiserver.request import Request, RequestTarget
from millrace_local.apiserver.store import ObjectStore
from millrace_local.apiserver.strategy import Obj
from millrace_local.apiserver.writes import Change, ObjectWriter, WriteResult

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


def patch(
    request: Request, target: RequestTarget, writer: ObjectWriter, store: ObjectStore, schema: Schema
) -> WriteResult:
    """Carries out a PATCH of any of the four types.

    Raises:
        StatusError: 415 for another type, 400 or 422 for a patch that cannot be applied, 409 for apply conflicts.
    """
    media_type = request.media_type
    options = WriteOptions.of(request)
    if media_type == APPLY_PATCH:
        return _apply(request, target, writer, store, schema, options)
    if options.force:
        raise bad_request("force: may not be specified for non-apply patch")
    return writer.update(target, change_of(request, target, schema), options)


def change_of(request: Request, target: RequestTarget, schema: Schema) -> Change:
    """The change that a JSON, merge or strategic merge patch makes to an object."""
    media_type = request.media_type
    allowed = _TYPES[:2] if target.resource.custom else _TYPES[:3]
    if media_type not in allowed:
        raise unsupported_media_type(media_type, (*allowed, APPLY_PATCH))
    document = decode_patch(request)

    def change(current: Obj) -> Obj:
        try:
            if media_type == JSON_PATCH:
                return apply_json_patch(current, document)
            if media_type == MERGE_PATCH:
                return apply_merge_patch(current, document)
            return apply_strategic_patch(current, document, schema)
        except PatchError as error:
            raise _unpatchable(error) from None

    return change


def _apply(
    request: Request,
    target: RequestTarget,
    writer: ObjectWriter,
    store: ObjectStore,
    schema: Schema,
    options: WriteOptions,
) -> WriteResult:
    resource, applied = target.resource, _applied(request, target)
    entry = store.get(resource.storage, target.namespace, target.name)

    def change(live: Obj | None) -> Obj:
        try:
            merged: Obj = apply(
                live,
                applied,
                manager=options.manager,
                force=options.force,
                schema=schema,
                api_version=resource.api_version,
                now=writer.now(),
                subresource=target.subresource,
            )
        except ApplyConflict as error:
            raise _apply_conflict(error) from None
        except PatchError as error:
            raise _unpatchable(error) from None
        return merged

    if entry is not None:
        return writer.update(target, change, options, recorded=True)
    if target.subresource:
        raise not_found(resource.plural, resource.group, target.name)
    return writer.create(target, change(None), options, recorded=True)


def _applied(request: Request, target: RequestTarget) -> dict[str, Any]:
    """The object that an apply patch is, checked, without a status that it may not set."""
    if not request.query.get("fieldManager"):
        raise bad_request(
            "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
        )
    applied = decode_patch(request)
    if not isinstance(applied, dict):
        raise bad_request(f"an apply patch must be an object, got {type(applied).__name__}")
    _check_applied(applied, target)
    if "status" in target.resource.subresources and target.subresource != "status":
        applied.pop("status", None)
    return applied


def _check_applied(applied: dict[str, Any], target: RequestTarget) -> None:
    resource = target.resource
    for name, wanted in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if applied.get(name) != wanted:
            raise bad_request(f"{name}: an apply patch to this resource must say {wanted!r}, got {applied.get(name)!r}")
    metadata = applied["metadata"] = applied.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise bad_request(f"metadata: an object is expected, got {type(metadata).__name__}")
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")


def _apply_conflict(error: ApplyConflict) -> StatusError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in error.conflicts
    ]
    return StatusError(409, "Conflict", error.message, details={"causes": causes})


def _unpatchable(error: PatchError) -> StatusError:
    return StatusError(422 if error.reason == "Invalid" else 400, error.reason, error.message)
