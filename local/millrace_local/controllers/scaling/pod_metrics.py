"""Reads the load from the pods' own ``/metrics``, where there is no Prometheus that does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import aiohttp

from millrace_core.api import names
from millrace_core.base.errors import RetryError
from millrace_core.base.lazy_import import lazy_import
from millrace_kube.informer import Informers
from millrace_kube.resources import DEPLOYMENTS, PODS, Object, labels_of, name_of, namespace_of
from millrace_kube.selectors import matches_map
from millrace_local.controllers.pods import is_ready
from millrace_local.controllers.scaling.promql import Series, Term, value

if TYPE_CHECKING:
    from prometheus_client import parser
else:
    # Few clusters scale by what pods show.
    parser = lazy_import("prometheus_client.parser")

TIMEOUT_SECONDS: Final = 2.0
# No window of a query is longer, as far as points are kept.
KEPT_SECONDS: Final = 300.0

History = dict[Series, list[tuple[datetime, float]]]


class PodMetrics:
    """What the pods of Deployments have shown so far, of the metrics that were asked for."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._history: dict[str, History] = {}

    def wire(self, informers: Informers) -> None:
        """Subscribes; before the informers run."""
        self._pods = informers.of(PODS)
        self._deployments = informers.of(DEPLOYMENTS)

    def forget(self, key: str) -> None:
        """Drops what is kept of a Deployment (``namespace/name``)."""
        self._history.pop(key, None)

    async def value(self, key: str, terms: Sequence[Term]) -> float | None:
        """What a query gives; None where no ready pod shows a series for it.

        Args:
            key: the Deployment, ``namespace/name``. The pods of all revisions of its ModelDeployment count.

        Raises:
            RetryError: a ready pod does not answer, so that a sum would be too small.
        """
        pods = self._ready_pods(key)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session:
            shown = await asyncio.gather(*(_scrape(session, pod) for pod in pods))
        now, wanted = self._now(), {term.name for term in terms}
        before, history = self._history.get(key, {}), {}
        for pod, text in zip(pods, shown, strict=True):
            for series, number in samples(text, pod, wanted):
                kept = [point for point in before.get(series, ()) if now - point[0] < timedelta(seconds=KEPT_SECONDS)]
                history[series] = [*kept, (now, number)]
        self._history[key] = history
        return value(terms, history, now)

    def _ready_pods(self, key: str) -> list[Object]:
        deployment = self._deployments.items.get(key)
        if deployment is None:
            return []
        selector = dict((deployment["spec"].get("selector") or {}).get("matchLabels") or {})
        selector.pop(names.REVISION, None)
        namespace = namespace_of(deployment)
        return [
            pod
            for pod in self._pods.items.values()
            if namespace_of(pod) == namespace and matches_map(selector, labels_of(pod)) and is_ready(pod)
        ]


async def _scrape(session: aiohttp.ClientSession, pod: Object) -> str:
    address, port = (pod.get("status") or {}).get("podIP"), _port(pod)
    if port is None:
        return ""
    try:
        async with session.get(f"http://{address}:{port}/metrics") as response:
            response.raise_for_status()
            return await response.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise RetryError(
            f"the pod {name_of(pod)} does not show its metrics: {error or type(error).__name__}"
        ) from error


def _port(pod: Object) -> int | None:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return int(ports[0]["containerPort"]) if ports else None


def samples(text: str, pod: Object, wanted: set[str]) -> list[tuple[Series, float]]:
    """The samples of the metrics wanted, with the labels that a Prometheus adds."""
    added = {"namespace": namespace_of(pod), "pod": name_of(pod)}
    # The parser takes a second for a million samples, and a pod shows hundreds that nobody asked for.
    lines = "".join(f"{line}\n" for line in text.splitlines() if line.startswith(tuple(wanted)))
    try:
        return [
            (Series(sample.name, frozenset({**sample.labels, **added}.items())), float(sample.value))
            for family in parser.text_string_to_metric_families(lines)
            for sample in family.samples
            if sample.name in wanted
        ]
    except ValueError as error:
        raise RetryError(f"the pod {name_of(pod)} shows metrics that cannot be read: {error}") from error
