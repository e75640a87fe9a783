"""The cache: never back in time, and true again after a list."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api import names
from millrace_kube.cache import Cache, Scope
from millrace_kube.resources import JOBS, NODES, PODS, Object, Resource
from millrace_kube.store import Store


def job(name: str, version: int, **labels: str) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": "ns",
            "name": name,
            "resourceVersion": str(version),
            "labels": {f"millrace.dev/{key}": value for key, value in labels.items()},
            "managedFields": [{"manager": "x"}],
        },
        "spec": {"suspend": False},
    }


def nested(levels: int) -> Object:
    """A set of fields so deep."""
    return {"f:a": nested(levels - 1)} if levels else {}


class Seen:
    """A cache and what it told."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.told: list[str] = []
        self.cache.subscribe(self._tell)

    def _tell(self, _: Resource, document: Object) -> None:
        self.told.append(document["metadata"]["name"])

    def version(self, name: str) -> str | None:
        found = self.cache.get(JOBS, "ns", name)
        return found["metadata"]["resourceVersion"] if found else None


def test_an_older_version_is_ignored_and_told_to_nobody() -> None:
    seen = Seen()
    assert seen.cache.upsert(JOBS, job("a", 9))
    assert not seen.cache.upsert(JOBS, job("a", 9))
    assert not seen.cache.upsert(JOBS, job("a", 10**0))
    assert seen.cache.upsert(JOBS, job("a", 10)), "versions are numbers: 10 is newer than 9"
    assert seen.told == ["a", "a"]


def test_what_was_deleted_does_not_come_back_by_a_late_event() -> None:
    seen = Seen()
    seen.cache.upsert(JOBS, job("a", 5))
    assert seen.cache.remove(JOBS, job("a", 7))
    assert not seen.cache.upsert(JOBS, job("a", 6))
    assert seen.version("a") is None
    assert seen.cache.upsert(JOBS, job("a", 8)), "made again"


def test_a_late_deletion_of_a_predecessor_is_ignored() -> None:
    seen = Seen()
    seen.cache.upsert(JOBS, job("a", 8))
    assert not seen.cache.remove(JOBS, job("a", 7))
    assert seen.version("a") == "8"


def test_a_list_ends_what_has_gone_and_keeps_what_is_newer_than_it() -> None:
    seen = Seen()
    seen.cache.upsert(JOBS, job("gone", 3))
    seen.cache.upsert(JOBS, job("kept", 4))
    seen.cache.upsert(JOBS, job("newer", 12))
    seen.cache.replace(JOBS, [job("kept", 4), job("added", 9)], "10")
    assert [document["metadata"]["name"] for document in seen.cache.all(JOBS)] == ["added", "kept", "newer"]
    assert seen.told[-1] == "gone"


def test_labels_find_objects_and_follow_their_changes() -> None:
    seen = Seen()
    seen.cache.upsert(JOBS, job("b", 1, view="clicks"))
    seen.cache.upsert(JOBS, job("a", 2, view="clicks"))
    seen.cache.upsert(JOBS, job("c", 3, view="other"))
    found = seen.cache.select(JOBS, "ns", names.VIEW, "clicks")
    assert [document["metadata"]["name"] for document in found] == ["a", "b"]
    seen.cache.upsert(JOBS, job("a", 4, view="other"))
    seen.cache.remove(JOBS, job("c", 5))
    assert len(seen.cache.select(JOBS, "ns", names.VIEW, "clicks")) == 1
    assert [document["metadata"]["name"] for document in seen.cache.select(JOBS, "ns", names.VIEW, "other")] == ["a"]


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    pod: dict[str, Any] = {**job("p", 1), "spec": {"containers": []}, "status": {"phase": "Running"}}
    cache.upsert(PODS, pod)
    held = cache.get(PODS, "ns", "p")
    assert held is not None
    assert set(held) == {"apiVersion", "kind", "metadata", "status"}
    assert "managedFields" not in held["metadata"]
    assert "managedFields" in pod["metadata"], "the given object is not touched"


def test_sets_of_fields_that_many_objects_share_are_held_once() -> None:
    cache = Cache()
    owners = {"a": {'k:{"uid":"1"}': {}}, "b": {'k:{"uid":"2"}': {}}}
    for version, (name, owner) in enumerate(owners.items(), 1):
        fields = {"f:metadata": {"f:ownerReferences": owner}, "f:spec": {"f:template": {"f:spec": {"f:image": {}}}}}
        document = job(name, version)
        document["metadata"]["managedFields"] = [{"manager": "millrace", "time": name, "fieldsV1": fields}]
        given = copy.deepcopy(document)
        cache.upsert(JOBS, document)
        assert cache.get(JOBS, "ns", name) == document == given
    first, second = (held["metadata"]["managedFields"][0]["fieldsV1"] for held in cache.all(JOBS))
    assert first["f:spec"]["f:template"] is second["f:spec"]["f:template"]


