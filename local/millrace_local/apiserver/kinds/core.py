"""Strategies of the core group's simpler kinds."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from millrace_core.schema.errors import FieldError, forbidden, invalid
from millrace_local.apiserver.strategy import Draft, NoGenerationStrategy, Obj, fill, immutable

_DATA_LIMIT = 1024 * 1024
_KEY_LIMIT = 253


class NamespaceStrategy(NoGenerationStrategy):
    """Phase ``Active``; after a delete ``Terminating`` until the garbage collector has emptied it."""

    lingers = True

    def default(self, obj: Obj) -> None:
        labels = obj["metadata"].get("labels") or {}
        obj["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": obj["metadata"]["name"]}

    def prepare(self, draft: Draft) -> None:
        obj, old = draft.obj, draft.old
        if old is None:
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
        elif draft.subresource != "finalize":
            obj["spec"] = old.get("spec", {})

    def deleting(self, obj: Obj) -> None:
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}

    def finished(self, obj: Obj) -> bool:
        """A namespace has a second list of finalizers, in its spec."""
        return super().finished(obj) and not obj["spec"].get("finalizers")


class NodeStrategy(NoGenerationStrategy):
    """Nodes register themselves with their status, and report labels with it."""

    status_metadata = True
    keeps_status_on_create = True


class VolumeClaimStrategy(NoGenerationStrategy):
    """PersistentVolumeClaims. Nothing here provisions volumes, so a claim stays ``Pending``."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        fill(obj["spec"], {"volumeMode": "Filesystem"})

    def prepare(self, draft: Draft) -> None:
        obj, old = draft.obj, draft.old
        if old is None:
            obj["status"] = {"phase": "Pending"}

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        if old is None:
            return []
        free = ("resources", "volumeName", "volumeAttributesClassName")
        after = {name: value for name, value in obj["spec"].items() if name not in free}
        before = {name: value for name, value in old["spec"].items() if name not in free}
        if after == before:
            return []
        return [forbidden("spec", "spec is immutable after creation except resources.requests")]


class VolumeStrategy(NoGenerationStrategy):
    """PersistentVolumes. They are stored, and nothing binds them."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        fill(obj["spec"], {"volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain"})

    def prepare(self, draft: Draft) -> None:
        obj, old = draft.obj, draft.old
        if old is None:
            obj["status"] = {"phase": "Pending"}


def _frozen_errors(obj: Obj, old: Obj | None, *names: str) -> list[FieldError]:
    if old is None or not old.get("immutable"):
        return []
    if not obj.get("immutable"):
        return [forbidden("immutable", "field is immutable when `immutable` is set")]
    return [forbidden(n, "field is immutable when `immutable` is set") for n in names if obj.get(n) != old.get(n)]


class ConfigMapStrategy(NoGenerationStrategy):
    """ConfigMaps: valid keys, no key in both ``data`` and ``binaryData``, 1 MiB in all."""

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        errors = _key_errors(data, "data") + _key_errors(binary, "binaryData")
        errors += [
            invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in data if key in binary
        ]
        errors += _size_errors([*data.values(), *binary.values()])
        return errors + _frozen_errors(obj, old, "data", "binaryData")


class SecretStrategy(NoGenerationStrategy):
    """Secrets: ``stringData`` is encoded into ``data``; the type never changes."""

    def default(self, obj: Obj) -> None:
        fill(obj, {"type": "Opaque"})
        plain = obj.pop("stringData", None)
        if plain:
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        data = obj.get("data") or {}
        errors = _key_errors(data, "data") + _size_errors(data.values())
        for key, value in data.items():
            try:
                base64.b64decode(value or "", validate=True)
            except (binascii.Error, ValueError):
                errors.append(invalid(f"data[{key}]", "<not shown>", "illegal base64 data"))
        return errors + immutable(obj, old, "type") + _frozen_errors(obj, old, "data")


def _key_errors(data: dict[str, Any], path: str) -> list[FieldError]:
    rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    return [
        invalid(f"{path}[{key}]", key, rule)
        for key in data
        if not key
        or key == "."
        or key.startswith("..")
        or len(key) > _KEY_LIMIT
        or not key.replace("-", "").replace("_", "").replace(".", "a").isalnum()
    ]


def _size_errors(values: Any) -> list[FieldError]:
    if sum(len(value or "") for value in values) <= _DATA_LIMIT:
        return []
    return [FieldError("FieldValueTooLong", "", f"Too long: may not be more than {_DATA_LIMIT} bytes")]
