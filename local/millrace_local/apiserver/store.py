"""All objects, in memory as JSON bytes with a small index, behind a journal; and the events that watches read."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from millrace_local.apiserver.journal import FORGOTTEN, Journal, Write
from millrace_local.apiserver.jsonpath import value_at
from millrace_local.apiserver.resources import SECRETS, SELECTABLE

#: Events kept per resource for watches that start in the past; older starts get 410.
WINDOW = 2000


@dataclass(frozen=True, slots=True, eq=False)
class StoreEntry:
    """One object at one revision. It never changes, so lists and watches may keep it.

    ``body`` is the object's JSON without apiVersion and kind and without the opening brace, so that each served version
    only prepends its own head.
    """

    resource: str
    namespace: str
    name: str
    body: bytes
    revision: int
    uid: str
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    owners: tuple[str, ...]
    deleting: bool

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    def object(self) -> dict[str, Any]:
        """The object as a fresh dict, without apiVersion and kind."""
        loaded: dict[str, Any] = orjson.loads(b"{" + self.body)
        return loaded


class WatchEvent(NamedTuple):
    """A change: ``entry`` is the new state, or the last one of a deleted object; ``old`` is the state before."""

    revision: int
    type: str
    entry: StoreEntry
    old: StoreEntry | None


_NO_STRINGS: Mapping[str, str] = {}


def field_value(obj: Mapping[str, Any], path: str) -> str:
    """The value at a dotted path as field selectors compare it; empty where absent."""
    value = value_at(obj, path)
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def entry_of(resource: str, namespace: str, name: str, obj: Mapping[str, Any]) -> StoreEntry:
    """Builds the entry of an object (without apiVersion and kind) that already carries its resourceVersion."""
    metadata = obj["metadata"]
    selectable = SELECTABLE.get(resource, ())
    return StoreEntry(
        resource=resource,
        namespace=namespace,
        name=name,
        body=orjson.dumps(obj)[1:],
        revision=int(metadata.get("resourceVersion", 0)),
        uid=metadata["uid"],
        labels=metadata.get("labels") or _NO_STRINGS,
        fields={path: field_value(obj, path) for path in selectable} if selectable else _NO_STRINGS,
        owners=tuple(owner["uid"] for owner in metadata.get("ownerReferences") or ()),
        deleting="deletionTimestamp" in metadata,
    )


class _Table:
    """The objects of one resource, their keys in order, and their latest events."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], StoreEntry] = {}
        self.keys: list[tuple[str, str]] = []
        self.history: deque[WatchEvent] = deque(maxlen=WINDOW)

    def set(self, entry: StoreEntry) -> StoreEntry | None:
        key = (entry.namespace, entry.name)
        old = self.entries.get(key)
        if old is None:
            insort(self.keys, key)
        self.entries[key] = entry
        return old

    def drop(self, entry: StoreEntry) -> None:
        key = (entry.namespace, entry.name)
        del self.entries[key]
        del self.keys[bisect_left(self.keys, key)]


