"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any

from millrace_core.schema.defaulting import copied
from millrace_local.apiserver.patches.errors import PatchError


def apply_merge_patch(doc: dict[str, Any], patch: Any) -> dict[str, Any]:
    """The document with the patch merged in; neither is changed, and they share nothing with the result."""
    if not isinstance(patch, dict):
        raise PatchError.malformed("Invalid JSON Patch")
    return _merged(copied(doc), patch)


def _merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            below = target.get(key)
            target[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            target[key] = copied(value)
    return target
