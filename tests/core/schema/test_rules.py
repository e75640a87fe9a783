"""CEL rules of a schema: where they are evaluated, their messages, and the errors for which a CRD is refused."""

from typing import Any

import pytest

from millrace_core.schema import FieldError, Schema, SchemaError, compile_schema

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def rule(expression: str, **more: Any) -> dict[str, Any]:
    return {"rule": expression, **more}


def of(spec: dict[str, Any], *rules: dict[str, Any], root: list[dict[str, Any]] | None = None) -> Schema:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"spec": {**spec, "x-kubernetes-validations": list(rules)}},
    }
    return compile_schema({**schema, "x-kubernetes-validations": root or []})


def obj(spec: Any, name: str = "x") -> dict[str, Any]:
    return {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": name}, "spec": spec}


RANGE = {"type": "object", "properties": {"min": INTEGER, "max": INTEGER, "name": STRING, "nick": STRING}}


def messages(found: list[FieldError]) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in found]


def test_a_broken_rule_says_its_message_or_itself() -> None:
    schema = of(RANGE, rule("self.min <= self.max", message="min must not exceed max"), rule("has(self.name)"))
    assert schema.validate(obj({"min": 1, "max": 2, "name": "n"})) == []
    assert schema.validate(obj({"min": 3, "max": 2})) == [
        FieldError("FieldValueInvalid", "spec", 'Invalid value: "object": min must not exceed max'),
        FieldError("FieldValueInvalid", "spec", 'Invalid value: "object": failed rule: has(self.name)'),
    ]


def test_a_message_expression_speaks_unless_it_fails_or_has_nothing_fit_to_say() -> None:
    schema = of(
        RANGE,
        rule("self.min <= self.max", messageExpression="'min exceeds max in ' + self.name"),
        rule("self.min < 3", messageExpression="self.nick", message="too much"),
        rule("self.min < 3", messageExpression="'a\\nb'", message="one line"),
    )
    assert [fault.message for fault in schema.validate(obj({"min": 3, "max": 2, "name": "n"}))] == [
        'Invalid value: "object": min exceeds max in n',
        'Invalid value: "object": too much',
        'Invalid value: "object": one line',
    ]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("FieldValueForbidden", FieldError("FieldValueForbidden", "spec.min", "Forbidden: no")),
        ("FieldValueRequired", FieldError("FieldValueRequired", "spec.min", "Required value: no")),
        ("FieldValueInvalid", FieldError("FieldValueInvalid", "spec.min", 'Invalid value: "object": no')),
        ("FieldValueDuplicate", FieldError("FieldValueDuplicate", "spec.min", 'Duplicate value: "object"')),
    ],
)
def test_a_rule_chooses_reason_and_field(reason: str, expected: FieldError) -> None:
    schema = of(RANGE, rule("self.min < 1", message="no", reason=reason, fieldPath=".min"))
    assert schema.validate(obj({"min": 1})) == [expected]


def test_rules_on_items_and_entries_see_each_as_self() -> None:
    spec = {
        "type": "object",
        "properties": {
            "list": {
                "type": "array",
                "maxItems": 9,
                "items": {**INTEGER, "x-kubernetes-validations": [rule("self > 0")]},
            },
            "map": {
                "type": "object",
                "maxProperties": 9,
                "additionalProperties": {**STRING, "maxLength": 9, "x-kubernetes-validations": [rule("self != ''")]},
            },
        },
    }
    found = of(spec).validate(obj({"list": [1, 0], "map": {"a.b": "", "c": "x"}}))
    assert messages(found) == [
        ("spec.list[1]", 'Invalid value: "integer": failed rule: self > 0'),
        ("spec.map[a.b]", "Invalid value: \"string\": failed rule: self != ''"),
    ]


def test_a_rule_on_the_whole_object_sees_of_metadata_only_the_names() -> None:
    schema = of(RANGE, root=[rule("size(self.metadata.name) <= 3 && self.kind == 'K'", message="short names only")])
    assert schema.validate(obj({}, "abc")) == []
    assert messages(schema.validate(obj({}, "abcd"))) == [("<nil>", 'Invalid value: "object": short names only')]
    with pytest.raises(SchemaError, match="undefined field 'labels'"):
        of(RANGE, root=[rule("has(self.metadata.labels)")])


