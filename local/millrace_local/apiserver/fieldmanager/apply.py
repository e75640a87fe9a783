"""Server-side apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace_core.base.errors import RejectError
from millrace_core.schema import Schema, SchemaNode
from millrace_core.schema.defaulting import copied
from millrace_kube.fieldset import Fields, difference, intersection, union
from millrace_local.apiserver.fieldmanager import last_applied
from millrace_local.apiserver.fieldmanager.conflicts import ApplyConflict, conflicts_with
from millrace_local.apiserver.fieldmanager.managers import ManagedFieldsEntry, Manager, Managers, decode, encode
from millrace_local.apiserver.fieldmanager.merging import merge, without
from millrace_local.apiserver.fieldmanager.ownership import (
    compare_objects,
    ownable,
    taken_from_others,
    without_metadata,
)
from millrace_local.apiserver.fieldmanager.typed import field_set, with_named_fields
from millrace_local.apiserver.fieldmanager.update import updated

BEFORE_FIRST_APPLY = "before-first-apply"


def apply(
    live: dict[str, Any] | None,
    applied: dict[str, Any],
    *,
    manager: str,
    force: bool,
    schema: Schema,
    api_version: str,
    now: str,
    subresource: str = "",
) -> dict[str, Any]:
    """The live object with ``applied`` merged in, what the manager no longer applies removed, and managedFields.

    Equal to ``live`` if nothing changed. ``now`` is RFC 3339 in whole seconds. Raises ApplyConflict if others own what
    would change and ``force`` is false. Neither argument is changed.
    """
    if applied.get("metadata", {}).get("managedFields"):
        raise RejectError("metadata.managedFields must be nil", reason="BadRequest")
    if subresource == "status":
        applied = {key: value for key, value in applied.items() if key in {"apiVersion", "kind", "status"}}
    before = live or {}
    me = Manager.applier(manager, subresource)
    managers = _managers_before(before, api_version, schema, now)
    mine = ManagedFieldsEntry(field_set(ownable(applied), schema.root) or {}, api_version, now)
    last = managers.get(me)
    merged = merge(before, {**applied, "metadata": _mergeable(applied)}, schema.root)
    pruned = _pruned(merged, {**managers, me: mine}, last, schema.root)
    change = compare_objects(before, pruned, schema.root)
    if not force:
        _refuse_conflicts(conflicts_with(managers, change, me), manager, before, api_version, schema)
    kept = taken_from_others(managers, change, me)
    changed = any(change) or last is None or last.fields != mine.fields or last.api_version != api_version
    if mine.fields:
        kept[me] = mine if changed or last is None else last
    else:
        kept.pop(me, None)
    result: dict[str, Any] = copied(pruned)
    if manager == last_applied.KUBECTL:
        last_applied.refresh(result, applied)
    _set_managed_fields(result, kept)
    return result


def _refuse_conflicts(
    conflicts: list[tuple[str, str]], manager: str, live: dict[str, Any], api_version: str, schema: Schema
) -> None:
    """Raises ApplyConflict, unless kubectl takes over what its own client-side apply wrote."""
    if conflicts and manager == last_applied.KUBECTL:
        allowed = last_applied.unchanged_since_last_applied(live, api_version, schema)
        conflicts = [conflict for conflict in conflicts if conflict[1] not in allowed]
    if conflicts:
        raise ApplyConflict(conflicts)


def _mergeable(applied: dict[str, Any]) -> dict[str, Any]:
    metadata = applied.get("metadata") or {}
    return {key: value for key, value in metadata.items() if key != "managedFields"}


def _managers_before(live: dict[str, Any], api_version: str, schema: Schema, now: str) -> Managers:
    """The managers of the live object; fields that nobody tracked yet belong to ``before-first-apply``."""
    managers = decode(live.get("metadata", {}).get("managedFields")) or {}
    if managers or not live:
        return managers
    return updated({}, {}, live, Manager.updater(BEFORE_FIRST_APPLY, api_version, ""), schema=schema, now=now)


def _set_managed_fields(obj: dict[str, Any], managers: Mapping[Manager, ManagedFieldsEntry]) -> None:
    metadata = obj.setdefault("metadata", {})
    if managers:
        metadata["managedFields"] = encode(managers)
    else:
        metadata.pop("managedFields", None)


def _pruned(
    merged: dict[str, Any], managers: Managers, last: ManagedFieldsEntry | None, node: SchemaNode
) -> dict[str, Any]:
    """The merged object without what the manager applied last time, applies no longer, and nobody else owns."""
    if last is None:
        return merged
    owned: Fields = {}
    for entry in managers.values():
        owned = union(owned, entry.fields)
    if not difference(last.fields, owned):
        return merged
    before = _named(last.fields, node)
    present = _present(merged, node)
    left = _present(without(merged, before, node, owned), node)
    unowned = difference(present, union(left, _named(owned, node)))
    surviving = _present(without(merged, unowned, node, owned), node)
    gone = intersection(difference(present, surviving), before)
    result: dict[str, Any] = without(merged, gone, node, owned)
    return result


def _present(obj: dict[str, Any], node: SchemaNode) -> Fields:
    return _named(field_set(ownable(obj), node) or {}, node)


def _named(fields: Fields, node: SchemaNode) -> Fields:
    return without_metadata(with_named_fields(fields, node))