class ObjectStore:
    """The state of the cluster. No method awaits, so each is atomic in one event loop.

    Args:
        journal: takes each write before it has an effect; read to its end at construction.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._tables: defaultdict[str, _Table] = defaultdict(_Table)
        self._uids: dict[str, StoreEntry] = {}
        self._dependents: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
        self._floor = 0
        # By resource: where its history starts, because the journal has forgotten some of what came before.
        self._forgotten_until: defaultdict[str, int] = defaultdict(int)
        self.revision = 0
        self.listeners: list[Callable[[WatchEvent], None]] = []
        self._replay(journal.read())

    def _replay(self, writes: Iterable[Write]) -> None:
        obsolete: list[StoreEntry | Write] = []
        unknown: set[tuple[str, str, str]] = set()
        for write in writes:
            if write.revision != self.revision + 1:
                # Compaction removed rows before this one, so watches can start only after the gap.
                self.revision = write.revision - 1
                self.forget_history()
            key = (write.resource, write.namespace, write.name)
            old = self.get(*key)
            if old is not None:
                obsolete.append(old)
            if key in unknown or write.body == FORGOTTEN:
                # The next write of that object is no event either: what it changed is not known.
                self._forgotten_until[write.resource] = write.revision
                unknown.discard(key)
            if write.body == FORGOTTEN:
                unknown.add(key)
                obsolete.append(write)
            elif write.body is not None:
                self._set(entry_of(write.resource, write.namespace, write.name, orjson.loads(write.body)))
            else:
                obsolete.append(write)
                if old is not None:
                    self._drop(_at_revision(old, write.revision), old)
            self.revision = write.revision
        for one in obsolete:
            self._leave_behind(one)

    def _leave_behind(self, one: StoreEntry | Write) -> None:
        """Tells the journal of a write that is no longer the state of any object."""
        self._journal.obsolete(one.revision)
        if one.resource == SECRETS and one.body:
            self._journal.forget(one.revision)

    def get(self, resource: str, namespace: str, name: str) -> StoreEntry | None:
        """The object of that name, or ``None``."""
        return self._tables[resource].entries.get((namespace, name))

    def by_uid(self, uid: str) -> StoreEntry | None:
        """The object with that uid, or ``None``."""
        return self._uids.get(uid)

    def dependents(self, uid: str) -> list[StoreEntry]:
        """The objects that have ``uid`` among their owners."""
        found = (self.get(*key) for key in sorted(self._dependents.get(uid, ())))
        return [entry for entry in found if entry is not None]

    def entries(self, resource: str, namespace: str = "") -> list[StoreEntry]:
        """All objects of a resource in one namespace, or in all, ordered by namespace and name."""
        table = self._tables[resource]
        keys = table.keys
        if namespace:
            keys = keys[bisect_left(keys, (namespace, "")) : bisect_left(keys, (f"{namespace}\0", ""))]
        return [table.entries[key] for key in keys]

    def resources(self) -> list[str]:
        """The storage keys that have at least one object."""
        return [resource for resource, table in self._tables.items() if table.entries]

    def put(self, resource: str, namespace: str, name: str, obj: dict[str, Any]) -> StoreEntry:
        """Creates or replaces an object (without apiVersion and kind); sets its resourceVersion in place.

        Raises:
            JournalFullError: the disk refused the write; nothing changed.
        """
        revision = self.revision + 1
        obj["metadata"]["resourceVersion"] = str(revision)
        entry = entry_of(resource, namespace, name, obj)
        self._journal.append(Write(revision, resource, namespace, name, b"{" + entry.body))
        self.revision = revision
        event = self._set(entry)
        if event.old is not None:
            self._leave_behind(event.old)
        self._tell(event)
        return entry

    def remove(self, entry: StoreEntry, final: Mapping[str, Any] | None = None) -> StoreEntry:
        """Deletes an object; returns its last state, ``final`` if given, at the revision of the delete.

        Raises:
            JournalFullError: the disk refused the write; nothing changed.
        """
        revision = self.revision + 1
        self._journal.append(Write(revision, entry.resource, entry.namespace, entry.name, None))
        self.revision = revision
        self._leave_behind(entry)
        self._journal.obsolete(revision)
        last = _at_revision(entry, revision, final)
        self._tell(self._drop(last, entry))
        return last

    def since(self, resource: str, revision: int) -> Sequence[WatchEvent] | None:
        """The events of a resource after ``revision``; ``None`` if some of them are no longer kept."""
        history = self._tables[resource].history
        floor = max(self._floor, self._forgotten_until[resource])
        oldest = max(floor + 1, history[0].revision if len(history) == WINDOW else 0)
        if revision + 1 < oldest:
            return None
        return [event for event in history if event.revision > revision]

    def forget_history(self) -> None:
        """Drops all kept events, as compaction does in a real cluster: a watch from before now answers 410."""
        self._floor = self.revision
        for table in self._tables.values():
            table.history.clear()

    def _set(self, entry: StoreEntry) -> WatchEvent:
        table = self._tables[entry.resource]
        old = table.set(entry)
        if old is not None:
            self._unlink(old)
        self._uids[entry.uid] = entry
        for owner in entry.owners:
            self._dependents[owner].add((entry.resource, entry.namespace, entry.name))
        event = WatchEvent(entry.revision, "ADDED" if old is None else "MODIFIED", entry, old)
        table.history.append(event)
        return event

    def _drop(self, last: StoreEntry, old: StoreEntry) -> WatchEvent:
        table = self._tables[old.resource]
        table.drop(old)
        self._unlink(old)
        event = WatchEvent(last.revision, "DELETED", last, old)
        table.history.append(event)
        return event

    def _unlink(self, entry: StoreEntry) -> None:
        self._uids.pop(entry.uid, None)
        for owner in entry.owners:
            keys = self._dependents[owner]
            keys.discard((entry.resource, entry.namespace, entry.name))
            if not keys:
                del self._dependents[owner]

    def _tell(self, event: WatchEvent) -> None:
        for listener in self.listeners:
            listener(event)


def _at_revision(entry: StoreEntry, revision: int, final: Mapping[str, Any] | None = None) -> StoreEntry:
    obj = dict(final) if final is not None else entry.object()
    obj["metadata"] = {**obj["metadata"], "resourceVersion": str(revision)}
    return entry_of(entry.resource, entry.namespace, entry.name, obj)
