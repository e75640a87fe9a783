"""Server-side apply: merging, ownership, conflicts, removal."""

import copy
import json
from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_core.schema import Schema, compile_schema
from millrace_local.apiserver.fieldmanager import ApplyConflict, apply, record_update
from millrace_local.apiserver.openapi import builtin_schema

DEPLOYMENT = compile_schema(builtin_schema("apps", "v1", "Deployment"))
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
Obj = dict[str, Any]


def ssa(live: Obj | None, applied: Obj, manager: str = "one", **more: Any) -> Obj:
    before = copy.deepcopy((live, applied))
    options: dict[str, Any] = {"force": False, "schema": DEPLOYMENT, "api_version": "apps/v1", "now": NOW, **more}
    result = apply(live, applied, manager=manager, **options)
    assert (live, applied) == before
    return result


def updated(old: Obj | None, new: Obj, manager: str = "upd", now: str = NOW, **more: Any) -> Obj:
    """The object after an update, with its managedFields recorded."""
    result = copy.deepcopy(new)
    options: dict[str, Any] = {"schema": DEPLOYMENT, "api_version": "apps/v1", "now": now, **more}
    record_update(old, result, manager=manager, **options)
    return result


def web(spec: Obj | None = None, **metadata: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", **metadata},
        **({} if spec is None else {"spec": spec}),
    }


def pods(*containers: Obj, **spec: Any) -> Obj:
    return {"template": {"spec": {"containers": list(containers), **spec}}}


def owned(obj: Obj, manager: str) -> Obj:
    """The fields of a manager; empty if it has none."""
    found = [entry for entry in obj["metadata"].get("managedFields", []) if entry["manager"] == manager]
    assert len(found) < 2
    return found[0]["fieldsV1"] if found else {}


def without_managers(obj: Obj) -> Obj:
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}


def test_a_first_apply_makes_the_object_and_owns_what_it_says() -> None:
    applied = web(
        {"replicas": 2, **pods({"name": "a", "image": "i", "ports": [{"containerPort": 80}]})}, labels={"x": "y"}
    )
    obj = ssa(None, applied)
    assert without_managers(obj) == applied
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "one",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:x": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:template": {
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"a"}': {
                                    ".": {},
                                    "f:name": {},
                                    "f:image": {},
                                    "f:ports": {
                                        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                                    },
                                }
                            }
                        }
                    },
                },
            },
        }
    ]


def test_an_unchanged_apply_gives_the_very_same_object_whatever_the_time() -> None:
    applied = web({"replicas": 2, **pods({"name": "a", "image": "i"})}, labels={"x": "y"})
    obj = ssa(None, applied)
    assert ssa(obj, applied, now=LATER) == obj
    assert ssa(ssa(obj, applied, now=LATER), applied, now=LATER) == obj


def test_what_is_no_longer_applied_is_removed() -> None:
    obj = ssa(
        None, web({"replicas": 2, **pods({"name": "a", "image": "i"}, {"name": "b"})}, labels={"x": "1", "y": "2"})
    )
    obj = ssa(obj, web(pods({"name": "a"}), labels={"y": "2"}), now=LATER)
    assert without_managers(obj) == web(pods({"name": "a"}), labels={"y": "2"})
    assert obj["metadata"]["managedFields"][0]["time"] == LATER


def test_an_object_that_is_no_longer_described_keeps_its_name_and_nothing_else() -> None:
    obj = ssa(None, web({"replicas": 2}, labels={"x": "1"}))
    assert ssa(obj, web()) == web()


def test_what_others_own_too_stays_when_one_gives_it_up() -> None:
    obj = ssa(None, web({"replicas": 2}, labels={"x": "1", "y": "1"}))
    obj = ssa(obj, web(labels={"x": "1"}), manager="two")
    obj = ssa(obj, web({"replicas": 2}))
    assert obj["metadata"]["labels"] == {"x": "1"}
    assert owned(obj, "two") == {"f:metadata": {"f:labels": {"f:x": {}}}}
    obj = ssa(obj, web({}), manager="two")
    assert "labels" not in obj["metadata"]


