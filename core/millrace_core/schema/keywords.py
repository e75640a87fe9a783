"""Checks that the keywords of a schema have values of the right type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from millrace_core.schema.errors import TYPE_INVALID, FieldError, shown

_NUMBER, _COUNT, _TEXT, _FLAG = "a number", "a non-negative integer", "a string", "true or false"
_SCHEMA, _SCHEMAS, _BY_NAME, _NAMES = "a schema", "a list of schemas", "schemas by name", "a list of strings"
_SCHEMA_OR_FLAG, _SCHEMA_OR_LIST, _LIST, _RULES = "a schema or true or false", "a schema ", "a list", "a list of rules"

_EXPECTED = {
    **dict.fromkeys(("type", "format", "title", "description", "pattern", "$ref", "id"), _TEXT),
    **dict.fromkeys(("maximum", "minimum", "multipleOf"), _NUMBER),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), _COUNT),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "uniqueItems", "nullable"), _FLAG),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), _SCHEMAS),
    **dict.fromkeys(("required", "x-kubernetes-list-map-keys"), _NAMES),
    **dict.fromkeys(("x-kubernetes-list-type", "x-kubernetes-map-type"), _TEXT),
    "x-kubernetes-preserve-unknown-fields": _FLAG,
    "x-kubernetes-embedded-resource": _FLAG,
    "x-kubernetes-int-or-string": _FLAG,
    "x-kubernetes-validations": _RULES,
    "properties": _BY_NAME,
    "additionalProperties": _SCHEMA_OR_FLAG,
    "items": _SCHEMA_OR_LIST,
    "not": _SCHEMA,
    "enum": _LIST,
}


def keyword_errors(raw: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """Keywords at and below ``path`` with values of a wrong type; null counts as absent."""
    for keyword, value in raw.items():
        expected = _EXPECTED.get(keyword)
        if expected is None or value is None:
            continue
        at = f"{path}.{keyword}"
        if not _FITS[expected](value):
            yield FieldError(TYPE_INVALID, at, f"Invalid value: {shown(value)}: must be {expected.strip()}")
            continue
        for name, sub in _schemas(keyword, value):
            yield from keyword_errors(sub, f"{at}{name}")


def _schemas(keyword: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas inside a keyword's value, with the rest of their path."""
    if keyword == "properties":
        yield from ((f"[{name}]", sub) for name, sub in value.items())
    elif keyword in {"allOf", "anyOf", "oneOf"}:
        yield from ((f"[{index}]", sub) for index, sub in enumerate(value))
    elif keyword in {"items", "additionalProperties", "not"} and isinstance(value, Mapping):
        yield "", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(item, kind) for item in value)


_FITS: dict[str, Callable[[Any], bool]] = {
    _NUMBER: _is_number,
    _COUNT: lambda value: _is_number(value) and isinstance(value, int) and value >= 0,
    _TEXT: lambda value: isinstance(value, str),
    _FLAG: lambda value: isinstance(value, bool),
    _SCHEMA: lambda value: isinstance(value, dict),
    _SCHEMA_OR_FLAG: lambda value: isinstance(value, dict | bool),
    _SCHEMA_OR_LIST: lambda value: isinstance(value, dict | list),
    _LIST: lambda value: isinstance(value, list),
    _NAMES: _is_list_of(str),
    _SCHEMAS: _is_list_of(dict),
    _RULES: _is_list_of(dict),
    _BY_NAME: lambda value: isinstance(value, dict) and all(isinstance(item, dict) for item in value.values()),
}


def without_nulls(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a well-formed schema without keywords that are null."""
    out: dict[str, Any] = {}
    for keyword, value in raw.items():
        if value is None:
            continue
        if keyword == "properties":
            out[keyword] = {name: without_nulls(sub) for name, sub in value.items()}
        elif keyword in {"allOf", "anyOf", "oneOf"}:
            out[keyword] = [without_nulls(sub) for sub in value]
        elif keyword in {"items", "additionalProperties", "not"} and isinstance(value, Mapping):
            out[keyword] = without_nulls(value)
        else:
            out[keyword] = value
    return out
