"""``metadata.managedFields``: which manager owns which fields, since when, by which operation.

Source: ``k8s.io/apimachinery/pkg/util/managedfields/internal``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from millrace_kube.fieldset import Fields, union

MAX_UPDATERS = 10  # above this number the oldest entries of updates are merged into one
_ANCIENT = "ancient-changes"


class Manager(NamedTuple):
    """The key of an entry. Appliers are the same manager in every API version; their ``api_version`` is empty here."""

    name: str
    operation: str
    api_version: str
    subresource: str

    @classmethod
    def updater(cls, name: str, api_version: str, subresource: str) -> Manager:
        return cls(name or "unknown", "Update", api_version, subresource)

    @classmethod
    def applier(cls, name: str, subresource: str) -> Manager:
        return cls(name or "unknown", "Apply", "", subresource)

    def __str__(self) -> str:
        """As conflict messages show it, such as ``"kubectl-client-side-apply" using apps/v1``."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(frozen=True, slots=True)
class ManagedFieldsEntry:
    """The fields of one manager; ``time`` is RFC 3339 or empty."""

    fields: Fields
    api_version: str
    time: str = ""

    def holding(self, fields: Fields) -> ManagedFieldsEntry:
        return self if fields is self.fields else replace(self, fields=fields)


Managers = dict[Manager, ManagedFieldsEntry]


def decode(managed_fields: Any) -> Managers | None:
    """The managers of an object; None if the list is malformed."""
    managers: Managers = {}
    for item in managed_fields or ():
        if not isinstance(item, dict) or item.get("fieldsType") != "FieldsV1" or not item.get("apiVersion"):
            return None
        operation = item.get("operation")
        fields = item.get("fieldsV1") or {}
        if operation not in {"Apply", "Update"} or not isinstance(fields, dict):
            return None
        version = item["apiVersion"] if operation == "Update" else ""
        manager = Manager(item.get("manager", ""), operation, version, item.get("subresource", ""))
        managers[manager] = ManagedFieldsEntry(fields, item["apiVersion"], item.get("time") or "")
    return managers


def is_reset(managed_fields: Any) -> bool:
    """Whether a client asks to clear the list: it is empty, or holds one empty entry."""
    return managed_fields in ([], [{}])


def encode(managers: Mapping[Manager, ManagedFieldsEntry]) -> list[dict[str, Any]]:
    """The list as objects carry it: appliers first, then by time and name."""

    def position(item: tuple[Manager, ManagedFieldsEntry]) -> tuple[str, ...]:
        manager, entry = item
        return (manager.operation, entry.time, manager.name, entry.api_version, manager.subresource)

    return [_encoded(manager, entry) for manager, entry in sorted(managers.items(), key=position)]


def _encoded(manager: Manager, entry: ManagedFieldsEntry) -> dict[str, Any]:
    item = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields,
        "subresource": manager.subresource,
    }
    return {key: value for key, value in item.items() if value != ""}


def capped(managers: Managers) -> Managers:
    """At most MAX_UPDATERS entries of updates: the oldest of an API version are merged into one."""
    updaters = sorted(
        (manager for manager in managers if manager.operation == "Update"),
        key=lambda manager: (managers[manager].time, manager),
    )
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return managers
    kept = dict(managers)
    first: dict[str, Manager] = {}
    for manager in updaters:
        if surplus <= 0:
            break
        version = managers[manager].api_version
        if version not in first:
            first[version] = manager
            continue
        bucket = Manager.updater(_ANCIENT, version, "")
        older = kept.get(bucket) or kept.pop(first[version])
        entry = kept.pop(manager)
        kept[bucket] = replace(entry, fields=union(older.fields, entry.fields))
        surplus -= 1
    return kept
