"""What the API server refuses to list: told in the log once per loss and at its end, by a metric, and by health.

A Role gives all of a namespace or nothing, and the cache asks for the other kinds once one is refused, so what is lost
within a moment is one line. Another one follows only where more is lost.
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
# A list that hangs holds up what is said of the others no longer.
_MOST_GATHERED: Final = 30


class RefusedLists:
    """Follows the stores of a cache; ``run`` logs.

    Args:
        own_namespace: the operator's.
    """

    def __init__(self, cache: Cache, metrics: KubeMetrics, own_namespace: str) -> None:
        self._cache = cache
        self._metrics = metrics
        self._own = own_namespace
        self._told: dict[str, set[str]] = {}
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
            await self._all_asked()
            self._changed.clear()
            self._tell()

    async def _all_asked(self) -> None:
        """Waits until the lists that are due are answered, so that one line says all that is lost."""
        for _ in range(_MOST_GATHERED):
            await asyncio.sleep(_GATHER_SECONDS)
            if not any(store.due.is_set() or not store.answered.is_set() for store in self._cache.stores):
                return

    def _note(self) -> None:
        self._changed.set()
        self._metrics.refused.clear()
        for namespace, stores in self._by_namespace().items():
            for store in stores:
                self._metrics.refused.labels(namespace, store.resource.kind).set(1)

    def _tell(self) -> None:
        refused = self._by_namespace()
        for namespace, stores in refused.items():
            told = self._told.setdefault(namespace, set())
            if not told.issuperset(_plurals(stores)):
                _log.warning("%s", _refusal(namespace, stores, self._own))
                told.update(_plurals(stores))
        for namespace in self._told.keys() - refused.keys():
            _log.info("%s: the API server lists everything again", _place(namespace))
            del self._told[namespace]

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
