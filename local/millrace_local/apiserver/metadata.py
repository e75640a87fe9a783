"""``metadata``: the fields that only the server writes, and changes that it refuses."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

from millrace_core.schema.errors import FieldError, forbidden

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_LIMIT = 63 - 5


def new_uid() -> str:
    """A random version 4 UUID; ten times faster than ``uuid.uuid4``."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def generated_name(prefix: str) -> str:
    """``prefix``, truncated as Kubernetes does, and five random characters."""
    return prefix[:_GENERATED_LIMIT] + "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))


def finalizer_errors(metadata: Mapping[str, Any], old: Mapping[str, Any]) -> list[FieldError]:
    """An error for finalizers that are added to an object that is being deleted."""
    if not old.get("deletionTimestamp"):
        return []
    added = [name for name in metadata.get("finalizers") or () if name not in (old.get("finalizers") or ())]
    if not added:
        return []
    listed = ", ".join(f'"{name}"' for name in added)
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [forbidden("metadata.finalizers", why)]


def prepare_new(metadata: dict[str, Any], namespace: str, now: str) -> None:
    """Sets what the server writes in the metadata of a new object."""
    for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        metadata.pop(name, None)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = now
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)


_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
)


def prepare_changed(metadata: dict[str, Any], old: Mapping[str, Any]) -> None:
    """Restores what only the server may change."""
    metadata.pop("selfLink", None)
    for name in _SERVER_OWNED:
        if name in old:
            metadata[name] = old[name]
        else:
            metadata.pop(name, None)
