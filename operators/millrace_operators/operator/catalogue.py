"""Mirrors the three kinds into the registry, which keeps no truth of its own about definitions.

Never in the way: a reconcile knows nothing of it. Changes are gathered while a request is under way. A registry that is
down is logged once, and gets the whole catalogue when it is back. So does one whose catalogue is not as it was left: an
empty one, a restored one, one in whose part of this release somebody else wrote.

Nothing is sent before the API server has answered for everything, and nothing of a kind that it does not serve or of a
list that it refuses: of these it is not known what there is, and the registry keeps what it was told. So an empty list
that is sent means that there is nothing, and says so (``empties``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp

from millrace_core.api.in_effect import in_effect
from millrace_core.base import retry
from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.timeouts import ANSWER_SECONDS
from millrace_kube.cache import Cache
from millrace_kube.resources import (
    EXPERIMENTS,
    FEATURE_VIEWS,
    MODEL_DEPLOYMENTS,
    Object,
    Resource,
    name_of,
    namespace_of,
)
from millrace_kube.store import Store

_log = logging.getLogger(__name__)

_MIRRORED: Final = (FEATURE_VIEWS, MODEL_DEPLOYMENTS, EXPERIMENTS)
_GATHER_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 30.0
# How long it is waited at most between tries of a registry that is down: until then one that is new says nothing.
_RETRY_SECONDS: Final = 5.0
# Failures in a row, which take some seconds: a registry that starts beside the operator, or anew, is no fault.
_TOLD_AFTER: Final = 4
# From so many changes on, the whole list is fewer requests.
_MANY: Final = 50

Change = tuple[Resource, str, str]


class Release(NamedTuple):
    """Whose part of the catalogue is sent: several releases may share a registry.

    Args:
        name: the operator's own namespace, in which there is no other.
        namespaces: those that it acts on; None: all.
    """

    name: str
    namespaces: tuple[str, ...] | None = None


class CatalogueVersion(NamedTuple):
    """The release's part of the catalogue as the last request left it."""

    catalogue_id: str
    revision: int


class Mirror:
    """Follows ``cache``; ``run`` sends.

    Args:
        url: base URL of the registry.
        bearer: what is sent to it.
    """

    def __init__(self, cache: Cache, url: str, release: Release, bearer: Bearer = OPEN) -> None:
        self._cache = cache
        self._url = url.rstrip("/")
        self._release = release
        self._bearer = bearer
        self._stores = cache.stores_of(_MIRRORED)
        self._changes: set[Change] = set()
        self._changed = asyncio.Event()
        self._sent: CatalogueVersion | None = None
        # Those of which the registry has all since then.
        self._whole: set[Store] = set()
        cache.subscribe(self._note)
        for store in self._stores:
            store.on_synced(self._changed.set)

    def _note(self, resource: Resource, document: Object) -> None:
        if resource in _MIRRORED:
            self._changes.add((resource, namespace_of(document), name_of(document)))
            self._changed.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        failures = 0
        async with aiohttp.ClientSession(trust_env=True, timeout=timeout) as session:
            while True:
                try:
                    await self._synchronize(session)
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
                    self._sent = None
                    failures += 1
                    if failures == _TOLD_AFTER:
                        why = str(error) or type(error).__name__
                        _log.warning("the registry %s does not take the catalogue, trying on: %s", self._url, why)
                    await asyncio.sleep(retry.delay(failures, first=0.5, longest=_RETRY_SECONDS))
                    continue
                if failures >= _TOLD_AFTER:
                    _log.info("the registry %s has the catalogue again", self._url)
                failures = 0
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_GATHER_SECONDS)

    async def _synchronize(self, session: aiohttp.ClientSession) -> None:
        while not all(store.answered.is_set() for store in self._stores):
            for store in self._stores:
                await store.answered.wait()
        self._changed.clear()
        changes, self._changes = self._changes, set()
        state = await self._call(session, "GET", "/state")
        if len(changes) >= _MANY or _version(state) != self._sent:
            self._whole.clear()
        self._sent = _version(state)
        self._whole = {store for store in self._whole if _is_known(store)}
        for resource, namespace, name in sorted(changes, key=lambda change: (change[0].kind, *change[1:])):
            held = self._cache.store(resource, namespace)
            if held in self._whole and _is_known(held):
                await self._send(session, resource, namespace, name)
        for resource in _MIRRORED:
            missing = [each for each in self._cache.stores_of([resource]) if each not in self._whole]
            if known := [each for each in missing if _is_known(each)]:
                await self._send_all(session, resource, known)

    async def _send(self, session: aiohttp.ClientSession, resource: Resource, namespace: str, name: str) -> None:
        path = f"/{resource.kind}/{quote(namespace)}/{quote(name)}"
        document = self._cache.get(resource, namespace, name)
        if document is None:
            await self._call(session, "DELETE", path)
        else:
            await self._call(session, "PUT", path, _entry(document))

    async def _send_all(self, session: aiohttp.ClientSession, resource: Resource, stores: Sequence[Store]) -> None:
        items = [_entry(document) for store in stores for document in store.items.values()]
        empties = self._sent.revision if self._sent and not items else 0
        body: dict[str, Any] = {"items": items, "empties": empties}
        if self._release.namespaces is not None:
            body["namespaces"] = [store.namespace for store in stores]
            body["scope"] = self._release.namespaces
        await self._call(session, "PUT", f"/{resource.kind}", body)
        self._whole.update(stores)

    async def _call(self, session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> Any:
        url, release = f"{self._url}/v1/catalogue{path}", {"release": self._release.name}
        headers = self._bearer.headers()
        async with session.request(
            method, url, params=release, json=body, headers=headers, allow_redirects=False
        ) as answer:
            if method == "DELETE" and answer.status == 404:  # noqa: PLR2004 already gone is success
                return None
            answer.raise_for_status()
            content = await answer.json()
        if method != "GET":
            self._sent = _version(content)
        return content


def _is_known(store: Store | None) -> bool:
    """Whether what the store holds is what there is."""
    return store is not None and store.synced.is_set() and store.served


def _version(state: dict[str, Any]) -> CatalogueVersion:
    return CatalogueVersion(state["catalogueId"], state["releaseRevision"])


def _entry(document: Object) -> Object:
    kept = ("name", "namespace", "uid", "generation", "creationTimestamp", "labels", "annotations")
    metadata = {key: document["metadata"][key] for key in kept if key in document["metadata"]}
    found = {**document, "metadata": metadata}
    if document["kind"] != FEATURE_VIEWS.kind:
        return found
    # The gateway reads by what was accepted, which may not be what somebody wrote last.
    found = in_effect(found)
    if "status" in found:
        found["status"] = {key: value for key, value in found["status"].items() if key != "definition"}
    return found