def test_a_transition_rule_compares_with_the_old_object_and_skips_creation() -> None:
    schema = of(RANGE, rule("self.min >= oldSelf.min", message="min may only grow"))
    assert schema.validate(obj({"min": 1})) == []
    assert schema.validate(obj({"min": 2}), obj({"min": 1})) == []
    assert messages(schema.validate(obj({"min": 1}), obj({"min": 2}))) == [
        ("spec", 'Invalid value: "object": min may only grow')
    ]


def test_an_optional_old_self_is_there_to_ask_on_creation_too() -> None:
    once = "!oldSelf.hasValue() ? self.min == 0 : self.min >= oldSelf.value().min"
    schema = of(RANGE, rule(once, optionalOldSelf=True, message="starts at 0 and grows"))
    assert schema.validate(obj({"min": 0})) == []
    assert len(schema.validate(obj({"min": 1}))) == 1
    assert schema.validate(obj({"min": 1}), obj({"min": 1})) == []
    assert len(schema.validate(obj({"min": 0}), obj({"min": 1}))) == 1


def test_items_of_a_list_map_are_matched_by_their_keys() -> None:
    items = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": STRING, "value": {**INTEGER, "x-kubernetes-validations": [rule("self == oldSelf")]}},
    }
    spec = {
        "type": "array",
        "items": items,
        "maxItems": 9,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    schema = of(spec)
    old = obj([{"name": "a", "value": 1}, {"name": "b", "value": 2}])
    assert (
        schema.validate(obj([{"name": "c", "value": 5}, {"name": "b", "value": 2}, {"name": "a", "value": 1}]), old)
        == []
    )
    found = schema.validate(obj([{"name": "b", "value": 3}]), old)
    assert messages(found) == [("spec[0].value", 'Invalid value: "integer": failed rule: self == oldSelf')]


def test_an_evaluation_that_fails_is_a_fault_of_the_object() -> None:
    schema = of(RANGE, rule("self.name.startsWith('a')", message="names start with a"))
    assert messages(schema.validate(obj({}))) == [
        ("spec", 'Invalid value: "object": no such key: name evaluating rule: names start with a')
    ]
    dynamic = of({"x-kubernetes-int-or-string": True}, rule("self < 5"))
    assert dynamic.validate(obj(4)) == []
    assert messages(dynamic.validate(obj("x"))) == [
        (
            "spec",
            "Invalid value: \"\": 'no such overload': call arguments did not match a supported operator, function or "
            "macro signature for rule: self < 5",
        )
    ]


def test_rules_wait_until_the_schema_itself_is_met() -> None:
    schema = of({**RANGE, "required": ["name"]}, rule("self.name != ''"))
    assert messages(schema.validate(obj({}))) == [
        ("spec.name", "Required value"),
        (
            "<nil>",
            "Invalid value: null: some validation rules were not checked because the object was invalid; correct the "
            "existing errors to complete validation",
        ),
    ]


def test_formats_become_times_durations_bytes_and_doubles() -> None:
    spec = {
        "type": "object",
        "properties": {
            "at": {"type": "string", "format": "date-time"},
            "every": {"type": "string", "format": "duration"},
            "data": {"type": "string", "format": "byte"},
            "ratio": {"type": "number"},
            "times": {"type": "array", "maxItems": 9, "items": {"type": "string", "format": "date-time"}},
        },
    }
    schema = of(
        spec,
        rule("self.at < timestamp('2027-01-01T00:00:00Z')"),
        rule("self.every <= duration('1h')"),
        rule("size(self.data) == 2 && self.data == b'hi'"),
        rule("self.ratio + 0.5 == 2.5"),
        rule("self.times.all(t, t.getFullYear() == 2026) && self.times.isSorted()"),
    )
    value = {
        "at": "2026-01-01T00:00:00Z",
        "every": "30m",
        "data": "aGk=",
        "ratio": 2,
        "times": ["2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00Z"],
    }
    assert schema.validate(obj(value))[0].message.endswith(
        "self.times.all(t, t.getFullYear() == 2026) && self.times.isSorted()"
    )
    value["times"] = ["2026-01-01T01:00:00+01:00", "2026-01-01T00:30:00Z"]
    assert schema.validate(obj(value)) == []


def test_names_that_cel_cannot_spell_are_escaped() -> None:
    spec = {"type": "object", "properties": {"namespace": STRING, "a-b": INTEGER, "c.d": INTEGER}}
    schema = of(spec, rule("self.__namespace__ == 'x' && self.a__dash__b == 1 && has(self.c__dot__d)"))
    assert schema.validate(obj({"namespace": "x", "a-b": 1, "c.d": 2})) == []


def test_the_order_of_a_set_does_not_count() -> None:
    spec = {
        "type": "object",
        "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": STRING},
            "list": {"type": "array", "items": STRING},
        },
    }
    schema = of(spec, rule("self.set == oldSelf.set"), rule("self.list == oldSelf.list"))
    old = obj({"set": ["a", "b"], "list": ["a", "b"]})
    found = schema.validate(obj({"set": ["b", "a"], "list": ["b", "a"]}), old)
    assert [fault.message for fault in found] == ['Invalid value: "object": failed rule: self.list == oldSelf.list']


