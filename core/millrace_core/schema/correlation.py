"""Matches the parts of an object with those of the stored one, so that old errors pass (ratcheting).

Properties are matched by name and items of list maps by their keys; items of other lists are not matched. An error in a
value that did not change is not an error of the change.
Source: ``k8s.io/apiserver/pkg/cel/common/equality.go``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from millrace_core.schema import errors
from millrace_core.schema.node import SchemaNode
from millrace_core.schema.pruning import Path
from millrace_core.schema.values import Violation


def keys_of(item: Any, keys: Iterable[str]) -> str:
    """The identity of a list-map item."""
    return json.dumps([item.get(key) for key in keys]) if isinstance(item, dict) else ""


def by_keys(items: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """The items of a list map by identity; empty for other lists."""
    return {keys_of(item, keys): item for item in items} if keys and isinstance(items, list) else {}


def new_violations(
    violations: list[Violation],
    root: SchemaNode,
    new: dict[str, Any],
    old: dict[str, Any],
    errors_of_old: list[Violation],
) -> list[Violation]:
    """The violations that the change from ``old`` to ``new`` introduced.

    Duplicates in list maps and sets count only if the old object had none at all.
    """
    had_duplicates = any(violation.type == errors.DUPLICATE for violation in errors_of_old)
    return [
        violation
        for violation in violations
        if not (had_duplicates and violation.type == errors.DUPLICATE)
        and (violation.type == errors.DUPLICATE or not _unchanged(violation.at, root, new, old))
    ]


def _unchanged(at: Path, root: SchemaNode, new: Any, old: Any) -> bool:
    """Whether the value at a path, or one that contains it, equals the old value that it is matched with."""
    node: SchemaNode | None = root
    for step in (*at, None):
        if new == old:
            return True
        if step is None or node is None:
            return False
        if isinstance(step, int):
            keys = node.map_keys if node.list_type == "map" else ()
            older = by_keys(old, keys)
            new, old = new[step], older.get(keys_of(new[step], keys), _NOTHING)
            node = node.items
        else:
            new, old = new[step], old.get(step, _NOTHING) if isinstance(old, dict) else _NOTHING
            node = node.children[step]
    return False


_NOTHING: Any = object()
