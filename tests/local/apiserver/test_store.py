"""The store: objects, their order, their history, and what a restart finds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_local.apiserver.journal import Journal, JournalFullError
from millrace_local.apiserver.store import ObjectStore, WatchEvent
from tests.examples import examples

MAPS = "/configmaps"


def opened(folder: Path) -> ObjectStore:
    """A store on a folder."""
    return ObjectStore(Journal(folder / "journal.db"))


def closed(store: ObjectStore) -> None:
    """Ends a store as a crash would, but for the lock."""
    store._journal.close()


def obj(name: str, value: int = 0, *owners: str) -> dict[str, Any]:
    """A small object."""
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "labels": {"value": str(value)}}
    if owners:
        metadata["ownerReferences"] = [{"uid": owner} for owner in owners]
    return {"metadata": metadata, "data": {"value": value}}


def snapshot(store: ObjectStore) -> dict[tuple[str, str], Any]:
    """Everything in the store."""
    return {(e.namespace, e.name): e.object() for e in store.entries(MAPS)}


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "remove"]), st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 9)
    ),
    max_size=40,
)


@settings(max_examples=examples(0.75))
@given(steps)
def test_it_holds_what_a_dict_would_and_restarts_with_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store, model, events = opened(folder), {}, []
    store.listeners.append(events.append)
    for action, namespace, name, value in steps:
        entry = store.get(MAPS, namespace, name)
        if action == "put":
            store.put(MAPS, namespace, name, obj(name, value))
            model[(namespace, name)] = value
        elif entry is not None:
            store.remove(entry)
            del model[(namespace, name)]
    held = {key: found["data"]["value"] for key, found in snapshot(store).items()}
    assert held == model
    assert [(e.namespace, e.name) for e in store.entries(MAPS)] == sorted(model)
    assert [e.name for e in store.entries(MAPS, "a")] == sorted(name for ns, name in model if ns == "a")
    _check_history(store, events)
    before = snapshot(store), store.revision, store.since(MAPS, 0)
    closed(store)
    again = opened(folder)
    assert (snapshot(again), again.revision) == before[:2]
    replayed = again.since(MAPS, 0)
    assert replayed is not None
    assert before[2] is not None
    assert [(e.type, e.revision, e.entry.body) for e in replayed] == [
        (e.type, e.revision, e.entry.body) for e in before[2]
    ]
    closed(again)


def _check_history(store: ObjectStore, events: list[WatchEvent]) -> None:
    assert store.since(MAPS, 0) == events
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions)) == list(range(1, store.revision + 1))
    for middle in revisions:
        assert store.since(MAPS, middle) == [event for event in events if event.revision > middle]


def test_a_deleted_object_shows_its_last_state_under_a_new_revision(tmp_path: Path) -> None:
    store = opened(tmp_path)
    seen: list[WatchEvent] = []
    store.listeners.append(seen.append)
    entry = store.put(MAPS, "a", "x", obj("x", 7))
    store.remove(entry)
    assert Counter(event.type for event in seen) == {"ADDED": 1, "DELETED": 1}
    last = seen[-1].entry.object()
    assert (last["data"]["value"], last["metadata"]["resourceVersion"]) == (7, "2")
    assert seen[-1].old == entry
    closed(store)


def test_history_is_kept_for_a_while_and_then_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace_local.apiserver.store.WINDOW", 5)
    store = opened(tmp_path)
    for value in range(9):
        store.put(MAPS, "a", "x", obj("x", value))
    assert store.since(MAPS, 3) is None
    known = store.since(MAPS, 4)
    assert known is not None
    assert [event.revision for event in known] == [5, 6, 7, 8, 9]
    closed(store)


def test_dependents_are_found_by_their_owners_uid(tmp_path: Path) -> None:
    store = opened(tmp_path)
    owner = store.put(MAPS, "a", "owner", obj("owner"))
    store.put(MAPS, "a", "child", obj("child", 0, "uid-owner", "uid-other"))
    assert [entry.name for entry in store.dependents("uid-owner")] == ["child"]
    store.put(MAPS, "a", "child", obj("child", 0, "uid-other"))
    assert store.dependents("uid-owner") == []
    assert store.by_uid("uid-owner") == owner
    store.remove(owner)
    assert store.by_uid("uid-owner") is None
    closed(store)


def test_a_write_that_the_disk_refuses_changes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.put(MAPS, "a", "x", obj("x", 1))
    told: list[WatchEvent] = []
    store.listeners.append(told.append)
    store._journal._connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(JournalFullError):
        store.put(MAPS, "a", "y", {**obj("y"), "filling": "x" * 100_000})
    assert (list(snapshot(store)), store.revision, told) == ([("a", "x")], 1, [])
    closed(store)
