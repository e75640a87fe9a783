"""Strategic merge patch, on the schemas of the built-in kinds."""

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.schema import compile_schema
from millrace_local.apiserver.openapi import builtin_schema
from millrace_local.apiserver.patches import PatchError, apply_strategic_patch

DEPLOYMENT = compile_schema(builtin_schema("apps", "v1", "Deployment"))
SERVICE = compile_schema(builtin_schema("", "v1", "Service"))
POD = compile_schema(builtin_schema("", "v1", "Pod"))

LIVE: dict[str, Any] = {
    "metadata": {
        "name": "x",
        "labels": {"a": "1", "b": "2"},
        "finalizers": ["one", "two"],
        "ownerReferences": [{"uid": "u1", "name": "a"}, {"uid": "u2", "name": "b"}],
    },
    "spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {
            "spec": {
                "containers": [
                    {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}], "args": ["x", "y"]},
                    {"name": "log", "image": "log:1", "ports": [{"containerPort": 80}]},
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "tolerations": [{"key": "a"}],
                "imagePullSecrets": [{"name": "s1"}],
            }
        },
    },
}


def pod_spec(patch: dict[str, Any]) -> Any:
    before = copy.deepcopy(LIVE)
    sent = copy.deepcopy(patch)
    result = apply_strategic_patch(LIVE, {"spec": {"template": {"spec": patch}}}, DEPLOYMENT)
    assert (before, sent) == (LIVE, patch)
    return result["spec"]["template"]["spec"]


def metadata(patch: dict[str, Any]) -> Any:
    return apply_strategic_patch(LIVE, {"metadata": patch}, DEPLOYMENT)["metadata"]


def test_containers_env_and_volumes_merge_by_name() -> None:
    spec = pod_spec(
        {
            "containers": [{"name": "web", "image": "web:2", "env": [{"name": "B", "value": "2"}]}],
            "volumes": [{"name": "w", "emptyDir": {}}],
        }
    )
    assert spec["containers"][0] == {
        "name": "web",
        "image": "web:2",
        "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        "args": ["x", "y"],
    }
    assert [container["name"] for container in spec["containers"]] == ["web", "log"]
    assert [volume["name"] for volume in spec["volumes"]] == ["w", "v"]


def test_lists_without_a_merge_key_are_replaced() -> None:
    assert pod_spec({"tolerations": [{"key": "b"}]})["tolerations"] == [{"key": "b"}]
    assert pod_spec({"containers": [{"name": "web", "args": ["z"]}]})["containers"][0]["args"] == ["z"]


def test_an_item_is_deleted_by_directive_and_a_list_replaced() -> None:
    kept = pod_spec({"containers": [{"name": "log", "$patch": "delete"}]})["containers"]
    assert [container["name"] for container in kept] == ["web"]
    fresh = {"name": "new", "image": "n"}
    assert pod_spec({"containers": [fresh, {"$patch": "replace"}]})["containers"] == [fresh]


def test_a_map_is_replaced_or_emptied_by_directive() -> None:
    assert metadata({"labels": {"$patch": "replace", "c": "3"}})["labels"] == {"c": "3"}
    assert metadata({"labels": {"$patch": "delete"}})["labels"] == {}
    assert metadata({"labels": {"$patch": "merge", "c": "3"}})["labels"] == {"a": "1", "b": "2", "c": "3"}


def test_null_deletes_a_field() -> None:
    assert metadata({"labels": {"a": None}})["labels"] == {"b": "2"}
    assert "labels" not in metadata({"labels": None})
    assert metadata({"annotations": {"x": "1", "y": None}})["annotations"] == {"x": "1"}


def test_retain_keys_drops_the_siblings_it_does_not_name() -> None:
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": None}}}
    assert apply_strategic_patch(LIVE, patch, DEPLOYMENT)["spec"]["strategy"] == {"type": "Recreate"}
    with pytest.raises(PatchError, match="invalid patch format of retainKeys"):
        apply_strategic_patch(LIVE, {"spec": {"strategy": {"$retainKeys": ["x"], "type": "y"}}}, DEPLOYMENT)


def test_finalizers_are_a_set_and_owners_go_by_uid() -> None:
    assert metadata({"finalizers": ["three", "one"]})["finalizers"] == ["three", "one", "two"]
    assert metadata({"$deleteFromPrimitiveList/finalizers": ["one"]})["finalizers"] == ["two"]
    assert metadata({"ownerReferences": [{"uid": "u2", "name": "c"}]})["ownerReferences"] == [
        {"uid": "u1", "name": "a"},
        {"uid": "u2", "name": "c"},
    ]


