"""Columns of ConfigMaps, Secrets, volumes and storage classes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace_local.apiserver.columns import AGE, NAME, PrinterColumn, at

Obj = dict[str, Any]
_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _entries(obj: Obj, _: datetime) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


CONFIG_MAPS = [NAME, PrinterColumn("Data", _entries, type="integer"), AGE]
SECRETS = [
    NAME,
    PrinterColumn("Type", lambda obj, _: obj.get("type")),
    PrinterColumn("Data", _entries, type="integer"),
    AGE,
]
SERVICE_ACCOUNTS = [NAME, PrinterColumn("Secrets", lambda obj, _: len(obj.get("secrets") or ()), type="integer"), AGE]


def _modes(modes: list[str] | None) -> str:
    return ",".join(_SHORT_MODES.get(mode, mode) for mode in modes or ())


def _phase(obj: Obj, _: datetime) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else at(obj, "status.phase") or ""


def _claim(volume: Obj, _: datetime) -> str:
    claim = volume["spec"].get("claimRef")
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


CLAIMS = [
    NAME,
    PrinterColumn("Status", _phase),
    PrinterColumn("Volume", lambda obj, _: obj["spec"].get("volumeName") or ""),
    PrinterColumn("Capacity", lambda obj, _: at(obj, "status.capacity.storage") or ""),
    PrinterColumn("Access Modes", lambda obj, _: _modes(at(obj, "status.accessModes"))),
    PrinterColumn("StorageClass", lambda obj, _: obj["spec"].get("storageClassName") or ""),
    AGE,
    PrinterColumn("VolumeMode", lambda obj, _: obj["spec"].get("volumeMode") or "<unset>", priority=1),
]
VOLUMES = [
    NAME,
    PrinterColumn("Capacity", lambda obj, _: at(obj, "spec.capacity.storage") or ""),
    PrinterColumn("Access Modes", lambda obj, _: _modes(obj["spec"].get("accessModes"))),
    PrinterColumn("Reclaim Policy", lambda obj, _: obj["spec"].get("persistentVolumeReclaimPolicy")),
    PrinterColumn("Status", _phase),
    PrinterColumn("Claim", _claim),
    PrinterColumn("StorageClass", lambda obj, _: obj["spec"].get("storageClassName") or ""),
    PrinterColumn("Reason", lambda obj, _: at(obj, "status.reason") or ""),
    AGE,
    PrinterColumn("VolumeMode", lambda obj, _: obj["spec"].get("volumeMode") or "<unset>", priority=1),
]
STORAGE_CLASSES = [
    NAME,
    PrinterColumn("Provisioner", lambda obj, _: obj["provisioner"]),
    PrinterColumn("ReclaimPolicy", lambda obj, _: obj.get("reclaimPolicy")),
    PrinterColumn("VolumeBindingMode", lambda obj, _: obj.get("volumeBindingMode")),
    PrinterColumn("AllowVolumeExpansion", lambda obj, _: bool(obj.get("allowVolumeExpansion")), type="boolean"),
    AGE,
]
