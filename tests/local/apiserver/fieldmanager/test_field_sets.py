"""The algebra of field sets, and laws of apply on any objects."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.schema import compile_schema
from millrace_kube.fieldset import (
    Fields,
    difference,
    intersection,
    key_element,
    paths,
    shown,
    union,
    value_element,
)
from millrace_local.apiserver.fieldmanager import ApplyConflict, apply, record_update

elements = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])


def tidy(fields: Fields) -> Fields:
    """The set without a lone ``.``, which is an empty set of its own."""
    out = {}
    for element, below in fields.items():
        kept = tidy(below)
        out[element] = {} if set(kept) == {"."} else kept
    return out


fields = st.recursive(
    st.just({}),
    lambda inner: st.builds(
        lambda below, member: {**({".": {}} if member and below else {}), **below},
        st.dictionaries(elements, inner, max_size=3),
        st.booleans(),
    ),
    max_leaves=8,
).map(lambda found: {key: value for key, value in tidy(found).items() if key != "."})


def members(found: Fields) -> set[str]:
    return set(paths(found))


@given(fields, fields)
def test_set_operations_are_those_of_the_members(one: Fields, two: Fields) -> None:
    before = copy.deepcopy((one, two))
    assert members(union(one, two)) == members(one) | members(two)
    assert members(difference(one, two)) == members(one) - members(two)
    assert members(intersection(one, two)) == members(one) & members(two)
    assert (one, two) == before
    assert union(one, one) == one
    assert difference(one, one) == {}


def test_elements_are_written_and_shown_as_kubernetes_does() -> None:
    assert key_element({"port": 80, "name": "x"}) == 'k:{"name":"x","port":80}'
    assert value_element("a&b") == 'v:"a\\u0026b"'
    assert [shown(element) for element in ("f:spec", 'k:{"name":"x","port":80}', 'v:"y"', "i:3")] == [
        ".spec",
        '[name="x",port=80]',
        '[="y"]',
        "[3]",
    ]


ITEM = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "v": {"type": "integer"}, "w": {"type": "integer"}},
}
SPEC = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "nested": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
        "items": {
            "type": "array",
            "items": ITEM,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "atomic": {"type": "array", "items": {"type": "integer"}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}
SCHEMA = compile_schema({"type": "object", "properties": {"spec": SPEC}})

small = st.integers(0, 2)
items = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("xyz")}, optional={"v": small, "w": small}),
    max_size=3,
    unique_by=lambda item: item["name"],
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "a": small,
        "nested": st.fixed_dictionaries({}, optional={"x": small, "y": small}),
        "items": items,
        "set": st.lists(st.sampled_from("pqr"), unique=True, max_size=3),
        "atomic": st.lists(small, max_size=2),
        "map": st.dictionaries(st.sampled_from("kl"), small, max_size=2),
    },
)
Obj = dict[str, Any]


def obj(spec: Obj) -> Obj:
    return {"apiVersion": "x/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec}


def ssa(live: Obj | None, spec: Obj, manager: str, *, force: bool = True, now: str = "2026-01-01T00:00:00Z") -> Obj:
    return apply(live, obj(spec), manager=manager, force=force, schema=SCHEMA, api_version="x/v1", now=now)


def owners(found: Obj) -> dict[str, set[str]]:
    return {entry["manager"]: members(entry["fieldsV1"]) for entry in found["metadata"].get("managedFields", [])}


@given(specs, specs)
def test_applying_twice_changes_nothing_the_second_time(live: Obj, sent: Obj) -> None:
    current = ssa(ssa(None, live, "first"), sent, "second")
    assert ssa(current, sent, "second", force=False, now="2027-01-01T00:00:00Z") == current


@given(specs, specs)
def test_a_sole_applier_gets_exactly_what_it_applied_last(first: Obj, second: Obj) -> None:
    first, second = {"a": 0, **first}, {"a": 0, **second}  # what owns nothing at all counts as never applied
    current = ssa(ssa(None, first, "one"), second, "one")
    fresh = ssa(None, second, "one")
    assert settled(current.get("spec", {})) == settled(fresh["spec"])
    assert owners(current) == owners(fresh)


def settled(spec: Obj) -> Obj:
    """The spec without what nobody can own: empty list maps and sets."""
    return {key: value for key, value in spec.items() if key not in {"items", "set"} or value}


@given(specs, specs, specs)
def test_without_force_no_value_of_another_manager_changes(first: Obj, updated: Obj, sent: Obj) -> None:
    current = ssa(None, first, "applier")
    live = {**copy.deepcopy(current), "spec": updated}
    record_update(current, live, manager="updater", api_version="x/v1", schema=SCHEMA, now="2026-01-02T00:00:00Z")
    before = owners(live)
    taken = conflicting(live, sent)
    if taken:
        after = owners(ssa(live, sent, "third"))
        assert not taken & (after.get("applier", set()) | after.get("updater", set()))
        return
    after = owners(ssa(live, sent, "third", force=False))
    for manager in ("applier", "updater"):
        assert before.get(manager, set()) == after.get(manager, set())


def conflicting(live: Obj, sent: Obj) -> set[str]:
    """The fields for which an apply without force is refused."""
    try:
        ssa(live, sent, "third", force=False)
    except ApplyConflict as conflict:
        return {path for _, path in conflict.conflicts}
    return set()


@given(specs, specs)
def test_after_an_update_every_changed_field_has_exactly_one_owner(first: Obj, second: Obj) -> None:
    created = obj(first)
    record_update(None, created, manager="creator", api_version="x/v1", schema=SCHEMA, now="2026-01-01T00:00:00Z")
    changed = {**copy.deepcopy(created), "spec": second}
    record_update(created, changed, manager="other", api_version="x/v1", schema=SCHEMA, now="2026-01-02T00:00:00Z")
    found = owners(changed)
    assert not found.get("creator", set()) & found.get("other", set())
    fresh = obj(second)
    record_update(None, fresh, manager="any", api_version="x/v1", schema=SCHEMA, now="2026-01-01T00:00:00Z")
    assert found.get("creator", set()) | found.get("other", set()) == owners(fresh).get("any", set())
