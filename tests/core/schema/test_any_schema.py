"""Any schema gives a compiled schema or a refusal, never a crash."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace_core.schema import FieldError, Schema, SchemaError, compile_schema
from millrace_local.apiserver.fieldmanager import record_update
from millrace_local.apiserver.openapi import v2_document, v2_protobuf, v3_document
from tests.examples import examples

texts = st.sampled_from(["", "a", "^a+$", "(", "uri"])
scalars = st.none() | st.booleans() | st.integers(-2, 5) | st.floats(-2, 5) | texts
names = st.sampled_from(["a", "b", "metadata", "spec", "x-y"])
RULES = ["true", "self == oldSelf", "has(self.a)", "self.all(x, true)", "self.a < 1", "size(self) > 0", "self.b", "("]
rules = st.fixed_dictionaries(
    {"rule": st.sampled_from(RULES)},
    optional={
        "message": scalars,
        "messageExpression": st.sampled_from(["'x'", "self.a", "("]),
        "fieldPath": st.sampled_from([".a", "a", ""]),
        "reason": scalars,
        "optionalOldSelf": st.booleans(),
    },
)


def anything(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas of any keywords, most of which make no sense together."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean"]) | scalars,
            "properties": st.dictionaries(names, inner, max_size=3) | scalars,
            "additionalProperties": st.booleans() | inner,
            "items": inner | st.lists(inner, max_size=1),
            "required": st.lists(names, max_size=2) | scalars,
            "enum": st.lists(scalars, max_size=2),
            "default": scalars | st.dictionaries(names, scalars, max_size=2),
            "pattern": texts,
            "format": texts,
            "nullable": st.booleans(),
            "maximum": scalars,
            "multipleOf": scalars,
            "maxLength": st.integers(-1, 5),
            "maxItems": st.integers(0, 5),
            "oneOf": st.lists(inner, max_size=2),
            "not": inner,
            "x-kubernetes-list-type": st.sampled_from(["atomic", "set", "map", "bag"]),
            "x-kubernetes-list-map-keys": st.lists(names, max_size=2),
            "x-kubernetes-map-type": st.sampled_from(["atomic", "granular"]),
            "x-kubernetes-int-or-string": st.booleans(),
            "x-kubernetes-preserve-unknown-fields": st.booleans(),
            "x-kubernetes-embedded-resource": st.booleans(),
            "x-kubernetes-validations": st.lists(rules, max_size=2),
        },
    )


def fixed(kind: str, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional={"nullable": st.booleans(), **optional})


leaves = (
    fixed("string", maxLength=st.integers(0, 3), pattern=st.just("^a+$"), format=st.sampled_from(["byte", "date"]))
    | fixed("integer", maximum=st.integers(0, 3), multipleOf=st.integers(0, 3), format=st.just("int32"))
    | fixed("number", minimum=st.floats(-2, 2), enum=st.just([1, 2.5]))
    | st.just({"x-kubernetes-int-or-string": True})
)


def sensible(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas that mostly compile."""
    some = st.lists(st.sampled_from(RULES[:6]).map(lambda rule: {"rule": rule}), max_size=1)
    properties = st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    listed = st.sampled_from(["atomic", "set"])
    keep = st.booleans().map(lambda yes: yes or None)
    return (
        fixed(
            "object",
            properties=properties,
            **{"x-kubernetes-validations": some, "x-kubernetes-preserve-unknown-fields": keep},
        )
        | fixed("object", additionalProperties=inner, maxProperties=st.integers(0, 3))
        | st.builds(
            lambda items, more: {"type": "array", "items": items, **more},
            leaves,
            fixed("array", **{"x-kubernetes-list-type": listed}),
        )
        | st.builds(lambda items: {"type": "array", "items": items, "maxItems": 3}, inner)
    )


def whole(spec: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": spec}}


odd = st.recursive(anything(st.just({"type": "string"})), anything, max_leaves=4)
good = st.recursive(leaves, sensible, max_leaves=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(names, values, max_size=3)
calm = settings(suppress_health_check=[HealthCheck.too_slow])


def compiled(schema: dict[str, Any]) -> Schema | list[FieldError]:
    try:
        return compile_schema(schema)
    except SchemaError as refused:
        return refused.errors


@calm
@given(odd | odd.map(whole) | objects)
def test_any_schema_is_compiled_or_refused_with_reasons(schema: dict[str, Any]) -> None:
    result = compiled(schema)
    if isinstance(result, list):
        assert result
        assert all(error.path.startswith("openAPIV3Schema") and error.message for error in result)


@calm
@given(good.map(whole), objects, objects)
def test_any_schema_that_compiles_takes_any_object(
    schema: dict[str, Any], new: dict[str, Any], old: dict[str, Any]
) -> None:
    result = compiled(schema)
    if isinstance(result, list):
        return
    new |= {"apiVersion": "x/v1", "kind": "K"}
    for obj in (new, old):
        result.default(obj)
        result.prune(obj)
    if not result.validate(new, old) and isinstance(new.get("metadata", {}), dict):
        record_update(None, new, manager="m", api_version="x/v1", schema=result, now="2026-01-01T00:00:00Z")


@settings(calm, max_examples=examples(0.2))
@given(good.map(whole))
def test_any_schema_that_compiles_can_be_published(schema: dict[str, Any]) -> None:
    if isinstance(compiled(schema), list):
        return
    names = {"kind": "K", "plural": "ks"}
    version = {"name": "v1", "served": True, "schema": {"openAPIV3Schema": schema}}
    crd = {"spec": {"group": "x.dev", "scope": "Cluster", "names": names, "versions": [version]}}
    assert v3_document("apis/x.dev/v1", [crd])
    definitions = {"K": v2_document([crd])["definitions"]["dev.x.v1.K"]}
    assert v2_protobuf(
        {"swagger": "2.0", "info": {"title": "", "version": ""}, "paths": {}, "definitions": definitions}
    )
