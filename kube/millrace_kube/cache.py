"""The stores of all watched resources, as operators read them: by place and by Millrace's labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from millrace_core.api.base import GROUP
from millrace_core.base.errors import RetryError
from millrace_kube.resources import Object, Resource, labels_of, namespace_of
from millrace_kube.store import Store
from millrace_kube.watched import WATCHED, Watch

Changed = Callable[[Resource, Object], None]

_LABEL_PREFIX = f"{GROUP}/"


class Cache:
    """One store for each watched resource."""

    def __init__(self, watched: Mapping[Resource, Watch] = WATCHED) -> None:
        self.stores = {resource: Store(resource, watch) for resource, watch in watched.items()}
        for store in self.stores.values():
            store.index("label", _labels)
            store.on_set_back(self.doubt)

    def subscribe(self, changed: Changed) -> None:
        """Calls ``changed`` with every object that appears, changes or goes (then with its last known state)."""
        for resource, store in self.stores.items():
            store.subscribe(_listener(resource, changed))

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self.stores[resource].get(namespace, name)

    def select(self, resource: Resource, namespace: str, label: str, value: str) -> list[Object]:
        """Objects of a namespace with this Millrace label (``millrace.dev/…``) value, by name."""
        return self.stores[resource].by("label", (label, namespace, value))

    def all(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All objects, of one namespace or of all (None), by namespace and name."""
        items = self.stores[resource].items
        found = [items[key] for key in sorted(items)]
        return [item for item in found if namespace is None or namespace_of(item) == namespace]

    def watches(self, resource: Resource) -> bool:
        """Whether the resource is among those held here."""
        return resource in self.stores

    def served(self, resource: Resource) -> bool:
        """Whether the API server serves this kind (its CRD is installed), as of the last list or event."""
        return self.stores[resource].served

    def doubt(self) -> None:
        """See ``Store.doubt``: one server holds all kinds, so what shows for one of them is so for all."""
        for store in self.stores.values():
            store.doubt()

    async def current(self) -> None:
        """Returns once every store has its list, and none is in doubt."""
        while not self.is_current:
            for store in self.stores.values():
                await store.synced.wait()

    @property
    def is_current(self) -> bool:
        """Whether every store has its list, and none is in doubt."""
        return all(store.synced.is_set() for store in self.stores.values())

    def upsert(self, resource: Resource, document: Object) -> bool:
        """See ``Store.upsert``."""
        return self.stores[resource].upsert(document)

    def remove(self, resource: Resource, document: Object) -> bool:
        """See ``Store.remove``."""
        return self.stores[resource].remove(document)

    def replace(self, resource: Resource, documents: Iterable[Object], version: str) -> None:
        """See ``Store.replace``."""
        self.stores[resource].replace(documents, int(version or 0))


def must_be_served(cache: Cache, *resources: Resource) -> None:
    """Stops a reconcile while kinds of our own are not served: that nothing of them is there means nothing then.

    Raises:
        RetryError: one is not; a CRD may be on its way, or the API server is starting.
    """
    for resource in resources:
        if not cache.served(resource):
            raise RetryError(f"the API server does not serve {resource.plural}.{resource.group} just now", delay=5.0)


def _listener(resource: Resource, changed: Changed) -> Callable[[Object | None, Object | None], None]:
    def listener(old: Object | None, new: Object | None) -> None:
        if found := new or old:
            changed(resource, found)

    return listener


def _labels(document: Object) -> Iterator[tuple[str, str, str]]:
    for label, value in labels_of(document).items():
        if label.startswith(_LABEL_PREFIX):
            yield label, namespace_of(document), value
