"""Checks and completes what a client sent: envelope, pruning, defaults, field ownership, validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millrace_core.schema import Schema
from millrace_core.schema import metadata as metadata_rules
from millrace_core.schema.errors import TYPE_INVALID, FieldError
from millrace_local.apiserver import metadata as meta
from millrace_local.apiserver.errors import bad_request, invalid
from millrace_local.apiserver.fieldmanager import record_update
from millrace_local.apiserver.kinds import strategy_of
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.request import RequestTarget
from millrace_local.apiserver.resources import ApiResource
from millrace_local.apiserver.strategy import Draft, Obj

#: The compiled schema of a resource.
Schemas = Callable[[ApiResource], Schema]
_EMPTY: tuple[Any, ...] = (None, "", {}, [])


def check_envelope(obj: Any, target: RequestTarget) -> Obj:
    """Checks that an object is what the request is about, completes its envelope and returns its metadata.

    Raises:
        StatusError: 400 or 422 where it is not.
    """
    resource = target.resource
    if not isinstance(obj, dict):
        raise bad_request(f"expected a JSON object, got {type(obj).__name__}")
    kind, api_version = obj.pop("kind", None) or resource.kind, obj.pop("apiVersion", None) or resource.api_version
    if kind != resource.kind or api_version != resource.api_version:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): got {kind} in {api_version}, "
            f"expected {resource.kind} in {resource.api_version}"
        )
    metadata = _metadata_of(obj.pop("metadata", None), resource)
    rest = dict(obj)
    obj.clear()
    obj.update(apiVersion=api_version, kind=kind, metadata=metadata, **rest)
    if target.namespace and metadata.get("namespace", target.namespace) != target.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if target.name and metadata.setdefault("name", target.name) != target.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    return metadata


def _metadata_of(metadata: Any, resource: ApiResource) -> Obj:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise bad_request(f"metadata: expected an object, got {type(metadata).__name__}")
    if field_errors := metadata_rules.shape_errors(metadata):
        raise invalid(resource.kind, resource.group, "", field_errors)
    # Empty fields count as absent, except an empty managedFields, which asks to clear the list.
    return {name: value for name, value in metadata.items() if name == "managedFields" or value not in _EMPTY}


def keep_part(target: RequestTarget, new: Obj, old: Obj, *, recorded: bool) -> None:
    """Keeps of ``new`` only the part that the subresource may write; the rest is taken from ``old``."""
    if "status" not in target.resource.subresources:
        return
    if target.subresource != "status":
        if not target.subresource:
            _set(new, "status", old.get("status"))
        return
    kept = ["labels", "annotations"] if strategy_of(target.resource).status_metadata else []
    if recorded:
        kept.append("managedFields")
    metadata = {**old["metadata"], **{name: new["metadata"][name] for name in kept if name in new["metadata"]}}
    status = new.get("status")
    new.clear()
    new.update({**old, "metadata": metadata})
    _set(new, "status", status)


def _set(obj: Obj, name: str, value: Any) -> None:
    if value is None:
        obj.pop(name, None)
    else:
        obj[name] = value


def admit(
    target: RequestTarget, draft: Draft, options: WriteOptions, *, schema: Schema, recorded: bool
) -> tuple[str, ...]:
    """Prunes, defaults, validates an object in place and records who owns its fields; returns the warnings.

    Args:
        target: what is written.
        draft: the new object and the stored one.
        options: field manager and field validation.
        schema: the compiled schema of the resource.
        recorded: managedFields are up to date already.

    Raises:
        StatusError: 400 for unknown fields under strict validation and for wrong types, 422 for all other errors.
    """
    resource, strategy, obj, old = target.resource, strategy_of(target.resource), draft.obj, draft.old
    unknown = schema.prune(obj)
    if unknown and options.validation == "Strict":
        listed = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise bad_request(f"strict decoding error: {listed}")
    if strategy.has_spec and obj.get("spec") is None:
        obj["spec"] = {}
    schema.default(obj)
    errors = _general_errors(resource, obj, old, schema)
    if not errors:
        strategy.default(obj)
        if not recorded:
            record_update(
                old,
                obj,
                manager=options.manager,
                api_version=resource.api_version,
                schema=schema,
                now=draft.now,
                subresource=target.subresource,
            )
        strategy.prepare(draft)
        errors = strategy.check(draft)
    if errors:
        raise invalid(resource.kind, resource.group, obj["metadata"].get("name") or "", errors)
    return tuple(f'unknown field "{path}"' for path in unknown) if options.validation == "Warn" else ()


def _general_errors(resource: ApiResource, obj: Obj, old: Obj | None, schema: Schema) -> list[FieldError]:
    errors = metadata_rules.metadata_errors(resource.storage, obj["metadata"])
    if old is not None:
        errors += meta.finalizer_errors(obj["metadata"], old["metadata"])
    field_errors = schema.validate(obj, old)
    # A wrong type in a built-in kind fails in Go's decoder (400); custom resources are validated by schema (422).
    if not resource.custom and (
        wrong := [field_error for field_error in field_errors if field_error.type == TYPE_INVALID]
    ):
        where = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise bad_request(f"{where}: {wrong[0].path}: {wrong[0].message}")
    return errors + field_errors