@pytest.mark.parametrize(
    ("broken", "field", "message"),
    [
        ({"rule": ""}, "rule", "Required value: rule is not specified"),
        ({"rule": "self.min <"}, "rule", 'Invalid value: "self.min <": compilation failed: ERROR: <input>:1:11'),
        ({"rule": "self.nim < 1"}, "rule", "undefined field 'nim'"),
        ({"rule": "self.min < 'a'"}, "rule", "found no matching overload for '_<_' applied to '(int, string)'"),
        ({"rule": "self.min"}, "rule", 'Invalid value: "self.min": cel expression must evaluate to a bool'),
        ({"rule": "true", "messageExpression": "self.min"}, "messageExpression", "must evaluate to a string"),
        (
            {"rule": "true", "messageExpression": "'"},
            "messageExpression",
            "messageExpression compilation failed: ERROR",
        ),
        ({"rule": "true\n&& true"}, "message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "message": "a\nb"}, "message", "must not contain line breaks"),
        (
            {"rule": "true", "reason": "Odd"},
            "reason",
            'Unsupported value: "Odd": supported values: "FieldValueDuplicate"',
        ),
        ({"rule": "true", "fieldPath": ".nim"}, "fieldPath", 'Invalid value: ".nim": must be a valid path'),
        ({"rule": "true", "optionalOldSelf": True}, "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
        ({"rule": "true && " * 2000 + "true"}, "rule", "expression recursion limit exceeded"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_crd(broken: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(SchemaError) as refused:
        of(RANGE, broken)
    (error,) = refused.value.errors
    assert error.path == f"openAPIV3Schema.properties[spec].x-kubernetes-validations[0].{field}"
    assert message in error.message


def test_old_self_is_refused_where_items_cannot_be_matched() -> None:
    items = {**STRING, "maxLength": 5, "x-kubernetes-validations": [rule("self == oldSelf")]}
    with pytest.raises(SchemaError) as refused:
        of({"type": "array", "items": items, "maxItems": 5})
    assert refused.value.errors[0].message == (
        'Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within '
        "openAPIV3Schema.properties[spec]"
    )


def test_what_was_wrong_before_and_did_not_change_may_stay() -> None:
    spec = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$"},
            "limits": {**RANGE, "x-kubernetes-validations": [rule("self.min <= self.max")]},
            "list": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {
                    "type": "object",
                    "required": ["k"],
                    "properties": {"k": STRING, "v": {"type": "integer", "maximum": 5}},
                },
            },
            "note": STRING,
        },
    }
    schema = of(spec)
    old = obj({"name": "A", "limits": {"min": 2, "max": 1}, "list": [{"k": "a", "v": 9}]})
    assert len(schema.validate(old)) == 3
    changed = obj({"name": "A", "limits": {"min": 2, "max": 1}, "list": [{"k": "b"}, {"k": "a", "v": 9}], "note": "x"})
    assert schema.validate(changed, old) == []
    worse = obj({"name": "B", "limits": {"min": 3, "max": 1}, "list": [{"k": "a", "v": 8}]})
    assert [fault.path for fault in schema.validate(worse, old)] == ["spec.name", "spec.list[0].v", "spec.limits"]
