"""Structural defaulting, compiled to closures.

Nulls in fields that are not nullable are dropped, or replaced by the default if there is one, before validation.
Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millrace_core.schema.node import Lazy, SchemaNode

Default = Callable[[Any], None]


def copied(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def compile_defaulting(node: SchemaNode) -> Default | None:
    """A function that sets defaults in place; None if there is nothing to set below ``node``."""
    if node.items is not None:
        return _list_defaulting(node.items)
    if node.properties or node.additional is not None:
        return _map_defaulting(node)
    return None


def _property_defaulting(node: SchemaNode, name: str) -> Default | None:
    child = node.children[name]
    return None if child is None else compile_defaulting(child)


def _list_defaulting(item: SchemaNode) -> Default | None:
    below = compile_defaulting(item)
    fills_nulls = item.has_default and not item.nullable
    if below is None and not fills_nulls:
        return None

    def default(values: Any) -> None:
        if type(values) is not list:
            return
        for index, value in enumerate(values):
            if value is None and fills_nulls:
                values[index] = copied(item.default)
            if below is not None:
                below(values[index])

    return default


def _map_defaulting(node: SchemaNode) -> Default:
    defaults = node.defaults()
    additional = compile_defaulting(node.additional) if node.additional is not None else None
    below = Lazy(node.properties, lambda name: _property_defaulting(node, name), additional)

    def default(obj: Any) -> None:
        if type(obj) is not dict:
            return
        if None in obj.values():
            _settle_nulls(obj, node)
        for name, value in defaults:
            if name not in obj:
                obj[name] = copied(value)
        for name, value in obj.items():
            kind = type(value)
            if kind is dict or kind is list:
                work = below[name]
                if work is not None:
                    work(value)

    return default


def _settle_nulls(obj: dict[str, Any], node: SchemaNode) -> None:
    """Replaces nulls that the schema does not allow by the default, or drops them."""
    for name in [name for name, value in obj.items() if value is None]:
        sub = node.children[name]
        if sub is None or sub.nullable:
            continue
        if sub.has_default:
            obj[name] = copied(sub.default)
        else:
            del obj[name]