def test_defaults_and_what_was_never_owned_stay() -> None:
    obj = ssa(None, web({"replicas": 2}))
    obj["spec"]["progressDeadlineSeconds"] = 600
    obj = ssa(obj, web(pods({"name": "a"})))
    assert obj["spec"] == {"progressDeadlineSeconds": 600, **pods({"name": "a"})}


def test_a_conflict_names_manager_version_and_field_as_kubernetes_does() -> None:
    live = updated(None, web({"replicas": 2}), manager="kubectl-client-side-apply")
    with pytest.raises(ApplyConflict) as refused:
        ssa(live, web({"replicas": 3}))
    manager = '"kubectl-client-side-apply" using apps/v1'
    assert refused.value.message == f"Apply failed with 1 conflict: conflict with {manager}: .spec.replicas"
    assert refused.value.conflicts == [(manager, ".spec.replicas")]


def test_several_conflicts_are_listed_by_manager() -> None:
    live = ssa(None, web({"replicas": 2, **pods({"name": "a", "image": "i"})}), manager="first")
    live = updated(live, {**live, "metadata": {**live["metadata"], "labels": {"x": "1"}}}, subresource="scale")
    with pytest.raises(ApplyConflict) as refused:
        ssa(live, web({"replicas": 3, **pods({"name": "a", "image": "j"})}, labels={"x": "2"}))
    assert refused.value.message == (
        "Apply failed with 3 conflicts: "
        'conflicts with "first":\n- .spec.replicas\n- .spec.template.spec.containers[name="a"].image\n'
        'conflicts with "upd" with subresource "scale" using apps/v1:\n- .metadata.labels.x'
    )


def test_force_takes_the_fields_over() -> None:
    live = ssa(None, web({"replicas": 2, "paused": True}), manager="first")
    obj = ssa(live, web({"replicas": 3}), force=True)
    assert obj["spec"] == {"replicas": 3, "paused": True}
    assert owned(obj, "first") == {"f:spec": {"f:paused": {}}}
    assert owned(obj, "one") == {"f:spec": {"f:replicas": {}}}


def test_applying_the_same_value_as_another_makes_co_owners_without_a_conflict() -> None:
    live = ssa(None, web({"replicas": 2}), manager="first")
    obj = ssa(live, web({"replicas": 2}), now=LATER)
    assert owned(obj, "first") == owned(obj, "one") == {"f:spec": {"f:replicas": {}}}
    assert [entry["time"] for entry in obj["metadata"]["managedFields"]] == [NOW, LATER]


def test_items_of_list_maps_merge_in_applied_order_and_others_keep_their_place() -> None:
    live = ssa(None, web(pods({"name": "a"}, {"name": "b"}, {"name": "c"})), manager="first")
    obj = ssa(live, web(pods({"name": "d"}, {"name": "c"}, {"name": "a", "image": "i"})))
    names = [container["name"] for container in obj["spec"]["template"]["spec"]["containers"]]
    assert names == ["b", "d", "c", "a"]
    assert obj["spec"]["template"]["spec"]["containers"][3] == {"name": "a", "image": "i"}


def test_atomic_lists_and_maps_are_replaced_and_owned_as_a_whole() -> None:
    labels = {"matchLabels": {"a": "1"}}
    live = ssa(None, web({"selector": labels, **pods({"name": "a", "args": ["x", "y"]})}))
    assert owned(live, "one")["f:spec"]["f:selector"] == {}
    obj = ssa(live, web({"selector": {"matchLabels": {"b": "1"}}, **pods({"name": "a", "args": ["z"]})}))
    assert obj["spec"]["selector"] == {"matchLabels": {"b": "1"}}
    assert obj["spec"]["template"]["spec"]["containers"][0]["args"] == ["z"]


