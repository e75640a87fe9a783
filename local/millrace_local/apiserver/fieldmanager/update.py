"""Ownership after creates, updates and patches."""

from __future__ import annotations

from typing import Any

from millrace_core.schema import Schema
from millrace_kube.fieldset import union
from millrace_local.apiserver.fieldmanager.managers import (
    ManagedFieldsEntry,
    Manager,
    Managers,
    capped,
    decode,
    encode,
    is_reset,
)
from millrace_local.apiserver.fieldmanager.ownership import compare_objects, every_field, taken_from_others


def record_update(
    old: dict[str, Any] | None,
    new: dict[str, Any],
    *,
    manager: str,
    api_version: str,
    schema: Schema,
    now: str,
    subresource: str = "",
) -> None:
    """Writes ``new``'s managedFields for a request that made it from ``old`` (None: it was created).

    ``manager`` gets every field whose value it changed; entries of others lose those fields. ``now`` is RFC 3339 in
    whole seconds. An object whose managedFields were reset stays without until it is next applied.
    """
    metadata = new.setdefault("metadata", {})
    managers = _starting_point(old, new, subresource)
    if old is not None and not managers:
        metadata.pop("managedFields", None)
        return
    self = Manager.updater(manager, api_version, subresource)
    if old is None and not managers:
        fields = every_field(new, schema.root)
        managers = {self: ManagedFieldsEntry(fields, api_version, now)} if fields else {}
    else:
        managers = capped(updated(managers, old or {}, new, self, schema=schema, now=now))
    if managers:
        metadata["managedFields"] = encode(managers)
    else:
        metadata.pop("managedFields", None)


def updated(
    managers: Managers, old: dict[str, Any], new: dict[str, Any], changer: Manager, *, schema: Schema, now: str
) -> Managers:
    """The managers after ``changer`` turned ``old`` into ``new`` by any operation but apply."""
    change = compare_objects(old, new, schema.root)
    nobody = Manager("", "", "", "")
    kept = taken_from_others(managers, change, nobody)
    written = union(change.added, change.modified)
    if written:
        mine = kept.get(changer)
        fields = union(mine.fields, written) if mine is not None else written
        kept[changer] = ManagedFieldsEntry(fields, changer.api_version, now)
    return kept


def _starting_point(old: dict[str, Any] | None, new: dict[str, Any], subresource: str) -> Managers:
    """The managers before the request: the client's own list if it sent one, else that of the stored object."""
    live = decode((old or {}).get("metadata", {}).get("managedFields")) or {}
    if subresource:
        return live
    sent = new["metadata"].get("managedFields")
    if is_reset(sent):
        return {}
    return decode(sent) or live
