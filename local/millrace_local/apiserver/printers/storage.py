"""Columns of ConfigMaps, Secrets, volumes and storage classes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace_local.apiserver.columns import AGE, NAME, TableColumn
from millrace_local.apiserver.jsonpath import value_at

Obj = dict[str, Any]
_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _entries(obj: Obj, _: datetime) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


CONFIG_MAPS = [NAME, TableColumn("Data", _entries, type="integer"), AGE]
SECRETS = [
    NAME,
    TableColumn("Type", lambda obj, _: obj.get("type")),
    TableColumn("Data", _entries, type="integer"),
    AGE,
]
SERVICE_ACCOUNTS = [NAME, TableColumn("Secrets", lambda obj, _: len(obj.get("secrets") or ()), type="integer"), AGE]


def _modes(modes: list[str] | None) -> str:
    return ",".join(_SHORT_MODES.get(mode, mode) for mode in modes or ())


def _phase(obj: Obj, _: datetime) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else value_at(obj, "status.phase") or ""


def _claim(volume: Obj, _: datetime) -> str:
    claim = volume["spec"].get("claimRef")
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


CLAIMS = [
    NAME,
    TableColumn("Status", _phase),
    TableColumn("Volume", lambda obj, _: obj["spec"].get("volumeName") or ""),
    TableColumn("Capacity", lambda obj, _: value_at(obj, "status.capacity.storage") or ""),
    TableColumn("Access Modes", lambda obj, _: _modes(value_at(obj, "status.accessModes"))),
    TableColumn("StorageClass", lambda obj, _: obj["spec"].get("storageClassName") or ""),
    AGE,
    TableColumn("VolumeMode", lambda obj, _: obj["spec"].get("volumeMode") or "<unset>", priority=1),
]
VOLUMES = [
    NAME,
    TableColumn("Capacity", lambda obj, _: value_at(obj, "spec.capacity.storage") or ""),
    TableColumn("Access Modes", lambda obj, _: _modes(obj["spec"].get("accessModes"))),
    TableColumn("Reclaim Policy", lambda obj, _: obj["spec"].get("persistentVolumeReclaimPolicy")),
    TableColumn("Status", _phase),
    TableColumn("Claim", _claim),
    TableColumn("StorageClass", lambda obj, _: obj["spec"].get("storageClassName") or ""),
    TableColumn("Reason", lambda obj, _: value_at(obj, "status.reason") or ""),
    AGE,
    TableColumn("VolumeMode", lambda obj, _: obj["spec"].get("volumeMode") or "<unset>", priority=1),
]
STORAGE_CLASSES = [
    NAME,
    TableColumn("Provisioner", lambda obj, _: obj["provisioner"]),
    TableColumn("ReclaimPolicy", lambda obj, _: obj.get("reclaimPolicy")),
    TableColumn("VolumeBindingMode", lambda obj, _: obj.get("volumeBindingMode")),
    TableColumn("AllowVolumeExpansion", lambda obj, _: bool(obj.get("allowVolumeExpansion")), type="boolean"),
    AGE,
]