def test_finalizers_are_a_set_of_single_owners() -> None:
    live = ssa(None, web(finalizers=["a.example/x"]), manager="first")
    obj = ssa(live, web(finalizers=["b.example/y"]))
    assert obj["metadata"]["finalizers"] == ["a.example/x", "b.example/y"]
    assert owned(obj, "one") == {"f:metadata": {"f:finalizers": {'v:"b.example/y"': {}}}}
    assert ssa(obj, web(), manager="first")["metadata"]["finalizers"] == ["b.example/y"]


def test_an_object_without_managers_belongs_to_before_first_apply() -> None:
    live = web({"replicas": 1}, uid="u", labels={"x": "1"})
    with pytest.raises(ApplyConflict, match=r'conflict with "before-first-apply" using apps/v1: \.spec\.replicas'):
        ssa(live, web({"replicas": 2}))
    obj = ssa(live, web({"replicas": 2}), force=True)
    assert owned(obj, "before-first-apply") == {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}, "f:spec": {}}


def test_of_a_status_apply_only_the_status_counts() -> None:
    live = ssa(None, web({"replicas": 1}))
    applied = web({"replicas": 9}, labels={"no": "no"}) | {"status": {"replicas": 1}}
    obj = ssa(live, applied, manager="ctl", subresource="status")
    assert (obj["spec"], obj["status"]) == ({"replicas": 1}, {"replicas": 1})
    assert "labels" not in obj["metadata"]
    entry = next(entry for entry in obj["metadata"]["managedFields"] if entry["manager"] == "ctl")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})


def test_a_configuration_with_duplicates_keyless_items_or_managed_fields_is_refused() -> None:
    with pytest.raises(RejectError, match=r'duplicate entries for key \[name="a"\]'):
        ssa(web(pods({"name": "b"})), web(pods({"name": "a"}, {"name": "a"})), force=True)
    with pytest.raises(RejectError, match="omits all key fields"):
        ssa(None, web(pods({"image": "a"})))
    with pytest.raises(RejectError, match=r"metadata\.managedFields must be nil"):
        ssa(None, web({}, managedFields=[{"manager": "x"}]))


def test_fields_that_nobody_owns_are_never_recorded() -> None:
    obj = ssa(None, web({"replicas": 1}, uid="u", resourceVersion="5", generation=3, creationTimestamp=NOW))
    assert owned(obj, "one") == {"f:spec": {"f:replicas": {}}}


def crd(spec: Obj) -> Schema:
    return compile_schema({"type": "object", "properties": {"spec": spec}})


def test_unknown_fields_are_owned_one_by_one_and_unknown_lists_as_a_whole() -> None:
    schema = crd({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    obj = ssa(None, web({"a": {"b": 1, "c": {}}, "l": [{"x": 1}]}), schema=schema)
    assert owned(obj, "one")["f:spec"] == {"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:l": {}}
    other = ssa(obj, web({"a": {"d": 2}}), manager="two", schema=schema)
    assert other["spec"]["a"] == {"b": 1, "c": {}, "d": 2}


def test_kubectl_moves_from_client_side_to_server_side_apply_without_conflicts() -> None:
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    config = web({"replicas": 2, "paused": False})
    last = {annotation: json.dumps(config)}
    live = updated(None, web(config["spec"], annotations=last), manager="kubectl-client-side-apply")
    obj = ssa(live, web({"replicas": 3, "paused": False}), manager="kubectl")
    assert obj["spec"]["replicas"] == 3
    assert json.loads(obj["metadata"]["annotations"][annotation])["spec"]["replicas"] == 3
    drifted = updated(live, {**live, "spec": {"replicas": 7}}, manager="someone")
    with pytest.raises(ApplyConflict, match=r'"someone" using apps/v1: \.spec\.replicas'):
        ssa(drifted, web({"replicas": 3}), manager="kubectl")
