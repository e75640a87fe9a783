"""Which fields a value has, and how two values differ, by their schema.

Where the schema is silent, maps are granular and lists atomic, as in Kubernetes.
Source: ``sigs.k8s.io/structured-merge-diff/typed``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_core.schema import SchemaNode
from millrace_kube.fieldset import (
    SELF,
    Fields,
    is_member,
    key_element,
    single_key_element,
    value_element,
)


class Comparison(NamedTuple):
    """The fields that a change added, changed in value and removed."""

    added: Fields
    modified: Fields
    removed: Fields


def is_granular(value: Any, node: SchemaNode | None) -> bool:
    """Whether fields or items of the value can have owners of their own."""
    if type(value) is dict:
        return node is None or node.map_type != "atomic"
    return type(value) is list and node is not None and node.list_type != "atomic"


def item_element(item: Any, node: SchemaNode) -> str:
    """The path element of an item of the list that ``node`` describes."""
    if node.list_type == "set":
        if isinstance(item, dict | list) or item is None:
            raise _bad("associative list without keys has an element that's no plain value")
        return value_element(item)
    if not isinstance(item, dict):
        raise _bad("associative list with keys may not have non-map elements")
    if len(node.map_keys) == 1:
        (key,) = node.map_keys
        value = item.get(key)
        if isinstance(value, str):
            return single_key_element(key, value)
    keys = {}
    for key in node.map_keys:
        sub = node.items.children[key] if node.items is not None else None
        if key in item:
            keys[key] = item[key]
        elif sub is not None and sub.has_default:
            keys[key] = sub.default
    if not keys:
        names = " ".join(f'"{key}"' for key in node.map_keys)
        raise _bad(
            f"associative list with keys has an element that omits all key fields [{names}] "
            "(and doesn't have default values for any key fields)"
        )
    return key_element(keys)


def _bad(message: str) -> RejectError:
    return RejectError(message, reason="BadRequest")


def indexed(items: Iterable[Any], node: SchemaNode) -> dict[str, list[Any]]:
    """The items of a list map or set by path element; more than one under an element are duplicates."""
    index: dict[str, list[Any]] = {}
    for item in items:
        index.setdefault(item_element(item, node), []).append(item)
    return index


def field_set(value: Any, node: SchemaNode | None) -> Fields | None:
    """The fields that an applied configuration claims; None if it claims none, {} if it is claimed as a whole."""
    if not value or not is_granular(value, node):
        return None if type(value) is list and is_granular(value, node) else {}
    out: Fields = {}
    if type(value) is dict:
        declared = node.properties if node is not None else {}
        for key, item in value.items():
            below = field_set(item, node.children[key] if node is not None else None)
            if key not in declared:
                below = {SELF: {}, **below} if below else {}
            if below is not None:
                out[f"f:{key}"] = below
    elif node is not None:
        for element, items in indexed(value, node).items():
            below = field_set(items[0], node.items) if len(items) == 1 else {}
            out[element] = {SELF: {}, **below} if below else {}
    return out or None


def everything(value: Any, node: SchemaNode | None) -> Fields:
    """The set of every field of a value, containers included."""
    if not value or not is_granular(value, node):
        return {}
    if type(value) is dict:
        return _every_field(value, node)
    return _every_item(value, node) if node is not None else {}


def _every_field(obj: dict[str, Any], node: SchemaNode | None) -> Fields:
    out: Fields = {SELF: {}}
    for key, item in obj.items():
        kind = type(item)
        if kind is dict or kind is list:
            out[f"f:{key}"] = everything(item, None if node is None else node.children[key])
        else:
            out[f"f:{key}"] = {}
    return out


def _every_item(items: list[Any], node: SchemaNode) -> Fields:
    out: Fields = {SELF: {}}
    for item in items:
        element = item_element(item, node)
        out[element] = {} if element in out else everything(item, node.items)
    return out


def compare(old: Any, new: Any, node: SchemaNode | None) -> Comparison:
    """How ``new`` differs from ``old``; both are objects, or both lists of one schema."""
    result = Comparison({}, {}, {})
    if old == new:
        return result
    for element, before, after, sub in _pairs(old, new, node):
        if before is _ABSENT:
            result.added[element] = everything(after, sub)
        elif after is _ABSENT:
            result.removed[element] = everything(before, sub)
        elif before != after:
            _compare_entry(result, element, before, after, sub)
    return result


def _compare_entry(result: Comparison, element: str, before: Any, after: Any, node: SchemaNode | None) -> None:
    comparable = type(before) is type(after) and is_granular(after, node)
    if not comparable or not (before or after):
        result.modified[element] = {}
        return
    below = compare(before, after, node)
    for fields, found in zip(result, below, strict=True):
        if found:
            fields[element] = found


_ABSENT: Any = object()


def _pairs(old: Any, new: Any, node: SchemaNode | None) -> Iterable[tuple[str, Any, Any, SchemaNode | None]]:
    """Each path element with the value before and after, and their schema; duplicates count as one value."""
    if isinstance(new, dict):
        for key in old.keys() | new.keys():
            sub = node.children[key] if node is not None else None
            yield f"f:{key}", old.get(key, _ABSENT), new.get(key, _ABSENT), sub
    elif node is not None:
        before, after = indexed(old, node), indexed(new, node)
        for element in before.keys() | after.keys():
            values = [_one(side.get(element)) for side in (before, after)]
            yield element, values[0], values[1], node.items


def _one(items: list[Any] | None) -> Any:
    if items is None:
        return _ABSENT
    return items[0] if len(items) == 1 else tuple(items)


def with_named_fields(fields: Fields, node: SchemaNode | None) -> Fields:
    """The set with every declared field above a member added: who owns ``a.b`` keeps ``a`` from being removed."""
    out: Fields = {}
    declared = node.properties if node is not None else {}
    for element, below in fields.items():
        if not below:
            out[element] = below
            continue
        sub = _schema_at(element, node)
        grown = with_named_fields(below, sub)
        named = element.startswith("f:") and element[2:] in declared
        out[element] = {SELF: {}, **grown} if named and not is_member(grown) else grown
    return out


def _schema_at(element: str, node: SchemaNode | None) -> SchemaNode | None:
    if node is None:
        return None
    return node.children[element[2:]] if element.startswith("f:") else node.items
