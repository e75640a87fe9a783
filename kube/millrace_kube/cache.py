"""The last known state of every watched object, indexed by Millrace's labels.

The cache may lag behind the API server but never goes back in time: an older resource version than the one held
(a stale list, a late watch event after our own write) is ignored. Resource versions are compared as integers, as
Kubernetes declares them comparable (KEP-5504).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from millrace_core.api.base import GROUP
from millrace_kube.resources import Object, Resource, labels_of, name_of, namespace_of, version_of
from millrace_kube.watched import WATCHED, Watch

Place = tuple[str, str]
Changed = Callable[[Resource, Object], None]

_LABEL_PREFIX = f"{GROUP}/"


class Cache:
    """Objects by resource, namespace and name."""

    def __init__(self, resources: Mapping[Resource, Watch] = WATCHED) -> None:
        self.resources = resources
        self._subscribers: list[Changed] = []
        self._stores = {resource: _Store() for resource in self.resources}

    def subscribe(self, changed: Changed) -> None:
        """Calls ``changed`` with every object that appears, changes or goes (then with its last known state)."""
        self._subscribers.append(changed)

    def _changed(self, resource: Resource, document: Object) -> None:
        for changed in self._subscribers:
            changed(resource, document)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._stores[resource].objects.get((namespace, name))

    def select(self, resource: Resource, namespace: str, label: str, value: str) -> list[Object]:
        """Objects of a namespace with this Millrace label (``millrace.dev/…``) value, by name."""
        store = self._stores[resource]
        places = store.by_label.get((label, namespace, value), ())
        return [store.objects[place] for place in sorted(places)]

    def all(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All objects, of one namespace or of all (None), by namespace and name."""
        objects = self._stores[resource].objects
        return [objects[place] for place in sorted(objects) if namespace is None or place[0] == namespace]

    def watches(self, resource: Resource) -> bool:
        """Whether the resource is among those held here."""
        return resource in self._stores

    def served(self, resource: Resource) -> bool:
        """Whether the API server serves this kind (its CRD is installed), as of the last list or event."""
        return self._stores[resource].served

    def upsert(self, resource: Resource, document: Object) -> bool:
        """Takes an object from a watch event or a write's answer; False where what is held is as new."""
        store = self._stores[resource]
        store.served = True
        place, version = _place(document), version_of(document)
        held = store.objects.get(place)
        if version <= max(version_of(held) if held else -1, store.gone.get(place, -1)):
            return False
        document = _trimmed(document, self.resources[resource])
        store.put(place, document)
        self._changed(resource, document)
        return True

    def remove(self, resource: Resource, document: Object) -> bool:
        """Takes the deletion of an object, at its last resource version; False where it is not held."""
        store = self._stores[resource]
        place, version = _place(document), version_of(document)
        held = store.objects.get(place)
        store.gone[place] = max(version, store.gone.get(place, -1))
        if held is None or version_of(held) > version:
            return False
        store.pop(place)
        self._changed(resource, document)
        return True

    def replace(self, resource: Resource, documents: Iterable[Object], version: str) -> None:
        """Takes a whole list at its resource version: what is not in it, and is not newer than it, has gone."""
        store = self._stores[resource]
        store.served = True
        listed = set()
        for document in documents:
            listed.add(_place(document))
            self.upsert(resource, document)
        for place, held in list(store.objects.items()):
            if place not in listed and version_of(held) <= int(version or 0):
                store.pop(place)
                self._changed(resource, held)
        store.gone = {place: gone for place, gone in store.gone.items() if gone > int(version or 0)}

    def unserved(self, resource: Resource) -> None:
        """Takes that the kind is not served: nothing of it exists."""
        self.replace(resource, (), str(2**63))
        self._stores[resource].served = False


class _Store:
    """One resource's objects; ``gone`` holds the versions at which objects were deleted since the last list."""

    def __init__(self) -> None:
        self.objects: dict[Place, Object] = {}
        self.by_label: defaultdict[tuple[str, str, str], set[Place]] = defaultdict(set)
        self.gone: dict[Place, int] = {}
        self.served = False

    def put(self, place: Place, document: Object) -> None:
        held = self.objects.get(place)
        if held is None or labels_of(held) != labels_of(document):
            self.pop(place)
            for entry in _entries(place, labels_of(document)):
                self.by_label[entry].add(place)
        self.objects[place] = document

    def pop(self, place: Place) -> None:
        held = self.objects.pop(place, None)
        for entry in _entries(place, labels_of(held)) if held else ():
            self.by_label[entry].discard(place)
            if not self.by_label[entry]:
                del self.by_label[entry]


def _entries(place: Place, marks: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [(label, place[0], value) for label, value in marks.items() if label.startswith(_LABEL_PREFIX)]


def _place(document: Object) -> Place:
    return namespace_of(document), name_of(document)


def _trimmed(document: Object, watch: Watch) -> Object:
    """The object without what nobody reads; only the changed levels are copied."""
    trimmed = _without(document, ["metadata", "managedFields"])
    for path in watch.drop:
        trimmed = _without(trimmed, path.split("."))
    return trimmed


def _without(node: Object, path: list[str]) -> Object:
    if path[0] not in node:
        return node
    if len(path) == 1:
        return {key: value for key, value in node.items() if key != path[0]}
    child = node[path[0]]
    return {**node, path[0]: _without(child, path[1:])} if isinstance(child, dict) else node
