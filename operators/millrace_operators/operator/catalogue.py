"""Mirrors the three kinds into the registry, which keeps no truth of its own about definitions.

Never in the way: a reconcile knows nothing of it. Changes are gathered while a request is under way. A registry that is
down is logged once, and gets the whole catalogue when it is back, as does one that has restarted (``bootId``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from millrace_core.base import retry
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

_log = logging.getLogger(__name__)

_MIRRORED: Final = (FEATURE_VIEWS, MODEL_DEPLOYMENTS, EXPERIMENTS)
_GATHER_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 30.0
# From so many changes on, the whole list is fewer requests.
_MANY: Final = 50

Change = tuple[Resource, str, str]


class Mirror:
    """Follows ``cache``; ``run`` sends.

    Args:
        url: base URL of the registry.
    """

    def __init__(self, cache: Cache, url: str) -> None:
        self._cache = cache
        self._url = url.rstrip("/")
        self._changes: set[Change] = set()
        self._changed = asyncio.Event()
        self._boot_id = ""
        cache.subscribe(self._note)

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
                    self._boot_id = ""
                    failures += 1
                    if failures == 1:
                        _log.warning("the registry %s does not take the catalogue, trying on: %r", self._url, error)
                    await asyncio.sleep(retry.delay(failures, first=2.0, longest=_POLL_SECONDS))
                    continue
                if failures:
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
        self._changed.clear()
        changes, self._changes = self._changes, set()
        # No namespace is called "-", so this answers the boot id and no item.
        boot_id = (await self._call(session, "GET", "?namespace=-"))["bootId"]
        if boot_id != self._boot_id or len(changes) >= _MANY:
            for resource in _MIRRORED:
                items = [_entry(document) for document in self._cache.all(resource)]
                await self._call(session, "PUT", f"/{resource.kind}", {"items": items})
            self._boot_id = boot_id
            return
        for resource, namespace, name in sorted(changes, key=lambda change: (change[0].kind, *change[1:])):
            path = f"/{resource.kind}/{quote(namespace)}/{quote(name)}"
            document = self._cache.get(resource, namespace, name)
            if document is None:
                await self._call(session, "DELETE", path)
            else:
                await self._call(session, "PUT", path, _entry(document))

    async def _call(self, session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> Any:
        async with session.request(method, f"{self._url}/v1/catalogue{path}", json=body) as answer:
            if method != "DELETE" or answer.status != 404:  # noqa: PLR2004 already gone is success
                answer.raise_for_status()
            return await answer.json() if method == "GET" else None


def _entry(document: Object) -> Object:
    kept = ("name", "namespace", "uid", "generation", "creationTimestamp", "labels", "annotations")
    metadata = {key: document["metadata"][key] for key in kept if key in document["metadata"]}
    return {**document, "metadata": metadata}
