"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386)."""

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_local.apiserver.patches import PatchError, apply_json_patch, apply_merge_patch

DOC: dict[str, Any] = {"spec": {"list": [1, 2, 3], "map": {"a/b": 1, "c~d": 2}, "text": "x", "flag": True}}


def patched(*ops: dict[str, Any]) -> Any:
    before = copy.deepcopy(DOC)
    result = apply_json_patch(DOC, list(ops))
    assert before == DOC
    return result["spec"]


def test_every_operation_does_its_work() -> None:
    assert patched({"op": "add", "path": "/spec/list/1", "value": 9})["list"] == [1, 9, 2, 3]
    assert patched({"op": "add", "path": "/spec/list/-", "value": 9})["list"] == [1, 2, 3, 9]
    assert patched({"op": "add", "path": "/spec/new", "value": {"a": 1}})["new"] == {"a": 1}
    assert patched({"op": "remove", "path": "/spec/list/0"})["list"] == [2, 3]
    assert patched({"op": "replace", "path": "/spec/text", "value": None})["text"] is None
    assert patched({"op": "move", "from": "/spec/list/0", "path": "/spec/list/2"})["list"] == [2, 3, 1]
    assert patched({"op": "copy", "from": "/spec/map", "path": "/spec/other"})["other"] == DOC["spec"]["map"]
    assert patched({"op": "remove", "path": "/spec/map/a~1b"}, {"op": "remove", "path": "/spec/map/c~0d"})["map"] == {}
    assert patched({"op": "test", "path": "/spec/list", "value": [1, 2, 3.0]}) == DOC["spec"]
    assert patched({"op": "test", "path": "/spec/missing", "value": None}) == DOC["spec"]
    assert apply_json_patch(DOC, [{"op": "replace", "path": "", "value": {"a": 1}}]) == {"a": 1}


@pytest.mark.parametrize(
    ("op", "reason", "message"),
    [
        ({"op": "test", "path": "/spec/text", "value": "y"}, "Invalid", "testing value /spec/text failed: test failed"),
        ({"op": "test", "path": "/spec/flag", "value": 1}, "Invalid", "testing value /spec/flag failed: test failed"),
        (
            {"op": "add", "path": "/a/b", "value": 1},
            "Invalid",
            'add operation does not apply: doc is missing path: "/a/b": missing value',
        ),
        (
            {"op": "add", "path": "/spec/list/7", "value": 1},
            "Invalid",
            "error in add for path: '/spec/list/7': Unable to access invalid index: 7: invalid index referenced",
        ),
        (
            {"op": "remove", "path": "/spec/z"},
            "Invalid",
            "error in remove for path: '/spec/z': Unable to remove nonexistent key: z: missing value",
        ),
        (
            {"op": "replace", "path": "/spec/z", "value": 1},
            "Invalid",
            "replace operation does not apply: doc is missing key: /spec/z: missing value",
        ),
        (
            {"op": "copy", "from": "/spec/z", "path": "/spec/y"},
            "Invalid",
            "copy operation does not apply: doc is missing from path: /spec/z: missing value",
        ),
        (
            {"op": "move", "from": "/spec", "path": "/spec/y"},
            "Invalid",
            "move operation does not apply: /spec cannot move into itself",
        ),
        ({"op": "replace", "path": "", "value": []}, "Invalid", "the patched document is not an object"),
        ({"op": "append", "path": "/a"}, "BadRequest", "Unexpected kind: append"),
        ({"op": "add", "path": "/a"}, "BadRequest", 'add operation at "/a" has no value'),
        (
            {"op": "remove", "path": "spec"},
            "BadRequest",
            "remove operation has the path 'spec', expected a JSON pointer",
        ),
        ({"op": "remove"}, "BadRequest", "remove operation has the path None"),
    ],
)
def test_what_does_not_apply_is_refused_and_changes_nothing(op: dict[str, Any], reason: str, message: str) -> None:
    before = copy.deepcopy(DOC)
    with pytest.raises(PatchError) as refused:
        apply_json_patch(DOC, [{"op": "add", "path": "/spec/first", "value": 1}, op])
    assert refused.value.message.startswith(message)
    assert (refused.value.reason, before) == (reason, DOC)


def test_too_many_operations_and_no_operations_at_all_are_refused() -> None:
    with pytest.raises(PatchError, match="allowed maximum operations in a JSON patch is 10000, got 10001"):
        apply_json_patch(DOC, [{"op": "test", "path": "", "value": 1}] * 10_001)
    for wrong in ({}, "x", [1], None):
        with pytest.raises(PatchError, match="must be a list of operations"):
            apply_json_patch(DOC, wrong)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(st.text("ab/~", max_size=2), values, max_size=4)


@given(objects, objects)
def test_the_difference_of_two_documents_turns_one_into_the_other(one: dict[str, Any], two: dict[str, Any]) -> None:
    ops = jsonpatch.make_patch(one, two).patch
    assert apply_json_patch(one, ops) == two


MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("doc", "patch", "result"), MERGES)
def test_the_examples_of_rfc_7386_hold(doc: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]) -> None:
    before = copy.deepcopy((doc, patch))
    assert apply_merge_patch(doc, patch) == result
    assert (doc, patch) == before


@given(objects, objects)
def test_merging_twice_is_merging_once(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    once = apply_merge_patch(doc, patch)
    assert apply_merge_patch(once, patch) == once
    assert apply_merge_patch(doc, {}) == doc


def test_a_merge_patch_is_an_object() -> None:
    with pytest.raises(PatchError) as refused:
        apply_merge_patch({}, [1])
    assert refused.value.reason == "BadRequest"
