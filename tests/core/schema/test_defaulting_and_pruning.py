"""Structural defaulting and pruning."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.schema import Schema, compile_schema

STRING = {"type": "string"}


def of(spec: dict[str, Any]) -> Schema:
    return compile_schema({"type": "object", "properties": {"spec": spec}})


def defaulted(spec: dict[str, Any], value: Any) -> Any:
    obj = {"spec": value}
    of(spec).default(obj)
    return obj.get("spec")


SPEC = {
    "type": "object",
    "properties": {
        "online": {"type": "object", "default": {}, "properties": {"enabled": {"type": "boolean", "default": True}}},
        "lag": {"type": "string", "default": "0s"},
        "note": {"type": "string", "nullable": True},
        "plain": STRING,
        "arms": {
            "type": "array",
            "items": {"type": "object", "properties": {"weight": {"type": "integer", "default": 1}}},
        },
        "tags": {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"x": {**STRING, "default": "y"}}},
        },
    },
}


def test_defaults_fill_in_fields_items_and_entries_and_nest() -> None:
    value = {"arms": [{}, {"weight": 5}], "tags": {"a": {}}}
    assert defaulted(SPEC, value) == {
        "online": {"enabled": True},
        "lag": "0s",
        "arms": [{"weight": 1}, {"weight": 5}],
        "tags": {"a": {"x": "y"}},
    }


def test_a_null_is_defaulted_dropped_or_kept_as_the_schema_allows() -> None:
    assert defaulted(SPEC, {"lag": None, "plain": None, "note": None, "online": None}) == {
        "lag": "0s",
        "note": None,
        "online": {"enabled": True},
    }


def test_objects_never_share_a_default() -> None:
    schema = of(SPEC)
    one: dict[str, Any] = {"spec": {}}
    two: dict[str, Any] = {"spec": {}}
    schema.default(one)
    schema.default(two)
    one["spec"]["online"]["enabled"] = False
    assert two["spec"]["online"]["enabled"] is True


def test_a_default_is_not_made_where_its_parent_is_missing() -> None:
    obj: dict[str, Any] = {}
    of(SPEC).default(obj)
    assert obj == {}


def test_unknown_fields_are_dropped_and_named() -> None:
    obj = {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "x", "labels": {"any": "thing"}, "wrong": 1},
        "spec": {"lagg": 1, "arms": [{"weight": 1, "wieght": 2}], "tags": {"a": {"y": 1}}},
        "stat": {},
    }
    dropped = of(SPEC).prune(obj)
    assert dropped == ["metadata.wrong", "spec.arms[0].wieght", "spec.lagg", "spec.tags.a.y", "stat"]
    assert obj == {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "x", "labels": {"any": "thing"}},
        "spec": {"arms": [{"weight": 1}], "tags": {"a": {}}},
    }


def test_preserved_unknown_fields_stay_while_known_ones_below_are_pruned() -> None:
    preserve = {"x-kubernetes-preserve-unknown-fields": True}
    spec = {"type": "object", **preserve, "properties": {"known": {"type": "object", "properties": {"a": STRING}}}}
    obj = {"spec": {"known": {"a": "x", "b": 1}, "unknown": {"deep": {"er": 1}}}}
    assert of(spec).prune(obj) == ["spec.known.b"]
    assert obj["spec"]["unknown"] == {"deep": {"er": 1}}


def test_the_metadata_of_an_embedded_resource_is_pruned_like_any_metadata() -> None:
    spec = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    obj = {"spec": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "odd": 1}, "spec": {"any": 1}}}
    assert of(spec).prune(obj) == ["spec.metadata.odd"]
    assert obj["spec"]["spec"] == {"any": 1}


keys = st.sampled_from(["online", "lag", "note", "plain", "arms", "tags", "enabled", "weight", "x", "zz"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_defaulting_and_pruning_settle_at_once(value: dict[str, Any]) -> None:
    schema = of(SPEC)
    obj = {"spec": copy.deepcopy(value)}
    schema.default(obj)
    schema.prune(obj)
    again = copy.deepcopy(obj)
    schema.default(again)
    assert schema.prune(again) == []
    assert again == obj
