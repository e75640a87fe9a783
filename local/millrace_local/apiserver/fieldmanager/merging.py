"""Merging an applied configuration into a live object, and removing fields from one.

Source: ``sigs.k8s.io/structured-merge-diff/typed`` (merge.go, remove.go).
"""

from __future__ import annotations

from typing import Any

from millrace_core.base.errors import RejectError
from millrace_core.schema import SchemaNode
from millrace_kube.fieldset import Fields, is_member, shown
from millrace_local.apiserver.fieldmanager.typed import indexed, is_granular, item_element


def merge(live: Any, applied: Any, node: SchemaNode | None) -> Any:
    """``applied`` over ``live``; the result shares parts with both."""
    if type(live) is not type(applied) or not is_granular(applied, node):
        return applied
    if type(applied) is dict:
        out = dict(live)
        for key, value in applied.items():
            sub = node.children[key] if node is not None else None
            out[key] = merge(live[key], value, sub) if key in live else value
        return out
    return _merge_lists(live, applied, node) if node is not None else applied


def _merge_lists(live: list[Any], applied: list[Any], node: SchemaNode) -> list[Any]:
    """The applied items in their order; items that only the live list has keep their place among the shared ones."""
    wanted = indexed(applied, node)
    for key, items in wanted.items():
        if len(items) > 1:
            raise RejectError(f"duplicate entries for key {shown(key)}", reason="BadRequest")
    present = indexed(live, node)
    elements = [item_element(item, node) for item in live]
    shared = [element for element in wanted if element in present]
    waiting = list(wanted)
    done: set[str] = set()
    out: list[Any] = []
    at = 0
    while at < len(live) or waiting:
        element = elements[at] if at < len(live) else None
        awaited = next((other for other in shared if other not in done), None)
        if element is not None and element not in wanted:
            out.append(live[at])
            at += 1
        elif element is not None and (element in done or (waiting and element != waiting[0] and element != awaited)):
            at += 1
        else:
            chosen = waiting.pop(0)
            done.add(chosen)
            same = present.get(chosen, [])
            (item,) = wanted[chosen]
            out.append(merge(same[0], item, node.items) if len(same) == 1 else item)
            at += element == chosen
    return out


def without(value: Any, fields: Fields, node: SchemaNode | None, owned: Fields) -> Any:
    """The value with the members of ``fields`` gone.

    Containers that this empties go with them, except those that are themselves members of ``owned``.
    """
    if not is_granular(value, node):
        return value
    if type(value) is dict:
        return _object_without(value, fields, node, owned)
    items = []
    for item in value:
        element = item_element(item, node) if node is not None else ""
        below = fields.get(element)
        if below is None:
            items.append(item)
        elif not is_member(below):
            items.append(without(item, below, node.items if node is not None else None, owned.get(element, {})))
    return items


def _object_without(obj: dict[str, Any], fields: Fields, node: SchemaNode | None, owned: Fields) -> dict[str, Any]:
    out = {}
    for key, item in obj.items():
        below, held = fields.get(f"f:{key}"), owned.get(f"f:{key}")
        if below is None:
            out[key] = item
        elif not is_member(below):
            kept = without(item, below, node.children[key] if node is not None else None, held or {})
            if kept or (held is not None and is_member(held)):
                out[key] = kept
    return out
