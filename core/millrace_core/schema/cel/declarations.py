"""The types of values as CEL sees them, and their maximum sizes, by their schema.

Kubernetes estimates costs by these sizes. Source: ``k8s.io/apiserver/pkg/cel/common/schemas.go`` of 1.30.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace_core.schema.cel.parsing import RESERVED
from millrace_core.schema.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Type,
    list_of,
    map_of,
)

MAX_REQUEST_BYTES = 3 * 1024 * 1024
_MAX_TIME_BYTES = 32  # a duration or date-time in JSON
_DATE_BYTES = 12
_MIN_TEXT_BYTES, _MIN_BOOL_BYTES, _MIN_NUMBER_BYTES = 2, 4, 1
_MIN_DURATION_BYTES, _MIN_DATE_TIME_BYTES = 3, 21
_BYTES_PER_CHARACTER = 4

_KEYWORDS = RESERVED | {"true", "false", "null", "in"}
_ESCAPED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


@dataclass(eq=False, slots=True)
class Declaration:
    """A schema node as CEL sees it.

    ``max_size`` bounds the items, entries or characters of a value, ``min_bytes`` its JSON from below. ``fields`` are
    by CEL name; ``names`` gives the property of each.
    """

    type: Type
    max_size: int
    min_bytes: int
    item: Declaration | None = None
    fields: dict[str, Declaration] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    list_type: str = "atomic"
    map_keys: tuple[str, ...] = ()


_KEY = Declaration(STRING, 0, _MIN_TEXT_BYTES)


def map_key() -> Declaration:
    """The keys of a map; their size has no bound."""
    return _KEY


def declare(raw: Mapping[str, Any], *, whole_object: bool = False) -> Declaration | None:
    """The declaration of a schema; None if CEL cannot see such values."""
    if raw.get("x-kubernetes-int-or-string"):
        return Declaration(DYN, MAX_REQUEST_BYTES - 2, 1)
    kind = raw.get("type")
    if kind == "array":
        return _declare_list(raw)
    if kind == "object":
        whole_object = whole_object or bool(raw.get("x-kubernetes-embedded-resource"))
        if isinstance(raw.get("additionalProperties"), Mapping) and not whole_object:
            return _declare_map(raw)
        return _declare_object(raw, whole_object=whole_object)
    if kind == "string":
        return _declare_string(raw)
    scalars = {"boolean": (BOOL, _MIN_BOOL_BYTES), "number": (DOUBLE, _MIN_NUMBER_BYTES)}
    scalars["integer"] = (INT, _MIN_NUMBER_BYTES)
    return Declaration(scalars[kind][0], 0, scalars[kind][1]) if kind in scalars else None


def _declare_list(raw: Mapping[str, Any]) -> Declaration | None:
    item = declare(raw["items"]) if isinstance(raw.get("items"), Mapping) else None
    if item is None:
        return None
    most = raw.get("maxItems")
    size = max(most, 0) if most is not None else (MAX_REQUEST_BYTES - 2) // (item.min_bytes + 1)
    return Declaration(
        list_of(item.type),
        size,
        2,
        item=item,
        list_type=raw.get("x-kubernetes-list-type") or "atomic",
        map_keys=tuple(raw.get("x-kubernetes-list-map-keys") or ()),
    )


def _declare_map(raw: Mapping[str, Any]) -> Declaration | None:
    value = declare(raw["additionalProperties"])
    if value is None:
        return None
    most = raw.get("maxProperties")
    size = max(most, 0) if most is not None else (MAX_REQUEST_BYTES - 2) // (value.min_bytes + 6)
    return Declaration(map_of(STRING, value.type), size, 2, item=value)


def _declare_object(raw: Mapping[str, Any], *, whole_object: bool) -> Declaration:
    properties = dict(raw.get("properties") or {})
    if whole_object:
        properties |= _META
    required = set(raw.get("required") or ())
    out = Declaration(DYN, 0, 2)
    out.type = Type("object", declaration=out)
    for name, sub in properties.items():
        declared = declare(sub)
        if declared is None:
            continue
        escaped = escape(name)
        if escaped is not None:
            out.fields[escaped] = declared
            out.names[escaped] = name
        if name in required and sub.get("default") is None:
            out.min_bytes += len(name) + declared.min_bytes + 4
    return out


#: What rules on a whole object see of its metadata.
_META: dict[str, Any] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
    },
}


def _declare_string(raw: Mapping[str, Any]) -> Declaration:
    most, fmt = raw.get("maxLength"), raw.get("format")
    if fmt == "byte":
        return Declaration(BYTES, max(most, 0) if most is not None else MAX_REQUEST_BYTES - 2, _MIN_TEXT_BYTES)
    if fmt == "duration":
        return Declaration(DURATION, _MAX_TIME_BYTES, _MIN_DURATION_BYTES)
    if fmt == "date":
        return Declaration(TIMESTAMP, _DATE_BYTES, _DATE_BYTES)
    if fmt == "date-time":
        return Declaration(TIMESTAMP, _MAX_TIME_BYTES, _MIN_DATE_TIME_BYTES)
    if most is not None:
        size = max(most, 0) * _BYTES_PER_CHARACTER
    elif raw.get("enum"):
        size = max((len(choice.encode()) for choice in raw["enum"] if isinstance(choice, str)), default=0)
    else:
        size = MAX_REQUEST_BYTES - 2
    return Declaration(STRING, size, _MIN_TEXT_BYTES)


@functools.cache
def escape(name: str) -> str | None:
    """A property's name in CEL; None if it cannot be written.

    Source: ``k8s.io/apiserver/pkg/cel/escaping.go``.
    """
    if name in _KEYWORDS:
        return f"__{name}__"
    if not re.fullmatch(r"[a-zA-Z_./-][a-zA-Z0-9_./-]*", name):
        return None
    return re.sub(r"__|[-./]", lambda match: _ESCAPED[match[0]], name)
