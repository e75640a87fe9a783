"""Strategic merge patch: merges lists by the merge keys of the built-in kinds, and supports directives.

Source: ``k8s.io/apimachinery/pkg/util/strategicpatch``.
"""

from __future__ import annotations

from typing import Any

from millrace_core.schema import Schema, SchemaNode
from millrace_core.schema.defaulting import copied
from millrace_local.apiserver.patches.errors import PatchError, written
from millrace_local.apiserver.patches.ordering import identity, ordered

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def apply_strategic_patch(doc: dict[str, Any], patch: Any, schema: Schema) -> dict[str, Any]:
    """The document with the patch merged in; neither is changed, and they share nothing with the result."""
    if not isinstance(patch, dict):
        raise PatchError.malformed("invalid JSON document")
    return _merge_map(copied(doc), copied(patch), schema.root)


def _merge_map(live: dict[str, Any], patch: dict[str, Any], node: SchemaNode | None) -> dict[str, Any]:
    directive = patch.pop(_DIRECTIVE, None)
    if directive == "replace":
        return patch
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):  # which may be of any type
        raise PatchError(f"unknown patch type: {written(directive)} in map: {written(patch)}")
    _retain_keys(live, patch)
    for key in [key for key in patch if key.startswith(_ORDER)]:
        _merge_ordered(live, patch, key, node)
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            _delete_scalars(live, key.removeprefix(_DELETE_FROM), value)
        elif value is None:
            live.pop(key, None)
        else:
            _merge_value(live, key, value, node.children[key] if node is not None else None)
    return live


def _merge_value(live: dict[str, Any], key: str, value: Any, node: SchemaNode | None) -> None:
    current = live.get(key)
    replaces = node is not None and "replace" in node.merge_strategies
    if isinstance(current, dict) and isinstance(value, dict) and not replaces:
        live[key] = _merge_map(current, value, node)
    elif isinstance(current, list) and isinstance(value, list):
        live[key] = _merge_list(current, value, node)
    elif isinstance(value, dict) and _DIRECTIVE in value:
        live.pop(key, None)
    else:
        live[key] = _settled(value)


def _settled(value: Any) -> Any:
    """A value that is new to the object, without nulls and directives."""
    if isinstance(value, dict):
        return {key: _settled(item) for key, item in value.items() if item is not None and not _is_directive(item)}
    if isinstance(value, list):
        return [_settled(item) for item in value if not _is_directive(item)]
    return value


def _is_directive(value: Any) -> bool:
    return isinstance(value, dict) and _DIRECTIVE in value


def _retain_keys(live: dict[str, Any], patch: dict[str, Any]) -> None:
    if _RETAIN_KEYS not in patch:
        return
    retained = patch.pop(_RETAIN_KEYS)
    named = {key for key, value in patch.items() if value is not None and not key.startswith((_DELETE_FROM, _ORDER))}
    if not isinstance(retained, list) or not all(isinstance(each, str) for each in retained) or named - {*retained}:
        raise PatchError.malformed("invalid patch format of retainKeys")
    for key in [key for key in live if key not in retained]:
        del live[key]


def _delete_scalars(live: dict[str, Any], key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise PatchError.malformed("invalid patch format of primitive list")
    if isinstance(live.get(key), list):
        live[key] = [item for item in live[key] if item not in values]


def _merge_list(live: list[Any], patch: list[Any], node: SchemaNode | None) -> list[Any]:
    """The merged list, in the order of the patch's items."""
    if node is None or "merge" not in node.merge_strategies:
        return patch
    if not live and not patch:
        return live
    merged = _merged_items(live, patch, node)
    named = [item for item in patch if not _is_directive(item)]
    return ordered(merged, named, live, node.merge_key)


def _merged_items(live: list[Any], patch: list[Any], node: SchemaNode) -> list[Any]:
    kinds = {dict if isinstance(item, dict) else list if isinstance(item, list) else None for item in [*live, *patch]}
    if list in kinds:
        raise PatchError("lists of lists are not supported")
    if kinds == {None}:
        if node.merge_key:
            raise PatchError(f"list element types are not identical: {written([live, patch])}")
        return list(dict.fromkeys([*live, *patch]))
    if len(kinds) > 1:
        raise PatchError(f"list element types are not identical: {written([live, patch])}")
    if not node.merge_key:
        raise PatchError("cannot merge lists without merge key")
    return _merged_maps(live, patch, node)


def _merged_maps(live: list[Any], patch: list[Any], node: SchemaNode) -> list[Any]:
    key = node.merge_key
    replaces = any(item.get(_DIRECTIVE) == "replace" for item in patch)
    merged = [] if replaces else list(live)
    for item in patch:
        directive = item.get(_DIRECTIVE)
        if directive == "replace":
            continue
        if directive == "merge":
            raise PatchError("merging lists cannot yet be specified in the patch")
        if directive not in (None, "delete"):
            raise PatchError(f"unknown patch type: {written(directive)} in map: {written(item)}")
        _require_key(item, key)
        same = [index for index, other in enumerate(merged) if identity(other, key) == identity(item, key)]
        if directive == "delete":
            merged = [other for index, other in enumerate(merged) if index not in same]
        elif same:
            merged[same[0]] = _merge_map(merged[same[0]], item, node.items)
        else:
            merged.append(_settled(item))
    return merged


def _require_key(item: Any, key: str) -> None:
    if not isinstance(item, dict):
        raise PatchError(f"list element types are not identical: {written(item)} has no merge key: {key}")
    if key not in item:
        raise PatchError(f"map: {written(item)} does not contain declared merge key: {key}")


def _merge_ordered(live: dict[str, Any], patch: dict[str, Any], directive: str, node: SchemaNode | None) -> None:
    """Merges a list that has a $setElementOrder directive, and puts it into that order."""
    key = directive.removeprefix(_ORDER)
    order, changes = patch.pop(directive), patch.pop(key, [])
    if not isinstance(order, list) or not isinstance(changes, list):
        raise PatchError.malformed("invalid patch format of setElementOrder list")
    current = live.get(key)
    sub = node.children[key] if node is not None else None
    merge_key = sub.merge_key if sub is not None else ""
    _require_order(changes, order, merge_key)
    if not isinstance(current, list):
        if changes:
            live[key] = ordered(_settled(changes), order, [], merge_key)
        return
    merged = _merge_list(list(current), changes, sub) if changes else current
    live[key] = ordered(merged, order, current, merge_key)


def _require_order(changes: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's items must all stand in the order list, in the same relative order."""
    if not changes or not order:
        return
    if merge_key:
        for item in [*order, *changes]:
            if not _is_directive(item):
                _require_key(item, merge_key)
    wanted = [identity(item, merge_key) for item in changes if not _is_directive(item)]
    remaining = iter([identity(item, merge_key) for item in order])
    if not all(item in remaining for item in wanted):
        listed = (
            f"The order in patch list:\n{written(changes)}\n doesn't match $setElementOrder list:\n{written(order)}\n"
        )
        raise PatchError(listed)
