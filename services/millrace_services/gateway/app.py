"""The gateway as a service: feature reads as a raw handler, definitions refreshed behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from math import nan
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import Response

from millrace_core.base import duration
from millrace_core.features.definition.definition import Definition
from millrace_core.features.types import times
from millrace_data.objects.door import Door
from millrace_services.gateway.admission import Admission
from millrace_services.gateway.arrow_bodies import ArrowBodies
from millrace_services.gateway.comparing import Comparisons
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.evaluations import Evaluations
from millrace_services.gateway.experiments.routes import ExperimentRoutes
from millrace_services.gateway.feast_runs import FeastRuns
from millrace_services.gateway.kept_copy import KeptCopy
from millrace_services.gateway.service import FeatureReads, ReadMetrics
from millrace_services.gateway.settings import GatewaySettings
from millrace_services.gateway.store import RowStore
from millrace_services.web.errors import body_of
from millrace_services.web.hot import Answer, Call
from millrace_services.web.metrics import Metrics
from millrace_services.web.service import Service

if TYPE_CHECKING:
    from millrace_services.gateway.push import Pushes

REGISTRY_SECONDS = 5.0
# Below it Feast's clients find what Feast's feature server has: their ``path`` is http://<gateway>/feast.
FEAST = "/feast"
NOT_IMPLEMENTED = 501
# Arrow comes with it, which takes half a second, and 60 MB, that gateways without pushes need not pay.
_PUSH = "millrace_services.gateway.push"
_NANOSECONDS = 1000


def now_microseconds() -> int:
    """The present moment, microseconds since 1970 UTC."""
    return time.time_ns() // _NANOSECONDS


def _expression_errors(metrics: Metrics) -> Callable[[tuple[str, str], Mapping[str, int]], None]:
    """Counts rows by the view, of a namespace, and by the feature whose expression failed."""
    count_errors = metrics.labelled_counter(
        "millrace_gateway_expression_errors",
        "Rows of reads and pushes for which the expression of a feature failed, so that its value is null",
        "namespace",
        "view",
        "feature",
    )

    def count(view: tuple[str, str], errors: Mapping[str, int]) -> None:
        for feature, rows in errors.items():
            count_errors((*view, feature), rows)

    return count


class Gateway:
    """Owns what lives as long as the server: the store's connections, the registry's client, the definitions."""

    def __init__(self, settings: GatewaySettings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._door = Door(settings.outgoing)
        self._tolerance = duration.microseconds(settings.push_tolerance, field="MILLRACE_PUSH_TOLERANCE")
        self._reads: FeatureReads | None = None
        self._made: tuple[Definitions, RowStore] | None = None
        self._pushes: Pushes | None = None
        self._runs: FeastRuns | None = None
        self._bearer = settings.bearer()
        self.service = Service("Millrace gateway", settings, self._lifespan, bearer=self._bearer)
        self.service.health.add("definitions", self._check)
        self._evaluations = Evaluations()
        admission = self._admission = Admission(settings.push_bytes)
        self.service.hot("POST", "/push", self._push, gate=admission)
        self._add_feasts_routes()
        self._experiments = ExperimentRoutes(self.service, settings, environ, now_microseconds)
        Comparisons(self.service, settings, environ, now_microseconds)
        self.service.api.get("/v1/feature-views/{namespace}/{name}/online")(self._online)
        self.service.metrics.gauge("millrace_gateway_push_bytes", "Bytes of pushes in work", lambda: admission.taken)
        metrics = self.service.metrics
        metrics.gauge(
            "millrace_gateway_definitions_age_seconds",
            "Seconds since the registry last said that the definitions are its newest; NaN before it did",
            lambda: self._made[0].age if self._made else nan,
        )
        self._pushed = metrics.tally(
            "millrace_gateway_pushed_rows", "Rows of pushes by what became of them", "outcome"
        ).counts
        self._expression_errors = _expression_errors(metrics)
        self._read_metrics = ReadMetrics(
            metrics.tally("millrace_gateway_values", "Values that reads answered, by status", "status").counts,
            metrics.histogram("millrace_gateway_store_seconds", "Seconds that reads waited for the store").series(),
            metrics.counter("millrace_gateway_unreadable_schemas", "Schemas of stored rows that nothing knows").inc,
            self._expression_errors,
        )

    def _add_feasts_routes(self) -> None:
        """What Feast's clients know, in Feast's forms. Nobody else writes to the online store by these names."""
        for path in (f"{FEAST}/push", f"{FEAST}/write-to-online-store", "/write-to-online-store"):
            self.service.hot("POST", path, partial(self._push, feast=True), gate=self._admission)
        for path in (f"{FEAST}/health", "/health"):
            self.service.api.get(path)(self._feasts_health)
        for path in ("materialize", "materialize-incremental"):
            handler = partial(self._feasts_materialize, incremental=path != "materialize")
            serves = self._settings.materialize
            self.service.hot("POST", f"{FEAST}/{path}", handler if serves else self._no_materialize)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        settings = self._settings
        store = RowStore(settings.store_url, settings.store_timeout_seconds)
        async with httpx.AsyncClient(base_url=settings.registry_url, timeout=REGISTRY_SECONDS) as client:
            definitions = Definitions(client, settings.refresh_seconds, KeptCopy(store), self._bearer)
            bodies = ArrowBodies(settings.max_rows, settings.max_body_bytes, Admission(settings.push_bytes))
            self._reads = FeatureReads(
                definitions,
                store,
                settings.project,
                settings.max_rows,
                bodies,
                self._evaluations,
                now_microseconds,
                replace(self._read_metrics, spans=self.service.spans),
            )
            # Without a step between: it is the hottest route that there is.
            self.service.hot("POST", "/get-online-features", self._reads.handle)
            self.service.hot("POST", "/get-feature-metadata", self._reads.describe)
            self.service.hot("POST", f"{FEAST}/get-online-features", partial(self._reads.handle, feast=True))
            self._made = definitions, store
            refreshing = asyncio.create_task(definitions.run())
            try:
                # Nothing is accepted before it can be answered, if there is anything to answer it by.
                await definitions.first_look()
                if any(view.source.push is not None for view in definitions.current.views.values()):
                    await asyncio.to_thread(import_module, _PUSH)  # the loop stands still meanwhile: nobody waits yet
                async with self._experiments.running(definitions, store):
                    yield
            finally:
                refreshing.cancel()
                with suppress(asyncio.CancelledError):
                    await refreshing
                if self._runs is not None:
                    await self._runs.close()
                store.close()
                self._evaluations.close()

    async def _push(self, call: Call, *, feast: bool = False) -> Answer:
        if self._made is None:
            raise RuntimeError("the gateway answers before it started")
        if self._pushes is None:
            push = await asyncio.to_thread(import_module, _PUSH)
            bodies = ArrowBodies(None, self._settings.max_body_bytes, self._admission)
            self._pushes = self._pushes or push.Pushes(
                *self._made,
                self._settings.project,
                self._append,
                bodies,
                self._evaluations,
                self._pushed,
                self._expression_errors,
                now_microseconds,
                self._tolerance,
            )
        return await self._pushes.handle(call, feast=feast)

    def _append(self, definition: Definition, rows: Any, push: str) -> None:
        from millrace_data.sources.credentials import Credentials  # noqa: PLC0415 Arrow comes with it
        from millrace_data.sources.push_log import PushLog  # noqa: PLC0415

        credentials = Credentials.load(self._environ).through(self._door)
        PushLog(definition, credentials).append(rows, push, now_microseconds())

    async def _online(self, namespace: str, name: str) -> dict[str, str | None]:
        """How far the store has a view, for the operator, which keeps it so and has no way to the store."""
        if self._made is None:
            raise RuntimeError("the gateway answers before it started")
        found = await self._made[1].watermark(namespace, name)
        return {"watermark": None if found is None else times.render(found)}

    async def _feasts_health(self) -> Response:
        """What Feast's server answers for health: 200 or 503, without a body."""
        return Response(status_code=200 if (await self.service.health.readiness()).ready else 503)

    async def _no_materialize(self, _: Call) -> Answer:
        """Feast's clients see the reason: they show the body of what is no success."""
        sentence = (
            "this gateway starts no runs, because its setting MILLRACE_MATERIALIZE is off (the chart's "
            "gateway.materialize); each view's own schedule does. For a run now: kubectl annotate featureview VIEW "
            '--overwrite millrace.dev/command="<a new id>:materialize" (or "<a new id>:materialize <start> <end>"), '
            "or millrace features materialize VIEW"
        )
        return Answer(NOT_IMPLEMENTED, body_of(sentence, "NotSupported"))

    async def _feasts_materialize(self, call: Call, *, incremental: bool) -> Answer:
        if self._made is None:
            raise RuntimeError("the gateway answers before it started")
        if self._runs is None:
            self._runs = FeastRuns.of(self._settings, self._environ, *self._made, now_microseconds)
        return await self._runs.handle(call, incremental=incremental)

    async def _check(self) -> str:
        if self._reads is None or not self._reads.definitions.loaded:
            return (
                f"no definitions yet: the registry at {self._settings.registry_url} gives none, and the online store "
                "has no copy"
            )
        return ""


def build(settings: GatewaySettings, environ: Mapping[str, str]) -> Service:
    """The gateway's service; ``environ`` has the credentials of logs that are kept on S3 (``Credentials``)."""
    return Gateway(settings, environ).service
