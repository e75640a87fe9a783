"""The stores of all watched resources, as operators read them: by place and by Millrace's labels.

There is one store for each resource, or, where only some namespaces are watched, one for each of them: their lists and
watches have versions of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from millrace_core.api.group import GROUP
from millrace_core.base.errors import RetryError
from millrace_kube.resources import (
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    JOBS,
    PODS,
    SCALED_OBJECTS,
    Object,
    Resource,
    labels_of,
    namespace_of,
)
from millrace_kube.store import Store
from millrace_kube.watched import WATCHED, Watch

Changed = Callable[[Resource, Object], None]

_SCALERS = (SCALED_OBJECTS, HORIZONTAL_POD_AUTOSCALERS)
_LABEL_PREFIX = f"{GROUP}/"


@dataclass(frozen=True)
class Scope:
    """Which namespaces are watched.

    Args:
        namespaces: those; empty: all.
        own: the operator's own, where Jobs purge what deleted views of the others stored.
    """

    namespaces: tuple[str, ...] = ()
    own: str = ""

    def of(self, resource: Resource) -> tuple[str, ...]:
        """The namespaces of which this resource is listed; one empty name for all at once."""
        if not self.namespaces:
            return ("",)
        if not resource.namespaced:
            return ()  # no right that a namespace gives reaches it
        return tuple(dict.fromkeys([*self.namespaces, *([self.own] if self.own and resource in (JOBS, PODS) else [])]))


EVERYWHERE = Scope()


class Cache:
    """What is watched.

    Attributes:
        stores: all of them, those of one resource beside each other.
    """

    def __init__(self, watched: Mapping[Resource, Watch] = WATCHED, scope: Scope = EVERYWHERE) -> None:
        self._stores = {
            resource: {namespace: Store(resource, watch, namespace) for namespace in scope.of(resource)}
            for resource, watch in watched.items()
        }
        self.stores = tuple(store for stores in self._stores.values() for store in stores.values())
        for store in self.stores:
            store.index("label", _labels)
            if store.resource in _SCALERS:
                store.index("scaled", _scaled)
            store.on_set_back(self.doubt)
            store.on_turned(partial(self._ask_others, store))

    def subscribe(self, changed: Changed) -> None:
        """Calls ``changed`` with every object that appears, changes or goes (then with its last known state)."""
        for store in self.stores:
            store.subscribe(_listener(store.resource, changed))

    def store(self, resource: Resource, namespace: str = "") -> Store | None:
        """The store that holds the objects of this namespace; None where they are not watched."""
        stores = self._stores.get(resource, {})
        return stores.get("") or stores.get(namespace)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        store = self.store(resource, namespace)
        return None if store is None else store.get(namespace, name)

    def select(self, resource: Resource, namespace: str, label: str, value: str) -> list[Object]:
        """Objects of a namespace with this Millrace label (``millrace.dev/…``) value, by name."""
        store = self.store(resource, namespace)
        return [] if store is None else store.by("label", (label, namespace, value))

    def scaling(self, resource: Resource, namespace: str, kind: Resource, name: str) -> list[Object]:
        """Objects of a scaler's kind whose ``spec.scaleTargetRef`` is this object, by name."""
        store = self.store(resource, namespace)
        return [] if store is None else store.by("scaled", (namespace, kind.kind, name))

    def all(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All objects, of one namespace or of all (None), by namespace and name."""
        items = {key: item for store in self._stores[resource].values() for key, item in store.items.items()}
        found = [items[key] for key in sorted(items)]
        return [item for item in found if namespace is None or namespace_of(item) == namespace]

    def watches(self, resource: Resource) -> bool:
        """Whether the resource is among those held here."""
        return resource in self._stores

    def served(self, resource: Resource, namespace: str) -> bool:
        """Whether the API server serves this kind (its CRD is installed), as of the last list or event.

        Asked of one namespace, because where single ones are watched one of their lists comes before the other, and
        what is empty because its kind has just gone must not be taken for what there is.
        """
        store = self.store(resource, namespace)
        return store is not None and store.served

    def stores_of(self, resources: Iterable[Resource], namespace: str | None = None) -> list[Store]:
        """The stores of these resources that may hold objects of the namespace; None: of any."""
        if namespace is None:
            return [store for resource in resources for store in self._stores[resource].values()]
        found = (self.store(resource, namespace) for resource in resources)
        return [store for store in found if store is not None]

    def doubt(self) -> None:
        """See ``Store.doubt``: one server holds all kinds, so what shows for one of them is so for all."""
        for store in self.stores:
            store.doubt()

    def _ask_others(self, turned: Store) -> None:
        """Where the first list of a namespace is refused, the others are due: a Role holds for all of them.

        By themselves they would find out one by one, as their watches end.
        """
        others = [store for store in self.stores if store.namespace == turned.namespace and store is not turned]
        if turned.refused and not any(store.refused for store in others):
            for store in others:
                store.due.set()

    @property
    def is_current(self) -> bool:
        """Whether every store has its list, and none is in doubt or refused."""
        return are_current(self.stores)

    def upsert(self, resource: Resource, document: Object) -> bool:
        """See ``Store.upsert``."""
        store = self.store(resource, namespace_of(document))
        return store is not None and store.upsert(document)

    def remove(self, resource: Resource, document: Object) -> bool:
        """See ``Store.remove``."""
        store = self.store(resource, namespace_of(document))
        return store is not None and store.remove(document)

    def replace(self, resource: Resource, documents: Iterable[Object], version: str) -> None:
        """See ``Store.replace``; of a cache of all namespaces."""
        self._stores[resource][""].replace(documents, int(version or 0))

    def clear(self, resource: Resource) -> None:
        """See ``Store.clear``."""
        for store in self._stores[resource].values():
            store.clear()


def are_current(stores: Iterable[Store]) -> bool:
    """Whether each has its list, and none is in doubt or refused."""
    return all(store.synced.is_set() for store in stores)


def must_be_served(cache: Cache, namespace: str, *resources: Resource) -> None:
    """Stops a reconcile while kinds of our own are not served: that nothing of them is there means nothing then.

    Raises:
        RetryError: one is not; a CRD may be on its way, or the API server is starting.
    """
    for resource in resources:
        if not cache.served(resource, namespace):
            raise RetryError(f"the API server does not serve {resource.plural}.{resource.group} just now", delay=5.0)


def must_be_current(cache: Cache, namespace: str, *resources: Resource) -> None:
    """Stops a reconcile that needs to know what there is in another namespace than its own.

    Raises:
        RetryError: it is not known, because the API server refuses to list it, or has not yet.
    """
    for store in cache.stores_of(resources, namespace):
        if not store.synced.is_set():
            why = store.refused or "not listed yet"
            raise RetryError(
                f"it is not known which {store.resource.plural} there are in {namespace}: {why}", delay=5.0
            )


def _listener(resource: Resource, changed: Changed) -> Callable[[Object | None, Object | None], None]:
    def listener(old: Object | None, new: Object | None) -> None:
        if found := new or old:
            changed(resource, found)

    return listener


def _scaled(document: Object) -> Iterator[tuple[str, str, str]]:
    target = (document.get("spec") or {}).get("scaleTargetRef") or {}
    # KEDA's default kind; a HorizontalPodAutoscaler always names one.
    yield namespace_of(document), str(target.get("kind") or DEPLOYMENTS.kind), str(target.get("name"))


def _labels(document: Object) -> Iterator[tuple[str, str, str]]:
    for label, value in labels_of(document).items():
        if label.startswith(_LABEL_PREFIX):
            yield label, namespace_of(document), value
