"""What the API server refuses to list: told in the log once per change, by a metric, and by the health endpoint.

A Role gives all of a namespace or nothing, so what changes within a moment is one line.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from millrace_kube.cache import Cache
from millrace_kube.metrics import KubeMetrics
from millrace_kube.store import Store

_log = logging.getLogger(__name__)

_GATHER_SECONDS: Final = 1.0


class RefusedLists:
    """Follows the stores of a cache; ``run`` logs.

    Args:
        own_namespace: the operator's.
    """

    def __init__(self, cache: Cache, metrics: KubeMetrics, own_namespace: str) -> None:
        self._cache = cache
        self._metrics = metrics
        self._own = own_namespace
        self._told: dict[str, tuple[str, ...]] = {}
        self._changed = asyncio.Event()
        for store in cache.stores:
            store.on_turned(self._note)

    def shown(self) -> str:
        """What is refused, for people; empty where nothing is."""
        found = self._by_namespace().items()
        return "; ".join(f"{_place(namespace)}: {', '.join(_plurals(stores))}" for namespace, stores in found)

    async def run(self) -> None:
        """Logs until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._changed.clear()
            self._tell()

    def _note(self) -> None:
        self._changed.set()
        self._metrics.refused.clear()
        for namespace, stores in self._by_namespace().items():
            for store in stores:
                self._metrics.refused.labels(namespace, store.resource.kind).set(1)

    def _tell(self) -> None:
        refused = self._by_namespace()
        now = {namespace: _plurals(stores) for namespace, stores in refused.items()}
        for namespace, plurals in now.items():
            if plurals != self._told.get(namespace):
                _log.warning("%s", _refusal(namespace, refused[namespace], self._own))
        for namespace in self._told.keys() - now.keys():
            _log.info("%s: the API server lists everything again", _place(namespace))
        self._told = now

    def _by_namespace(self) -> Mapping[str, list[Store]]:
        found: dict[str, list[Store]] = {}
        for store in self._cache.stores:
            if store.refused:
                found.setdefault(store.namespace, []).append(store)
        return found


def _refusal(namespace: str, stores: list[Store], own: str) -> str:
    return (
        f"{_place(namespace)}: the API server refuses to list {', '.join(_plurals(stores))} ({stores[0].refused}). "
        "What depends on these waits there, all else goes on. To grant it: "
        f"helm upgrade RELEASE CHART --namespace {own} --reuse-values"
        + (f" (it makes the Role and RoleBinding millrace-operator of {namespace} anew)" if namespace else "")
    )


def _plurals(stores: list[Store]) -> tuple[str, ...]:
    return tuple(store.resource.plural for store in stores)


def _place(namespace: str) -> str:
    return f"namespace {namespace}" if namespace else "all namespaces"
