"""Checks that an ``openAPIV3Schema`` is structural, as Kubernetes requires of every CRD.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/validation.go`` and
``…/pkg/apis/apiextensions/validation/validation.go``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from millrace_core.base.re2 import PatternError, compile_pattern
from millrace_core.schema.errors import FieldError, forbidden, invalid, not_supported, required
from millrace_core.schema.keywords import keyword_errors
from millrace_core.schema.lists import list_errors

Raw = Mapping[str, Any]
Errors = Iterator[FieldError]

_TYPES = ["array", "boolean", "integer", "number", "object", "string"]
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_META = frozenset({"apiVersion", "kind", "metadata"})

#: Keywords that are forbidden inside a junctor, with the error message.
_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_LEVELS = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}


def structural_errors(raw: Raw, path: str) -> list[FieldError]:
    """All reasons for which the schema at ``path`` is not structural."""
    malformed = list(keyword_errors(raw, path))
    return malformed or list(_node(raw, path, "root", metadata=False))


def _node(raw: Raw, path: str, level: str, *, metadata: bool) -> Errors:
    yield from _supported(raw, path, metadata=metadata)
    yield from _type(raw, path, level)
    yield from _children(raw, path, level, metadata=metadata)
    yield from _values(raw, path, structural=True)
    yield from _metadata(raw, path, level)
    yield from list_errors(raw, path)


def _supported(raw: Raw, path: str, *, metadata: bool) -> Errors:
    for keyword in _UNSUPPORTED:
        if raw.get(keyword):
            yield forbidden(f"{path}.{keyword}", f"{keyword} is not supported")
    if raw.get("uniqueItems"):
        quadratic = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", quadratic)
    if metadata and raw.get("x-kubernetes-embedded-resource"):
        yield forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if raw.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")


def _type(raw: Raw, path: str, level: str) -> Errors:
    kind = raw.get("type") or ""
    typeless = raw.get("x-kubernetes-int-or-string") or raw.get("x-kubernetes-preserve-unknown-fields")
    if kind == "null":
        yield forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in _TYPES:
        yield not_supported(f"{path}.type", kind, _TYPES)
    elif raw.get("x-kubernetes-embedded-resource") and kind != "object":
        yield required(f"{path}.type", "must be object if x-kubernetes-embedded-resource is true")
    elif not kind and not typeless:
        yield required(f"{path}.type", f"must not be empty {_LEVELS[level]}")
    elif level == "root" and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")
    if level == "root" and raw.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    yield from _extensions(raw, path)


def _extensions(raw: Raw, path: str) -> Errors:
    if raw.get("x-kubernetes-int-or-string"):
        for keyword in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if raw.get(keyword):
                yield invalid(f"{path}.{keyword}", raw[keyword], "must be false if x-kubernetes-int-or-string is true")
    map_type = raw.get("x-kubernetes-map-type")
    if map_type is not None and raw.get("type") != "object":
        yield required(f"{path}.type", "must be object if x-kubernetes-map-type is specified")
    if map_type not in {None, "atomic", "granular"}:
        yield not_supported(f"{path}.x-kubernetes-map-type", map_type, ["atomic", "granular"])


def _children(raw: Raw, path: str, level: str, *, metadata: bool) -> Errors:
    items = raw.get("items")
    if raw.get("type") == "array" and items is None:
        yield required(f"{path}.items", "must be specified")
    if isinstance(items, list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif items is not None:
        yield from _node(items, f"{path}.items", "item", metadata=metadata)
    whole_object = level == "root" or bool(raw.get("x-kubernetes-embedded-resource"))
    for name, sub in (raw.get("properties") or {}).items():
        inside = metadata or (whole_object and name in _META)
        yield from _node(sub, f"{path}.properties[{name}]", "field", metadata=inside)
        if level == "root" and name in _META:
            yield from _no_defaults(sub, f"{path}.properties[{name}]", f"in top-level {name}")
    yield from _additional(raw, f"{path}.additionalProperties", level, metadata=metadata)


def _additional(raw: Raw, path: str, level: str, *, metadata: bool) -> Errors:
    additional = raw.get("additionalProperties")
    if additional is None:
        return
    if level == "root":
        yield forbidden(path, "must not be used at the root")
    if raw.get("x-kubernetes-embedded-resource"):
        yield forbidden(path, "must not be used if x-kubernetes-embedded-resource is set")
    if raw.get("properties") and additional is not True:
        yield forbidden(path, "additionalProperties and properties are mutual exclusive")
    if isinstance(additional, Mapping):
        yield from _node(additional, path, "field", metadata=metadata)
        if metadata:
            yield from _no_defaults(additional, path, "inside additionalProperties applying to object metadata")


def _no_defaults(raw: Raw, path: str, reason: str) -> Errors:
    if raw.get("default") is not None:
        yield forbidden(f"{path}.default", f"must not be set {reason}")
    for name, sub in (raw.get("properties") or {}).items():
        yield from _no_defaults(sub, f"{path}.properties[{name}]", reason)
    for keyword in ("items", "additionalProperties"):
        if isinstance(raw.get(keyword), Mapping):
            yield from _no_defaults(raw[keyword], f"{path}.{keyword}", reason)


def _values(raw: Raw, path: str, *, structural: bool) -> Errors:
    """Value validations. Kubernetes allows types inside a junctor only for int-or-string."""
    pattern = raw.get("pattern")
    if pattern:
        try:
            compile_pattern(pattern)
        except PatternError as error:
            yield invalid(f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: {error}")
    either = structural and bool(raw.get("x-kubernetes-int-or-string"))
    for junctor in _JUNCTORS:
        if either and junctor == "anyOf" and raw.get("anyOf") == _INT_OR_STRING:
            continue
        for index, sub in enumerate(raw.get(junctor) or ()):
            if either and junctor == "allOf" and index == 0 and sub.get("anyOf") == _INT_OR_STRING:
                continue
            yield from _nested(sub, f"{path}.{junctor}[{index}]")
    if raw.get("not") is not None:
        yield from _nested(raw["not"], f"{path}.not")


def _nested(raw: Raw, path: str) -> Errors:
    for keyword, detail in _NESTED.items():
        if raw.get(keyword) not in (None, "", False, []):
            yield forbidden(f"{path}.{keyword}", detail)
    yield from _supported(raw, path, metadata=False)
    yield from _values(raw, path, structural=False)
    properties = raw.get("properties") or {}
    if "metadata" in properties:
        yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")
    for name, sub in properties.items():
        yield from _nested(sub, f"{path}.properties[{name}]")
    if isinstance(raw.get("items"), Mapping):
        yield from _nested(raw["items"], f"{path}.items")


def _metadata(raw: Raw, path: str, level: str) -> Errors:
    """In a whole object apiVersion and kind are strings; in metadata only names may be restricted."""
    properties = raw.get("properties") or {}
    embedded = bool(raw.get("x-kubernetes-embedded-resource"))
    if embedded and not properties and not raw.get("x-kubernetes-preserve-unknown-fields"):
        missing = "must not be empty if x-kubernetes-embedded-resource is true without"
        yield required(f"{path}.properties", f"{missing} x-kubernetes-preserve-unknown-fields")
    if level != "root" and not embedded:
        return
    for name, kind in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        found = properties.get(name)
        if found is not None and found.get("type") != kind:
            yield invalid(f"{path}.properties[{name}].type", found.get("type", ""), f"must be {kind}")
    if level == "root" and (metadata := properties.get("metadata")) is not None:
        rest = set(metadata) - {"type", "description", "properties"}
        if rest or not set(metadata.get("properties") or ()) <= {"name", "generateName"}:
            detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield forbidden(f"{path}.properties[metadata]", detail)
