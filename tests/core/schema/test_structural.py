"""Schemas that a Kubernetes API server refuses, and why."""

from typing import Any

import pytest

from millrace_core.schema import SchemaError, compile_schema

STRING = {"type": "string"}
PATH = "openAPIV3Schema.properties[spec]"


def refusals(schema: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by path."""
    with pytest.raises(SchemaError) as refused:
        compile_schema(schema)
    return {error.path: error.message for error in refused.value.errors}


def refusals_of(spec: Any) -> dict[str, str]:
    """What is wrong with a ``spec``, by path below it."""
    found = refusals({"type": "object", "properties": {"spec": spec}})
    return {path.removeprefix(PATH): message for path, message in found.items()}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {".type": "Required value: must not be empty for specified object fields"}),
        ({"type": "array"}, {".items": "Required value: must be specified"}),
        (
            {"type": "array", "items": {}},
            {".items.type": "Required value: must not be empty for specified array items"},
        ),
        (
            {"type": "float"},
            {
                ".type": 'Unsupported value: "float": supported values: "array", "boolean", "integer", "number", '
                '"object", "string"'
            },
        ),
        ({"type": "null"}, {".type": "Forbidden: type cannot be set to null, use nullable as an alternative"}),
        ({"type": "string", "$ref": "#/x"}, {".$ref": "Forbidden: $ref is not supported"}),
        (
            {"type": "object", "definitions": {"a": STRING}},
            {".definitions": "Forbidden: definitions is not supported"},
        ),
        (
            {"type": "array", "items": STRING, "uniqueItems": True},
            {
                ".uniqueItems": "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes "
                "quadratic"
            },
        ),
        (
            {"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING},
            {".additionalProperties": "Forbidden: additionalProperties and properties are mutual exclusive"},
        ),
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": False},
            {".x-kubernetes-preserve-unknown-fields": "Invalid value: false: must be true or undefined"},
        ),
        (
            {"type": "string", "allOf": [{"type": "string"}]},
            {".allOf[0].type": "Forbidden: must be empty to be structural"},
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"a": {"description": "x", "default": 1}}}]},
            {
                ".anyOf[0].properties[a].description": "Forbidden: must be empty to be structural",
                ".anyOf[0].properties[a].default": "Forbidden: must be undefined to be structural",
            },
        ),
        (
            {"type": "object", "not": {"properties": {"metadata": {}}}},
            {".not.properties[metadata]": "Forbidden: must not be specified in a nested context"},
        ),
        (
            {"type": "string", "pattern": "(?=a)"},
            {
                ".pattern": 'Invalid value: "(?=a)": must be a valid regular expression, but isn\'t: '
                "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"
            },
        ),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            {
                ".properties": "Required value: must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            },
        ),
        (
            {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
            {
                ".x-kubernetes-preserve-unknown-fields": "Invalid value: true: must be false if "
                "x-kubernetes-int-or-string is true"
            },
        ),
        (
            {"type": "string", "x-kubernetes-map-type": "atomic"},
            {".type": "Required value: must be object if x-kubernetes-map-type is specified"},
        ),
        (
            {"type": "string", "maxLength": "5", "properties": []},
            {
                ".maxLength": 'Invalid value: "5": must be a non-negative integer',
                ".properties": "Invalid value: []: must be schemas by name",
            },
        ),
    ],
)
def test_a_schema_that_is_not_structural_is_refused_with_the_place(spec: Any, expected: dict[str, str]) -> None:
    assert refusals_of(spec) == expected


def test_int_or_string_may_be_spelled_with_types_in_a_junctor() -> None:
    either = [{"type": "integer"}, {"type": "string"}]
    for spec in ({"anyOf": either}, {"allOf": [{"anyOf": either}, {"pattern": "^x"}]}):
        compile_schema({"type": "object", "properties": {"spec": {"x-kubernetes-int-or-string": True, **spec}}})
    assert refusals_of({"type": "string", "anyOf": either}) == {
        ".anyOf[0].type": "Forbidden: must be empty to be structural",
        ".anyOf[1].type": "Forbidden: must be empty to be structural",
    }


def test_the_root_is_an_object_that_says_little_of_metadata() -> None:
    assert refusals({"type": "array", "items": STRING})["openAPIV3Schema.type"] == (
        'Invalid value: "array": must be object at the root'
    )
    assert refusals({}) == {"openAPIV3Schema.type": "Required value: must not be empty at the root"}
    names = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}
    schema = compile_schema({"type": "object", "properties": {"metadata": names}})
    assert [fault.path for fault in schema.validate({"metadata": {"name": "too-long"}})] == ["metadata.name"]
    labels = {"type": "object", "properties": {"labels": {"type": "object"}}}
    assert refusals({"type": "object", "properties": {"metadata": labels}}) == {
        "openAPIV3Schema.properties[metadata]": "Forbidden: must not specify anything other than name and "
        "generateName, but metadata is implicitly specified"
    }


def list_map(**more: Any) -> dict[str, Any]:
    items = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": STRING, "list": {"type": "array", "items": STRING}},
    }
    return {
        "type": "array",
        "items": items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        **more,
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            list_map(**{"x-kubernetes-list-map-keys": []}),
            {".x-kubernetes-list-map-keys": "Required value: must not be empty if x-kubernetes-list-type is map"},
        ),
        (
            list_map(**{"x-kubernetes-list-map-keys": ["nmae"]}),
            {".x-kubernetes-list-map-keys": 'Invalid value: ["nmae"]: entries must all be names of item properties'},
        ),
        (
            list_map(items={"type": "object", "properties": {"name": STRING}}),
            {
                ".items.properties[name].default": "Required value: this property is in x-kubernetes-list-map-keys, "
                "so it must have a default or be a required property"
            },
        ),
        (
            list_map(
                **{
                    "x-kubernetes-list-map-keys": ["list", "name"],
                    "items": {**list_map()["items"], "required": ["name", "list"]},
                }
            ),
            {
                ".items.properties[list].type": 'Invalid value: "array": must be a scalar type if parent array\'s '
                "x-kubernetes-list-type is map"
            },
        ),
        (
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"},
            {
                ".items.x-kubernetes-map-type": "Invalid value: null: must be atomic as item of a list with "
                "x-kubernetes-list-type=set"
            },
        ),
        (
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "bag"},
            {
                ".x-kubernetes-list-type": 'Unsupported value: "bag": supported values: "atomic", "set", "map"',
            },
        ),
    ],
)
def test_a_list_type_must_fit_its_items(spec: Any, expected: dict[str, str]) -> None:
    assert refusals_of(spec) == expected


def test_defaults_must_be_valid_and_known() -> None:
    spec = {
        "type": "object",
        "default": {"a": 5, "b": 1},
        "properties": {"a": {"type": "integer", "maximum": 3}, "c": {"type": "string", "default": 5}},
    }
    assert refusals_of(spec) == {
        ".default": 'Invalid value: {"a":5,"b":1}: must not have unknown fields',
        ".default.a": "Invalid value: 5: a in body should be less than or equal to 3",
        ".properties[c].default": 'Invalid value: "integer":  in body must be of type string: "integer"',
    }
    top = refusals({"type": "object", "properties": {"kind": {"type": "string", "default": "x"}}})
    assert top == {"openAPIV3Schema.properties[kind].default": "Forbidden: must not be set in top-level kind"}


def test_a_default_must_keep_the_rules_as_it_stands_before_those_of_its_fields_are_filled_in() -> None:
    spec: dict[str, Any] = {
        "type": "object",
        "default": {},
        "properties": {"min": {"type": "integer", "default": 1}, "max": {"type": "integer", "default": 1}},
        "x-kubernetes-validations": [{"rule": "self.min <= self.max", "message": "min above max"}],
    }
    assert refusals_of(spec) == {
        ".default": 'Invalid value: "object": no such key: min evaluating rule: min above max',
    }
    assert refusals_of({**spec, "default": {"min": 2, "max": 1}}) == {
        ".default": 'Invalid value: "object": min above max',
    }
    compile_schema({"type": "object", "properties": {"spec": {**spec, "default": {"min": 1, "max": 1}}}})


def test_keywords_that_say_null_are_as_good_as_absent() -> None:
    spec = {"type": "object", "properties": {"a": {"type": "string", "pattern": None, "enum": None}}, "required": None}
    schema = compile_schema({"type": "object", "properties": {"spec": spec}})
    assert schema.validate({"spec": {"a": "x"}}) == []


def test_a_number_that_no_json_reader_takes_is_refused() -> None:
    assert list(refusals_of({"type": "integer", "maximum": 10**30})) == ["openAPIV3Schema"]


def test_equal_schemas_are_compiled_once() -> None:
    assert compile_schema({"type": "object", "title": "x"}) is compile_schema({"type": "object", "title": "x"})
