"""Checks that a schema's list type fits its items. Source: see :mod:`.structural`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from millrace_core.schema.errors import FieldError, forbidden, invalid, not_supported, required

_LIST_TYPES = ["atomic", "set", "map"]


def list_errors(raw: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """Errors of x-kubernetes-list-type and x-kubernetes-list-map-keys."""
    list_type, keys = raw.get("x-kubernetes-list-type"), raw.get("x-kubernetes-list-map-keys") or []
    if keys and list_type != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield required(f"{path}.x-kubernetes-list-type", detail)
    if list_type is None:
        return
    if list_type not in _LIST_TYPES:
        yield not_supported(f"{path}.x-kubernetes-list-type", list_type, _LIST_TYPES)
    if raw.get("type") != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        yield required(f"{path}.type", detail)
        return
    items = raw.get("items")
    if not isinstance(items, Mapping):
        return
    if list_type in {"set", "map"} and items.get("nullable"):
        yield forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
    if list_type == "set":
        yield from _set_errors(items, path)
    elif list_type == "map":
        yield from _map_errors(items, keys, path)


def _set_errors(items: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    list_type, map_type = items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type")
    if items.get("type") == "array" and list_type not in {None, "atomic"}:
        yield invalid(f"{path}.items.x-kubernetes-list-type", list_type, detail)
    if items.get("type") == "object" and map_type != "atomic":
        yield invalid(f"{path}.items.x-kubernetes-map-type", map_type, detail)


def _map_errors(items: Mapping[str, Any], keys: list[str], path: str) -> Iterator[FieldError]:
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield required(where, "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type", ""), detail)
        return
    if len(set(keys)) < len(keys):
        yield invalid(where, keys, "must not contain duplicate entries")
    properties, needed = items.get("properties") or {}, set(items.get("required") or ())
    for key in keys:
        found = properties.get(key)
        if found is None:
            yield invalid(where, keys, "entries must all be names of item properties")
            continue
        at = f"{path}.items.properties[{key}]"
        if found.get("type") in {"array", "object"}:
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{at}.type", found["type"], detail)
        member = "this property is in x-kubernetes-list-map-keys, so it"
        if key not in needed and found.get("default") is None:
            yield required(f"{at}.default", f"{member} must have a default or be a required property")
        if found.get("nullable"):
            yield forbidden(f"{at}.nullable", f"{member} cannot be nullable")
