"""What differs between two states of one object, as a patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace_kube.resources import Object


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """The JSON merge patch (RFC 7396) that turns ``before`` into ``after``; empty where they are equal."""
    patch: Object = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            patch[name] = value
        elif value is before[name]:
            continue
        elif isinstance(value, Mapping) and isinstance(before[name], Mapping):
            if deeper := merge_patch(before[name], value):
                patch[name] = deeper
        elif value != before[name]:
            patch[name] = value
    return patch
