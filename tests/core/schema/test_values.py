"""Errors of values, worded as a Kubernetes API server words them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.schema import FieldError, Schema, compile_schema


def of(spec: dict[str, Any]) -> Schema:
    """A schema whose ``spec`` is the given one."""
    return compile_schema({"type": "object", "properties": {"spec": spec}})


def faults(spec: dict[str, Any], value: Any) -> list[FieldError]:
    return of(spec).validate({"metadata": {"name": "x"}, "spec": value})


def strings(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


INVALID, TYPE, REQUIRED = "FieldValueInvalid", "FieldValueTypeInvalid", "FieldValueRequired"
UNSUPPORTED, LONG, MANY, DUPLICATE = (
    "FieldValueNotSupported",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueDuplicate",
)
LIST_MAP = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name", "port"],
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": strings(), "port": {"type": "integer", "default": 80}},
    },
}


@pytest.mark.parametrize(
    ("schema", "value", "kind", "message"),
    [
        ({"type": "integer"}, "5", TYPE, 'Invalid value: "string": spec in body must be of type integer: "string"'),
        ({"type": "integer"}, 1.5, TYPE, 'Invalid value: "number": spec in body must be of type integer: "number"'),
        ({"type": "integer"}, 2**63, TYPE, 'Invalid value: "number": spec in body must be of type integer: "number"'),
        ({"type": "string"}, None, TYPE, 'Invalid value: "null": spec in body must be of type string: "null"'),
        ({"type": "boolean"}, 1, TYPE, 'Invalid value: "integer": spec in body must be of type boolean: "integer"'),
        ({"type": "object"}, [], TYPE, 'Invalid value: "array": spec in body must be of type object: "array"'),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            TYPE,
            'Invalid value: "boolean": spec in body must be of type integer,string: "boolean"',
        ),
        (
            {"type": "integer", "format": "int32"},
            2**31,
            INVALID,
            'Invalid value: "": Checked value must be of type integer with format int32 in spec',
        ),
        (
            {"type": "integer", "maximum": 100},
            120,
            INVALID,
            "Invalid value: 120: spec in body should be less than or equal to 100",
        ),
        (
            {"type": "number", "maximum": 1, "exclusiveMaximum": True},
            1,
            INVALID,
            "Invalid value: 1: spec in body should be less than 1",
        ),
        (
            {"type": "number", "minimum": 0.5},
            0.25,
            INVALID,
            "Invalid value: 0.25: spec in body should be greater than or equal to 0.5",
        ),
        (
            {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            0,
            INVALID,
            "Invalid value: 0: spec in body should be greater than 0",
        ),
        (
            {"type": "integer", "multipleOf": 5},
            7,
            INVALID,
            "Invalid value: 7: spec in body should be a multiple of 5",
        ),
        (strings(maxLength=2), "abc", LONG, "Too long: may not be more than 2 bytes"),
        (strings(minLength=2), "a", INVALID, 'Invalid value: "a": spec in body should be at least 2 chars long'),
        (strings(pattern="^a+$"), "b", INVALID, "Invalid value: \"b\": spec in body should match '^a+$'"),
        (strings(enum=["a", "b"]), "c", UNSUPPORTED, 'Unsupported value: "c": supported values: "a", "b"'),
        (
            strings(format="date-time"),
            "soon",
            TYPE,
            'Invalid value: "soon": spec in body must be of type date-time: "soon"',
        ),
        (
            {"type": "array", "items": strings(), "minItems": 1},
            [],
            INVALID,
            "Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": strings(), "maxItems": 1},
            ["a", "b"],
            MANY,
            "Too many: 2: must have at most 1 items",
        ),
        (
            {"type": "object", "additionalProperties": strings(), "minProperties": 1},
            {},
            INVALID,
            "Invalid value: 0: spec in body should have at least 1 properties",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_the_words_of_kubernetes(
    schema: dict[str, Any], value: Any, kind: str, message: str
) -> None:
    assert faults(schema, value) == [FieldError(kind, "spec", message)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 2.0),
        ({"type": "number"}, 2),
        ({"x-kubernetes-int-or-string": True}, "50%"),
        ({"type": "string", "nullable": True}, None),
        (strings(maxLength=2), "é😀"),
        (strings(format="unheard-of"), "anything"),
        ({"x-kubernetes-preserve-unknown-fields": True}, [{"any": 1}]),
        ({"type": "integer", "enum": [1, 2]}, 2),
    ],
)
def test_a_right_value_passes(schema: dict[str, Any], value: Any) -> None:
    assert faults(schema, value) == []


def test_paths_name_fields_items_and_map_entries() -> None:
    schema = {
        "type": "object",
        "properties": {
            "arms": {"type": "array", "items": {"type": "object", "properties": {"weight": {"type": "integer"}}}},
            "tags": {"type": "object", "additionalProperties": strings()},
        },
    }
    found = faults(schema, {"arms": [{"weight": 1}, {"weight": "x"}], "tags": {"team": 1}})
    assert [fault.path for fault in found] == ["spec.arms[1].weight", "spec.tags.team"]


def test_a_missing_required_field_is_named_itself() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": strings()}}
    assert faults(schema, {}) == [FieldError(REQUIRED, "spec.a", "Required value")]


def test_a_second_item_with_the_same_keys_is_a_duplicate() -> None:
    value = [{"name": "a", "port": 1}, {"name": "a", "port": 2}, {"name": "a", "port": 1}, {"name": "a", "port": 1}]
    duplicate = FieldError(DUPLICATE, "spec[2]", 'Duplicate value: {"name":"a","port":1}')
    assert faults(LIST_MAP, value) == [duplicate]
    scalars = {"type": "array", "x-kubernetes-list-type": "set", "items": {"x-kubernetes-int-or-string": True}}
    assert faults(scalars, [1, "1", 2]) == []
    assert faults(scalars, [1, 2, 1]) == [FieldError(DUPLICATE, "spec[2]", "Duplicate value: 1")]


def test_junctors_say_which_rule_failed_and_show_the_closest_alternative() -> None:
    fields = {"a": strings(), "b": strings()}
    one = {"type": "object", "properties": fields, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    none = 'Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid'
    assert faults(one, {}) == [FieldError(INVALID, "<nil>", none), FieldError(REQUIRED, "spec.a", "Required value")]
    both = 'Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    assert faults(one, {"a": "", "b": ""}) == [FieldError(INVALID, "<nil>", both)]
    anyone = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert faults(anyone, "x") == []
    limits = {"type": "integer", "allOf": [{"minimum": 1}, {"maximum": 5}], "not": {"multipleOf": 2}}
    assert [fault.message.split(": ", 2)[-1] for fault in faults(limits, 8)] == [
        "spec in body should be less than or equal to 5",
        '"spec" must validate all the schemas (allOf)',
        '"spec" must not validate the schema (not)',
    ]
    assert faults(limits, 3) == []


def test_an_embedded_resource_needs_a_kind_and_its_metadata_is_checked() -> None:
    schema = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    found = faults(schema, {"kind": "Pod", "metadata": {"labels": {"a": 1}}})
    assert [(fault.type, fault.path) for fault in found] == [
        (TYPE, "spec.metadata.labels.a"),
        (REQUIRED, "spec.apiVersion"),
    ]


def test_metadata_is_checked_whatever_the_schema_says_of_it() -> None:
    schema = compile_schema({"type": "object"})
    assert schema.validate({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x", "labels": {"a": "b"}}}) == []
    assert [fault.path for fault in schema.validate({"metadata": {"finalizers": "x"}})] == ["metadata.finalizers"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_no_value_whatever_makes_defaulting_pruning_or_validation_fail(value: Any) -> None:
    schema = of(
        {
            "type": "object",
            "properties": {
                "a": strings(pattern="^x$", enum=["x"], format="uri"),
                "b": LIST_MAP,
                "c": {"type": "integer", "minimum": 3, "multipleOf": 2, "default": 4},
            },
            "anyOf": [{"required": ["a"]}, {"properties": {"b": {"minItems": 1}}}],
            "x-kubernetes-validations": [{"rule": "!has(self.c) || self.c > 2"}],
        }
    )
    obj = {"metadata": {"name": "x"}, "spec": value}
    schema.default(obj)
    schema.prune(obj)
    schema.validate(obj)
    assert schema.prune(obj) == []
