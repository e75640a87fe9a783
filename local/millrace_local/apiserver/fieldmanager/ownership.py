"""The part of an object whose fields can be owned, and what a change takes from other managers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace_core.schema import SchemaNode
from millrace_kube.fieldset import SELF, Fields, difference, union
from millrace_local.apiserver.fieldmanager.managers import Manager, Managers
from millrace_local.apiserver.fieldmanager.typed import Comparison, compare, everything

_UNOWNED = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    }
)


def ownable(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an object whose fields can be owned."""
    out = {key: value for key, value in obj.items() if key not in {"apiVersion", "kind", "metadata"}}
    metadata = obj.get("metadata") or {}
    owned = {key: value for key, value in metadata.items() if key not in _UNOWNED}
    return {**out, "metadata": owned} if owned else out


def compare_objects(old: Mapping[str, Any], new: Mapping[str, Any], node: SchemaNode) -> Comparison:
    """How two whole objects differ, metadata itself not counted as a field."""
    return Comparison(*(without_metadata(fields) for fields in compare(ownable(old), ownable(new), node)))


def every_field(obj: Mapping[str, Any], node: SchemaNode) -> Fields:
    """The fields that a new object adds: what ``compare_objects`` finds added to nothing, at half the price."""
    fields = everything(ownable(obj), node)
    return without_metadata({element: below for element, below in fields.items() if element != SELF})


def without_metadata(fields: Fields) -> Fields:
    """The set without ``metadata`` as a whole, which nobody can own; what is below it stays."""
    metadata = fields.get("f:metadata")
    if metadata is None or (metadata and SELF not in metadata):
        return fields
    rest = {element: below for element, below in fields.items() if element != "f:metadata"}
    below = {element: sub for element, sub in metadata.items() if element != SELF}
    return {**rest, "f:metadata": below} if below else rest


def taken_from_others(managers: Managers, change: Comparison, changer: Manager) -> Managers:
    """The other managers after ``changer`` made the change: without what it took, without those left with nothing."""
    written = union(change.added, change.modified)
    kept: Managers = {}
    for manager, entry in managers.items():
        fields = entry.fields
        if manager != changer:
            if written:
                fields = difference(fields, written)
            if change.removed:
                fields = difference(fields, change.removed)
        if fields:
            kept[manager] = entry.holding(fields)
    return kept