@pytest.mark.parametrize(
    "fields",
    [None, [], "f:spec", {"f:spec": None}, {"f:spec": {"f:image": 1}, ".": {}}, {"f:spec": {"f:a": nested(300)}}],
    ids=lambda fields: str(fields)[:30],
)
def test_sets_of_fields_of_an_unknown_form_are_held_as_they_came(fields: Any) -> None:
    cache, document = Cache(), job("a", 1)
    document["metadata"]["managedFields"] = [{"manager": "x", "fieldsV1": fields}]
    cache.upsert(JOBS, document)
    assert cache.get(JOBS, "ns", "a") == document


def test_a_kind_that_is_not_served_holds_nothing() -> None:
    cache = Cache()
    cache.upsert(JOBS, job("a", 5))
    assert cache.served(JOBS, "")
    cache.clear(JOBS)
    assert not cache.served(JOBS, "")
    assert cache.all(JOBS) == []
    cache.upsert(JOBS, job("a", 6))
    assert cache.served(JOBS, "")
    assert not cache.served(NODES, "")


versions = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20)


@given(versions, st.randoms())
def test_in_whatever_order_events_come_the_newest_wins(history: list[tuple[str, bool]], random: Any) -> None:
    events = [(name, deleted, version) for version, (name, deleted) in enumerate(history, 1)]
    late = list(events)
    random.shuffle(late)
    cache = Cache()
    for name, deleted, version in late:
        if deleted:
            cache.remove(JOBS, job(name, version))
        else:
            cache.upsert(JOBS, job(name, version))
    for wanted in "abc":
        last = next((event for event in reversed(events) if event[0] == wanted), None)
        held = cache.get(JOBS, "ns", wanted)
        if last is None or last[1]:
            assert held is None
        else:
            assert held is not None
            assert held["metadata"]["resourceVersion"] == str(last[2])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", None])), max_size=25))
def test_an_index_always_says_what_the_items_say(steps: list[tuple[str, str | None]]) -> None:
    store = Store(JOBS)
    store.index("team", lambda item: item["metadata"]["labels"].values())
    for version, (name, team) in enumerate(steps, 1):
        if team is None:
            store.remove(job(name, version))
        else:
            store.upsert(job(name, version, team=team))
        for value in ("x", "y"):
            held = [item for _, item in sorted(store.items.items())]
            expected = [item for item in held if value in item["metadata"]["labels"].values()]
            assert store.by("team", value) == expected


@given(versions, versions)
def test_a_list_of_a_server_that_was_set_back_is_the_truth(
    before: list[tuple[str, bool]], after: list[tuple[str, bool]]
) -> None:
    store = Store(JOBS)
    for version, (name, deleted) in enumerate(before, 100):
        (store.remove if deleted else store.upsert)(job(name, version))
    store.advance(200)
    listed = {name: job(name, version) for version, (name, deleted) in enumerate(after, 1) if not deleted}
    store.replace(listed.values(), 50)
    held = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in store.items.values()}
    assert held == {name: item["metadata"]["resourceVersion"] for name, item in listed.items()}
    assert store.upsert(job("d", 51))


def within(namespace: str, name: str, version: int) -> Object:
    document = job(name, version, view="v")
    return {**document, "metadata": {**document["metadata"], "namespace": namespace}}


def test_each_namespace_that_is_watched_has_versions_of_its_own() -> None:
    cache = Cache(scope=Scope(("a", "b"), "own"))
    stores = {namespace: cache.store(JOBS, namespace) for namespace in ("a", "b", "own")}
    assert all(stores.values())
    assert cache.store(JOBS, "c") is None
    a, b = stores["a"], stores["b"]
    assert a is not None
    assert b is not None
    a.replace([within("a", "x", 100)], 200)
    b.replace([], 100)
    # The watch of b is behind that of a, which is nothing to it.
    assert cache.upsert(JOBS, within("b", "y", 150))
    assert [item["metadata"]["name"] for item in cache.all(JOBS)] == ["x", "y"]
    assert cache.select(JOBS, "b", "millrace.dev/view", "v") == cache.all(JOBS, "b") != []
    a.replace([], 300)
    assert [item["metadata"]["name"] for item in cache.all(JOBS)] == ["y"]


def test_objects_outside_of_what_is_watched_are_not_held() -> None:
    cache = Cache(scope=Scope(("a",), "own"))
    assert not cache.upsert(JOBS, within("c", "x", 1))
    assert cache.get(JOBS, "c", "x") is None
    assert cache.select(JOBS, "c", "millrace.dev/view", "v") == cache.all(NODES) == []
    assert not cache.served(NODES, "")


def test_a_store_turns_when_it_is_refused_and_when_it_is_listed_again_and_at_no_other_list() -> None:
    store = Store(JOBS)
    store.replace([], 1)
    turns: list[str] = []
    store.on_turned(lambda: turns.append(store.refused))
    store.refuse("forbidden")
    store.refuse("forbidden still")
    assert not store.synced.is_set()
    store.replace([job("a", 2)], 3)
    store.replace([job("a", 2)], 4)
    assert turns == ["forbidden", ""]