def test_set_element_order_orders_items_old_and_new() -> None:
    patch = {
        "$setElementOrder/containers": [{"name": "new"}, {"name": "log"}, {"name": "web"}],
        "containers": [{"name": "new", "image": "n"}, {"name": "web", "image": "web:2"}],
    }
    assert [c["name"] for c in pod_spec(patch)["containers"]] == ["new", "log", "web"]
    only_order = {"$setElementOrder/containers": [{"name": "log"}, {"name": "web"}]}
    assert [c["name"] for c in pod_spec(only_order)["containers"]] == ["log", "web"]
    assert metadata({"$setElementOrder/finalizers": ["two", "one"]})["finalizers"] == ["two", "one"]


def test_items_the_order_does_not_name_keep_their_place_among_the_others() -> None:
    live = {"spec": {"containers": [{"name": name} for name in "abcd"]}}
    order = {"$setElementOrder/containers": [{"name": "d"}, {"name": "b"}]}
    result = apply_strategic_patch(live, {"spec": order}, POD)
    assert [container["name"] for container in result["spec"]["containers"]] == ["a", "c", "d", "b"]


def test_ports_of_a_service_merge_by_port() -> None:
    live = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}}
    patch = {"spec": {"ports": [{"port": 443, "targetPort": 8443}]}}
    assert apply_strategic_patch(live, patch, SERVICE)["spec"]["ports"] == [
        {"port": 80, "name": "http"},
        {"port": 443, "name": "https", "targetPort": 8443},
    ]


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"containers": [{"image": "x"}]}, "map: map[image:x] does not contain declared merge key: name"),
        ({"containers": [{"name": "a", "$patch": "merge"}]}, "merging lists cannot yet be specified in the patch"),
        ({"containers": [{"name": "a", "$patch": "x"}]}, "unknown patch type: x in map: map[$patch:x name:a]"),
        ({"containers": [["a"]]}, "lists of lists are not supported"),
        ({"containers": ["a"]}, "list element types are not identical"),
        ({"$setElementOrder/containers": "x"}, "invalid patch format of setElementOrder list"),
        ({"$deleteFromPrimitiveList/x": "x"}, "invalid patch format of primitive list"),
        (
            {"$setElementOrder/containers": [{"name": "log"}], "containers": [{"name": "web"}]},
            "The order in patch list:\n[map[name:web]]\n doesn't match $setElementOrder list:\n[map[name:log]]",
        ),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused(patch: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchError) as refused:
        pod_spec(patch)
    assert message in refused.value.message


names = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@given(names, names)
def test_a_merged_list_holds_every_item_once_and_merging_again_changes_nothing(
    live: list[str], sent: list[str]
) -> None:
    doc = {"spec": {"containers": [{"name": name, "image": "old"} for name in live]}}
    patch = {"spec": {"containers": [{"name": name, "image": "new"} for name in sent]}}
    once = apply_strategic_patch(doc, patch, POD)
    merged = once["spec"]["containers"]
    assert sorted(item["name"] for item in merged) == sorted({*live, *sent})
    assert {item["name"] for item in merged if item["image"] == "new"} == set(sent)
    assert [item["name"] for item in merged if item["name"] in sent] == sent
    assert [item["name"] for item in merged if item["name"] not in sent] == [name for name in live if name not in sent]
    assert apply_strategic_patch(once, patch, POD) == once


ODD: list[Any] = [None, 5, "x", True, [], [None], {}, {"name": None}, {"name": {}}, {"$patch": []}, {"$patch": {}}]


@pytest.mark.parametrize(
    "field", ["containers", "volumes", "tolerations", "imagePullSecrets", "nodeSelector", "unknown"]
)
@pytest.mark.parametrize(
    "directive", ["{}", "$setElementOrder/{}", "$deleteFromPrimitiveList/{}", "$retainKeys", "$patch"]
)
def test_a_patch_of_any_content_is_merged_or_refused(field: str, directive: str) -> None:
    for value in [*ODD, *([each] for each in ODD), *([{"name": "web"}, each] for each in ODD)]:
        for live in (LIVE, {"spec": {"template": {"spec": {}}}}, {"spec": {"template": {"spec": {field: [None, 5]}}}}):
            patch = {directive.format(field): copy.deepcopy(value), field: [{"name": "web"}]}
            for one in (patch, {directive.format(field): copy.deepcopy(value)}):
                with suppress(PatchError):
                    apply_strategic_patch(live, {"spec": {"template": {"spec": one}}}, DEPLOYMENT)


def test_a_null_in_a_list_with_a_merge_key_is_refused() -> None:
    for patch in ({"containers": [None]}, {"$setElementOrder/containers": [None], "containers": [{"name": "web"}]}):
        with pytest.raises(PatchError, match="list element types are not identical"):
            apply_strategic_patch(LIVE, {"spec": {"template": {"spec": patch}}}, DEPLOYMENT)
