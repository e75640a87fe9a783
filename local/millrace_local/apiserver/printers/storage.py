"""Columns of what holds data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace_local.apiserver.columns import AGE, NAME, Column, at

Obj = dict[str, Any]
_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _entries(obj: Obj, _: datetime) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


CONFIG_MAPS = [NAME, Column("Data", _entries, type="integer"), AGE]
SECRETS = [NAME, Column("Type", lambda obj, _: obj.get("type")), Column("Data", _entries, type="integer"), AGE]
SERVICE_ACCOUNTS = [NAME, Column("Secrets", lambda obj, _: len(obj.get("secrets") or ()), type="integer"), AGE]


def _modes(modes: list[str] | None) -> str:
    return ",".join(_SHORT_MODES.get(mode, mode) for mode in modes or ())


def _phase(obj: Obj, _: datetime) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else at(obj, "status.phase") or ""


def _claim(volume: Obj, _: datetime) -> str:
    claim = volume["spec"].get("claimRef")
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


CLAIMS = [
    NAME,
    Column("Status", _phase),
    Column("Volume", lambda obj, _: obj["spec"].get("volumeName") or ""),
    Column("Capacity", lambda obj, _: at(obj, "status.capacity.storage") or ""),
    Column("Access Modes", lambda obj, _: _modes(at(obj, "status.accessModes"))),
    Column("StorageClass", lambda obj, _: obj["spec"].get("storageClassName") or ""),
    AGE,
    Column("VolumeMode", lambda obj, _: obj["spec"].get("volumeMode") or "<unset>", priority=1),
]
VOLUMES = [
    NAME,
    Column("Capacity", lambda obj, _: at(obj, "spec.capacity.storage") or ""),
    Column("Access Modes", lambda obj, _: _modes(obj["spec"].get("accessModes"))),
    Column("Reclaim Policy", lambda obj, _: obj["spec"].get("persistentVolumeReclaimPolicy")),
    Column("Status", _phase),
    Column("Claim", _claim),
    Column("StorageClass", lambda obj, _: obj["spec"].get("storageClassName") or ""),
    Column("Reason", lambda obj, _: at(obj, "status.reason") or ""),
    AGE,
    Column("VolumeMode", lambda obj, _: obj["spec"].get("volumeMode") or "<unset>", priority=1),
]
STORAGE_CLASSES = [
    NAME,
    Column("Provisioner", lambda obj, _: obj["provisioner"]),
    Column("ReclaimPolicy", lambda obj, _: obj.get("reclaimPolicy")),
    Column("VolumeBindingMode", lambda obj, _: obj.get("volumeBindingMode")),
    Column("AllowVolumeExpansion", lambda obj, _: bool(obj.get("allowVolumeExpansion")), type="boolean"),
    AGE,
]
