"""Compiles a schema node into its table of checks (see :mod:`.values`).

Source: ``k8s.io/kube-openapi/pkg/validation/validate``; ``schema/listtype`` and ``schema/objectmeta`` of
``k8s.io/apiextensions-apiserver/pkg/apiserver``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millrace_core.base.re2 import compile_pattern
from millrace_core.schema import errors
from millrace_core.schema.errors import quoted, shown
from millrace_core.schema.formats import string_format
from millrace_core.schema.junctors import all_of_check, any_of_check, not_check, one_of_check
from millrace_core.schema.node import Lazy, SchemaNode
from millrace_core.schema.values import (
    Check,
    Checks,
    Violation,
    all_of,
    enum_check,
    invalid,
    number_checks,
    required_check,
    size_checks,
    type_check,
    wrong_type,
)

QUANTITY_FORMAT = "x-kubernetes-quantity"  # marks the built-in Quantity: a string or any number

_NULL = type(None)
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", _NULL: "null"}
_ALLOWED: dict[str, set[type]] = {
    "string": {str},
    "boolean": {bool},
    "integer": {int},
    "number": {int, float},
    "array": {list},
    "object": {dict},
}
_LARGEST_INT = 2**63 - 1
_LARGEST_FLOAT_INT = float(2**53)


def compile_checks(node: SchemaNode) -> Checks:
    """The checks of a structural node and everything below it."""
    return _checks(node.raw, node)


def _nested_checks(raw: Mapping[str, Any]) -> Checks:
    """The checks of a schema inside a logical junctor, which has value validations only."""
    return _checks(raw, None)


def _checks(raw: Mapping[str, Any], node: SchemaNode | None) -> Checks:
    junctors, numbers = _junctor_checks(raw), number_checks(raw)
    by_type: dict[type, list[Check]] = {
        str: [*junctors, *_string_checks(raw)],
        bool: junctors,
        int: [*junctors, *numbers],
        float: [*junctors, *numbers],
        list: [*junctors, *_list_checks(raw, node)],
        dict: [*junctors, *_map_checks(raw, node)],
        _NULL: [],
    }
    gates = _type_gates(raw, nullable=bool(raw.get("nullable")))
    choices = raw.get("enum")
    return {
        kind: all_of([*gates.get(kind, []), *checks, *([enum_check(choices, kind)] if choices else [])])
        for kind, checks in by_type.items()
    }


def _type_gates(raw: Mapping[str, Any], *, nullable: bool) -> dict[type, list[Check]]:
    """The type checks, for the Python types that need one."""
    names = ["integer", "string"] if raw.get("x-kubernetes-int-or-string") else [raw.get("type", "")]
    if names == [""]:
        return {}
    allowed = {kind for name in names for kind in _ALLOWED[name]}
    if raw.get("format") == QUANTITY_FORMAT:
        allowed.add(float)
    expected = ",".join(names)
    gates: dict[type, list[Check]] = {
        kind: [type_check(expected, actual)] for kind, actual in _NAMES.items() if kind not in allowed
    }
    if nullable:
        del gates[_NULL]
    if "integer" in names and float not in allowed:
        gates[float] = [_whole_number_check(expected)]
        gates[int] = [_int64_check(expected)]
    return gates


def _whole_number_check(expected: str) -> Check:
    def check(value: float) -> list[Violation] | None:
        if value.is_integer() and abs(value) <= _LARGEST_FLOAT_INT:
            return None
        return wrong_type(expected, "number")

    return check


def _int64_check(expected: str) -> Check:
    def check(value: int) -> list[Violation] | None:
        return None if -_LARGEST_INT - 1 <= value <= _LARGEST_INT else wrong_type(expected, "number")

    return check


def _string_checks(raw: Mapping[str, Any]) -> list[Check]:
    """Length, pattern and format; of length and pattern only the first failure is reported. Lengths count code
    points.
    """
    low, high, pattern = raw.get("minLength"), raw.get("maxLength"), raw.get("pattern")
    checks: list[Check] = []
    if low is not None or high is not None or pattern:
        search = compile_pattern(pattern).search if pattern else None

        def check(value: str) -> list[Violation] | None:
            if high is not None and len(value) > high:
                return [Violation(errors.TOO_LONG, f"Too long: may not be more than {high} bytes")]
            if low is not None and len(value) < low:
                return invalid(value, f"should be at least {low} chars long")
            if search is not None and not search(value):
                return invalid(value, f"should match '{pattern}'")
            return None

        checks.append(check)
    name = raw.get("format") or ""
    if raw.get("type", "string") == "string" and (accepts := string_format(name)):
        checks.append(lambda value: None if accepts(value) else wrong_type(name, value))
    return checks


def _list_checks(raw: Mapping[str, Any], node: SchemaNode | None) -> list[Check]:
    checks: list[Check] = []
    items = raw.get("items")
    if isinstance(items, Mapping):
        below = compile_checks(node.items) if node is not None and node.items else _nested_checks(items)
        if any(below.values()):
            checks.append(_items_check(below))
    checks.extend(size_checks(raw, "items", "minItems", "maxItems"))
    if node is not None and node.list_type in {"set", "map"}:
        checks.append(_unique_check(node.map_keys if node.list_type == "map" else ()))
    return checks


def _items_check(below: Checks) -> Check:
    def check(values: list[Any]) -> list[Violation] | None:
        found: list[Violation] | None = None
        for index, value in enumerate(values):
            one = below[type(value)]
            if one is not None and (violations := one(value)):
                found = (found or []) + [violation.under(index) for violation in violations]
        return found

    return check


def _unique_check(keys: tuple[str, ...]) -> Check:
    """Refuses duplicates: of the keys in a list map, of the item itself in a set (no keys)."""

    def check(values: list[Any]) -> list[Violation] | None:
        if len(values) < 2 or _surely_unique(values, keys):  # noqa: PLR2004
            return None
        seen: dict[str, int] = {}
        found: list[Violation] = []
        for index, value in enumerate(values):
            identity = value
            if keys:
                identity = {key: value[key] for key in keys if key in value} if isinstance(value, dict) else {}
            token = json.dumps(identity, sort_keys=True)
            seen[token] = seen.get(token, 0) + 1
            if seen[token] == 2:  # noqa: PLR2004
                found.append(Violation(errors.DUPLICATE, f"Duplicate value: {shown(identity)}", at=(index,)))
        return found or None

    return check


def _surely_unique(values: list[Any], keys: tuple[str, ...]) -> bool:
    """A fast check for the common case; False does not mean that there are duplicates."""
    try:
        if len(keys) == 1:
            (key,) = keys
            distinct = {value.get(key) for value in values}
        elif keys:
            distinct = {tuple(map(value.get, keys)) for value in values}
        else:
            distinct = set(values)
    except (TypeError, AttributeError):
        return False
    return len(distinct) == len(values)


def _map_checks(raw: Mapping[str, Any], node: SchemaNode | None) -> list[Check]:
    checks = size_checks(raw, "properties", "minProperties", "maxProperties")
    properties = raw.get("properties") or {}
    additional = raw.get("additionalProperties")
    if node is not None:
        below = Lazy(properties, lambda name: _child_checks(node, name), _child_checks(node, None))
    else:
        rest = _nested_checks(additional) if isinstance(additional, Mapping) else None
        below = Lazy[Checks | None](properties, lambda name: _nested_checks(properties[name]), rest)
    if additional is False:
        checks.append(_closed_check(frozenset(properties)))
    if properties or isinstance(additional, Mapping):
        checks.append(_properties_check(below))
    wanted = list(raw.get("required") or ())
    if node is not None and node.embedded:
        wanted += [name for name in ("apiVersion", "kind") if name not in wanted]
    if wanted:
        checks.append(required_check(wanted))
    return checks


def _child_checks(node: SchemaNode, name: str | None) -> Checks | None:
    """The checks of a declared property, or of the additional ones."""
    child = node.additional if name is None else node.children[name]
    return None if child is None else compile_checks(child)


def _properties_check(below: Lazy[Checks | None]) -> Check:
    def check(obj: dict[str, Any]) -> list[Violation] | None:
        found: list[Violation] | None = None
        for name, value in obj.items():
            table = below[name]
            if table is None:
                continue
            one = table[type(value)]
            if one is not None and (violations := one(value)):
                found = (found or []) + [violation.under(name) for violation in violations]
        return found

    return check


def _closed_check(known: frozenset[str]) -> Check:
    def check(obj: dict[str, Any]) -> list[Violation] | None:
        if obj.keys() <= known:
            return None
        return [
            Violation(errors.INVALID, f"Invalid value: {quoted(name)}: ", f".{name} in body is a forbidden property")
            for name in obj
            if name not in known
        ]

    return check


def _junctor_checks(raw: Mapping[str, Any]) -> list[Check]:
    """allOf, anyOf, oneOf and not."""
    checks: list[Check] = []
    if raw.get("anyOf"):
        checks.append(any_of_check([_nested_checks(sub) for sub in raw["anyOf"]]))
    if raw.get("oneOf"):
        checks.append(one_of_check([_nested_checks(sub) for sub in raw["oneOf"]]))
    if raw.get("allOf"):
        checks.append(all_of_check([_nested_checks(sub) for sub in raw["allOf"]]))
    if raw.get("not") is not None:
        checks.append(not_check(_nested_checks(raw["not"])))
    return checks
