"""The ``fieldPath`` of a rule: a JSON path of field and map accessors, such as ``.spec.x`` or ``.labels['a.b']``.

Source: ``ValidFieldPath`` in ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\['(?P<key>(?:[^'\\]|\\.)*)'\]")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class FieldPathError(ValueError):
    """A path that leads to no field of the schema."""


def field_path(path: str, raw: Mapping[str, Any]) -> str:
    """The path as error messages append it to the path of the value, such as ``spec.x`` or ``labels[a.b]``."""
    out = ""
    at = 0
    schema: Any = raw
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None or not isinstance(schema, Mapping):
            raise FieldPathError(f"expected [ or . but got: {path[at:]}")
        name = step["name"] if step["key"] is None else _unescaped(step["key"])
        if schema.get("properties"):
            schema = schema["properties"].get(name)
            out += f".{name}"
        else:
            schema = schema.get("additionalProperties")
            out += f"[{name}]"
        if not isinstance(schema, Mapping):
            raise FieldPathError("does not refer to a valid field")
        at = step.end()
    return out.removeprefix(".")


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPED:
            raise FieldPathError(f"invalid escape char {match[0]}")
        return _ESCAPED[match[1]]

    return _ESCAPE.sub(one, text)
