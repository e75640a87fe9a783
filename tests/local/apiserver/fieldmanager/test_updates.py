"""Ownership after creates, updates and patches."""

import copy
from typing import Any

from millrace_core.schema import compile_schema
from millrace_local.apiserver.fieldmanager import record_update

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
ITEM = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}}
SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer"},
                    "b": {"type": "integer"},
                    "items": {
                        "type": "array",
                        "items": ITEM,
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                    },
                },
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
)
Obj = dict[str, Any]


def obj(spec: Obj, **more: Any) -> Obj:
    return {"apiVersion": "x/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec, **more}


def record(old: Obj | None, new: Obj, manager: str, now: str = NOW, **more: Any) -> Obj:
    result = copy.deepcopy(new)
    options: dict[str, Any] = {"api_version": "x/v1", "schema": SCHEMA, **more}
    record_update(old, result, manager=manager, now=now, **options)
    return result


def entries(result: Obj) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in result["metadata"].get("managedFields", [])}


def test_the_creator_owns_everything() -> None:
    created = record(None, obj({"a": 1, "items": [{"name": "x", "v": 1}]}), "creator")
    assert entries(created) == {
        "creator": {
            "f:spec": {
                ".": {},
                "f:a": {},
                "f:items": {".": {}, 'k:{"name":"x"}': {".": {}, "f:name": {}, "f:v": {}}},
            }
        }
    }


def test_who_changes_a_field_owns_it_alone() -> None:
    created = record(None, obj({"a": 1, "b": 1}), "creator")
    changed = record(created, {**created, "spec": {"a": 2, "b": 1}}, "other", LATER)
    assert entries(changed) == {
        "creator": {"f:spec": {".": {}, "f:b": {}}},
        "other": {"f:spec": {"f:a": {}}},
    }
    times = {entry["manager"]: entry["time"] for entry in changed["metadata"]["managedFields"]}
    assert times == {"creator": NOW, "other": LATER}


def test_an_update_that_changes_nothing_leaves_everything_as_it_is() -> None:
    created = record(None, obj({"a": 1}), "creator")
    assert record(created, created, "other", LATER) == created
    assert record(created, created, "creator", LATER) == created


def test_removed_fields_belong_to_nobody() -> None:
    created = record(None, obj({"a": 1, "items": [{"name": "x"}, {"name": "y"}]}), "creator")
    removed = record(created, {**created, "spec": {"items": [{"name": "y"}]}}, "other")
    assert entries(removed) == {
        "creator": {"f:spec": {".": {}, "f:items": {".": {}, 'k:{"name":"y"}': {".": {}, "f:name": {}}}}}
    }


def test_the_same_manager_keeps_one_entry_per_version_and_subresource() -> None:
    created = record(None, obj({"a": 1}), "m")
    again = record(created, {**created, "spec": {"a": 1, "b": 2}}, "m", LATER)
    assert entries(again) == {"m": {"f:spec": {".": {}, "f:a": {}, "f:b": {}}}}
    other_version = record(again, {**again, "spec": {"a": 3, "b": 2}}, "m", LATER, api_version="x/v2")
    assert [entry["apiVersion"] for entry in other_version["metadata"]["managedFields"]] == ["x/v1", "x/v2"]
    status = record(again, {**again, "status": {"ok": True}}, "m", LATER, subresource="status")
    by_subresource = {entry.get("subresource"): entry["fieldsV1"] for entry in status["metadata"]["managedFields"]}
    assert by_subresource["status"] == {"f:status": {".": {}, "f:ok": {}}}


def test_clients_that_drop_the_list_do_not_lose_it_and_those_that_empty_it_reset_it() -> None:
    created = record(None, obj({"a": 1}), "creator")
    plain = record(created, obj({"a": 1, "b": 1}), "other")
    assert set(entries(plain)) == {"creator", "other"}
    for reset in ([], [{}]):
        new = {**created, "metadata": {"name": "x", "managedFields": reset}}
        forgotten = record(created, new, "other")
        assert "managedFields" not in forgotten["metadata"]
        untracked = record(forgotten, {**forgotten, "spec": {"a": 5}}, "other")
        assert "managedFields" not in untracked["metadata"]


def test_a_client_may_rewrite_the_list_itself_but_not_by_a_subresource() -> None:
    created = record(None, obj({"a": 1}), "creator")
    mine = [{**created["metadata"]["managedFields"][0], "manager": "mine", "operation": "Apply"}]
    rewritten = record(created, {**created, "metadata": {"name": "x", "managedFields": mine}}, "x")
    assert [(e["manager"], e["operation"]) for e in rewritten["metadata"]["managedFields"]] == [("mine", "Apply")]
    kept = record(created, {**created, "metadata": {"name": "x", "managedFields": mine}}, "x", subresource="status")
    assert set(entries(kept)) == {"creator"}
    broken = [{"manager": "mine", "operation": "Steal", "apiVersion": "v1", "fieldsType": "FieldsV1"}]
    ignored = record(created, {**created, "metadata": {"name": "x", "managedFields": broken}}, "x")
    assert set(entries(ignored)) == {"creator"}


def test_the_oldest_of_too_many_updaters_are_merged() -> None:
    current = record(None, obj({"a": 0}), "creator", "2026-01-01T00:00:00Z")
    for index in range(12):
        labels = {**current["metadata"].get("labels", {}), f"l{index}": "x"}
        new = {**current, "metadata": {**current["metadata"], "labels": labels}}
        current = record(current, new, f"m{index}", f"2026-01-01T00:00:{index + 1:02d}Z")
    owners = entries(current)
    assert len(owners) == 10
    assert owners["ancient-changes"]["f:metadata"]["f:labels"] == {".": {}, "f:l0": {}, "f:l1": {}, "f:l2": {}}
    assert owners["ancient-changes"]["f:spec"] == {".": {}, "f:a": {}}


def test_duplicate_items_that_got_in_are_owned_as_one() -> None:
    created = record(None, obj({"items": [{"name": "x", "v": 1}, {"name": "x", "v": 2}]}), "creator")
    assert entries(created)["creator"]["f:spec"]["f:items"] == {".": {}, 'k:{"name":"x"}': {}}
    changed = record(created, {**created, "spec": {"items": [{"name": "x", "v": 1}, {"name": "x", "v": 3}]}}, "other")
    assert entries(changed)["other"] == {"f:spec": {"f:items": {'k:{"name":"x"}': {}}}}
