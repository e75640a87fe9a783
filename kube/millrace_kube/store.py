"""The last known state of one resource's objects, with indices and listeners.

A store may lag behind the API server but does not go back in time by itself: an event or an answer that is older than
the object held (a late watch event after our own write) is ignored, and so is a version from before its deletion.

A list is the truth at its version; only what is newer than the list itself is kept. Where it, or an object in it or one
that was read, is of a version below what was known before, the server was set back: it lost the end of its journal, or
an etcd was restored from a backup (its versions go on from where they were then, or from beyond what was seen, with old
objects below). Then versions say nothing: all stores that share the server are in doubt, and what each holds is
replaced by its next list as a whole.

A list that is refused (403) is no list: what is held stays as it was, and counts no more until one comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Final

import orjson

from millrace_kube.resources import Object, Resource, key_of, version_of
from millrace_kube.watched import EVERYTHING, Watch

_log = logging.getLogger(__name__)

# Longer ones are few, and should not fill the memory after their objects have gone.
_LONGEST_SHARED: Final = 8192

# Called with (old, new): old is None for an addition, new is None for a removal. It must not block.
Listener = Callable[[Object | None, Object | None], None]
Index = Callable[[Object], Iterable[Hashable]]


class Store:
    """Objects of one resource by key (``namespace/name``).

    Attributes:
        namespace: the only one whose objects it holds; empty: those of all.
        synced: set while a list is in, and nothing speaks against what is held.
        answered: set once the API server has given a list or refused it.
        refused: why it refuses it; empty where it does not.
        served: whether the API server serves this kind (its CRD is installed), as of the last list or event.
        doubted: set while what is held may be of a past that the server no longer has; the next list ends it.
        due: set while a list is due at once, in doubt or to see whether it is still allowed.
        set_backs: how many lists replaced everything because the server had been set back.
    """

    def __init__(self, resource: Resource, watch: Watch = EVERYTHING, namespace: str = "") -> None:
        self.resource = resource
        self.namespace = namespace
        self.watch = watch
        self.items: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self.answered = asyncio.Event()
        self.refused = ""
        self.served = False
        self.doubted = asyncio.Event()
        self.due = asyncio.Event()
        self.set_backs = 0
        self._known = -1  # All changes up to this version are in.
        self._gone: dict[str, int] = {}  # Versions of deletions after it.
        self._listeners: list[Listener] = []
        self._on_set_back: list[Callable[[], None]] = []
        self._on_turned: list[Callable[[], None]] = []
        self._on_synced: list[Callable[[], None]] = []
        self._indices: dict[str, tuple[Index, dict[Hashable, set[str]]]] = {}

    def subscribe(self, listener: Listener) -> None:
        """Calls ``listener`` for everything known now and for each change from now on."""
        self._listeners.append(listener)
        for item in list(self.items.values()):
            listener(None, item)

    def on_set_back(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` when a list, or ``doubt``, first shows that the server was set back."""
        self._on_set_back.append(listener)

    def on_turned(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` when the kind begins or ceases to be served, or to be refused."""
        self._on_turned.append(listener)

    def on_synced(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` when what is held counts, after it did not."""
        self._on_synced.append(listener)

    def doubt(self) -> None:
        """Takes note that the server was set back: nothing held counts any more once the next list is in."""
        if not self.doubted.is_set():
            self.doubted.set()
            self.due.set()
            self.synced.clear()
            self.answered.clear()
            _call(self._on_set_back)

    def refuse(self, why: str) -> None:
        """Takes note that the API server refuses to list the kind; ``why`` is its answer."""
        turned, self.refused = not self.refused, why
        self.due.clear()
        self.synced.clear()
        self.answered.set()
        if turned:
            _call(self._on_turned)

    def index(self, name: str, keys: Index) -> None:
        """Keeps an index ``name`` of the items by what ``keys`` returns for each."""
        if name not in self._indices:
            self._indices[name] = (keys, {})
            for key, item in self.items.items():
                self._enter(name, key, item)

    def by(self, name: str, value: Hashable) -> list[Object]:
        """The items whose index ``name`` holds ``value``, by key."""
        return [self.items[key] for key in sorted(self._indices[name][1].get(value, ()))]

    def get(self, namespace: str, name: str) -> Object | None:
        """The object of this name, or None."""
        return self.items.get(f"{namespace}/{name}")

    def upsert(self, document: Object) -> bool:
        """Takes an object from a watch event or a write's answer; False where what is known is as new."""
        if not self.served:
            self.served = True
            _call(self._on_turned)
        key = key_of(document)
        if version_of(document) <= self._newest(key):
            return False
        self._put(key, document)
        return True

    def remove(self, document: Object) -> bool:
        """Takes the deletion of an object, at its last resource version; False where it is not held."""
        key, version = key_of(document), version_of(document)
        held = self.items.get(key)
        if version > self._known:
            self._gone[key] = max(version, self._gone.get(key, -1))
        if held is None or version_of(held) > version:
            return False
        self._pop(key)
        return True

    def advance(self, version: int) -> None:
        """Notes that every change up to ``version`` is in: a watch delivers them in order."""
        if version > self._known:
            self._known = version
            self._gone = {key: gone for key, gone in self._gone.items() if gone > version}

    def replace(self, documents: Iterable[Object], version: int) -> None:
        """Takes a whole list at its resource version: what is not in it, and not newer than it, was deleted."""
        listed = {key_of(document): document for document in documents}
        if version < self._known or any(self._is_past(key, listed[key], version) for key in listed):
            self.doubt()
        if self.doubted.is_set():
            _log.warning("%s: the API server was set back to an earlier state", self.resource.plural)
            self.set_backs += 1
            self._gone, self._known = {}, -1
        for key, document in listed.items():
            if self.doubted.is_set() or self._newest(key) <= version:
                self._put(key, document)
        for key, held in list(self.items.items()):
            if key not in listed and (self.doubted.is_set() or version_of(held) <= version):
                self._pop(key)
        self.advance(version)
        self._listed(served=True)

    def clear(self) -> None:
        """Empties the store, because the kind is not served."""
        for key in list(self.items):
            self._pop(key)
        self._gone, self._known = {}, -1
        self._listed(served=False)

    def _newest(self, key: str) -> int:
        """The version up to which this object's past is known."""
        held = self.items.get(key)
        return version_of(held) if held else max(self._known, self._gone.get(key, -1))

    def _is_past(self, key: str, document: Object, version: int) -> bool:
        """Whether a list at ``version`` has an object as it was before what is known of it up to that version."""
        return version_of(document) < self._newest(key) <= version

    def _listed(self, *, served: bool) -> None:
        """What is held is what there is."""
        turned, anew = served != self.served or bool(self.refused), not self.synced.is_set()
        self.served, self.refused = served, ""
        self.doubted.clear()
        self.due.clear()
        self.synced.set()
        self.answered.set()
        if turned:
            _call(self._on_turned)
        if anew:
            _call(self._on_synced)

    def _put(self, key: str, document: Object) -> None:
        held, document = self.items.get(key), _trimmed(document, self.watch)
        if held == document:
            return
        if held is not None:
            self._leave(key, held)
        self.items[key] = document
        for name in self._indices:
            self._enter(name, key, document)
        self._tell(held, document)

    def _pop(self, key: str) -> None:
        held = self.items.pop(key)
        self._leave(key, held)
        self._tell(held, None)

    def _enter(self, name: str, key: str, document: Object) -> None:
        keys, table = self._indices[name]
        for value in keys(document):
            table.setdefault(value, set()).add(key)

    def _leave(self, key: str, document: Object) -> None:
        for keys, table in self._indices.values():
            for value in keys(document):
                with suppress(KeyError):
                    table[value].discard(key)
                    if not table[value]:
                        del table[value]

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for listener in self._listeners:
            try:
                listener(old, new)
            except Exception:
                # One listener's fault must not end the watch of all.
                _log.exception("%s: a listener failed", self.resource.plural)


def _call(listeners: Iterable[Callable[[], None]]) -> None:
    for listener in listeners:
        listener()


def _trimmed(document: Object, watch: Watch) -> Object:
    """The object without what nobody reads; only the changed levels are copied."""
    trimmed = _without(document, ["metadata", "managedFields"])
    if watch.owners and (entries := document["metadata"].get("managedFields")):
        kept = [_shared_fields(entry) for entry in entries if entry.get("subresource") != "status"]
        trimmed = {**trimmed, "metadata": {**trimmed["metadata"], "managedFields": kept}}
    for path in watch.drop:
        trimmed = _without(trimmed, path.split("."))
    return trimmed


def _shared_fields(entry: Object) -> Object:
    """An entry of managedFields, whose sets of fields are one object with the equal sets of other objects.

    They take more memory than all else of an object, and children of one kind differ in them by their owners alone.
    """
    fields = entry.get("fieldsV1")
    if not isinstance(fields, dict):
        return entry
    parts = {
        name: {element: _shared(below) for element, below in part.items()}
        for name, part in fields.items()
        if isinstance(part, dict)
    }
    return {**entry, "fieldsV1": {**fields, **parts}}


def _shared(below: Object) -> Object:
    try:
        text = orjson.dumps(below)
    except orjson.JSONEncodeError:  # it is nested deeper than can be written
        return below
    return _of_text(text) if len(text) <= _LONGEST_SHARED else below


@lru_cache(maxsize=1024)
def _of_text(text: bytes) -> Object:
    """The set of fields of this JSON."""
    found: Object = orjson.loads(text)
    return found


def _without(node: Object, path: list[str]) -> Object:
    if path[0] not in node:
        return node
    if len(path) == 1:
        return {key: value for key, value in node.items() if key != path[0]}
    child = node[path[0]]
    return {**node, path[0]: _without(child, path[1:])} if isinstance(child, dict) else node
