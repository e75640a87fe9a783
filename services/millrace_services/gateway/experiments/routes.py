"""The routes of experiments, and what lives behind them as long as the gateway."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from millrace_core.api import names
from millrace_core.base import duration
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace_core.base.settings import with_secret
from millrace_data.objects.door import Door
from millrace_data.online import experiment_sums, sums_state
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.experiments.assigning import ASSIGNED, HELD_OUT, NOT_RUNNING, OVERRIDDEN, Assigning
from millrace_services.gateway.experiments.checks import Checks
from millrace_services.gateway.experiments.outcomes import STATUSES, Outcomes
from millrace_services.gateway.experiments.recorder import Recorder
from millrace_services.gateway.experiments.store import SumsStore, answer
from millrace_services.gateway.settings import GatewaySettings
from millrace_services.gateway.store import RowStore
from millrace_services.web.hot import Answer, Call
from millrace_services.web.service import Service

if TYPE_CHECKING:
    from millrace_core.experiments.published import PublishedExperiment
    from millrace_services.gateway.experiments.logs import Logs

logger = logging.getLogger(__name__)

_REOPEN_SECONDS: Final = 1.0


class RebuildRequest(BaseModel):
    """The body of a rebuild: logs of gateways that are given up, by uid."""

    model_config = ConfigDict(extra="forbid")

    without: list[str] = []


class ExperimentRoutes:
    """Adds the routes to the gateway's service."""

    def __init__(
        self, service: Service, settings: GatewaySettings, environ: Mapping[str, str], now: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._now = now
        self._tolerance = duration.microseconds(settings.push_tolerance, field="MILLRACE_PUSH_TOLERANCE")
        self._made: tuple[Definitions, SumsStore] | None = None
        self._recorder: Recorder | None = None
        self._assigning: Assigning | None = None
        self._outcomes: Outcomes | None = None
        self._failure: MillraceError | None = None
        metrics = service.metrics
        self._assigned = metrics.tally(
            "millrace_gateway_assigned_units", "Units of /assign, by reason", "reason"
        ).counts
        self._came = metrics.tally("millrace_gateway_outcomes", "Outcomes, by what became of them", "status").counts
        checked = metrics.tally(
            "millrace_gateway_assignment_checks", "Requests of which a mesh asked for the arm, by reason", "reason"
        ).counts
        self._checks = Checks(checked, service.refuses)
        for reason in (ASSIGNED, HELD_OUT, OVERRIDDEN, NOT_RUNNING):
            self._assigned[reason] = 0
        for status in STATUSES:
            self._came[status] = 0
        metrics.gauge(
            "millrace_gateway_evidence_log_bytes",
            "Bytes of exposures and outcomes that are not in the lake",
            lambda: self._recorder.logs.bytes() if self._recorder else 0,
        )
        metrics.gauge(
            "millrace_gateway_evidence_log_behind",
            "Files of exposures and outcomes that the online store has not in full",
            lambda: self._recorder.logs.behind if self._recorder else 0,
        )
        service.hot("POST", "/assign", self._assign)
        service.hot_below(names.CHECK_PATH, self._checks.handle)
        service.hot("POST", "/outcomes", self._take)
        service.api.get("/experiments/{namespace}/{name}/sums")(self._sums)
        service.api.post("/experiments/{namespace}/{name}/rebuild")(self._rebuild)

    @asynccontextmanager
    async def running(self, definitions: Definitions, store: RowStore) -> AsyncIterator[None]:
        """Has the logs open meanwhile."""
        self._made = definitions, SumsStore(store, self._now)
        task = asyncio.create_task(self._run(*self._made)) if self._settings.evidence_log is not None else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            if self._recorder is not None:
                await self._recorder.close()

    async def _run(self, definitions: Definitions, store: SumsStore) -> None:
        while self._recorder is None:
            try:
                logs: Logs = await asyncio.to_thread(self._open)
            except MillraceError as error:
                if self._failure is None:
                    logger.warning("the log of exposures and outcomes cannot be opened: %s", error)
                self._failure = error
                await asyncio.sleep(_REOPEN_SECONDS)
                continue
            self._failure = None
            self._recorder = Recorder(
                logs,
                store,
                lambda: definitions.experiments if definitions.loaded else None,
                self._now,
                platform.node(),
            )
        project, recorder = self._settings.project, self._recorder
        self._assigning = Assigning(definitions, project, store, recorder.exposures, self._assigned, self._now)
        self._checks.assigning = self._assigning
        self._outcomes = Outcomes(definitions, project, recorder.outcomes, self._came, self._now, self._tolerance)
        await recorder.run()

    def _open(self) -> Logs:
        # Arrow comes with it, which takes half a second that gateways without experiments need not pay.
        logs = import_module("millrace_services.gateway.experiments.logs")
        from millrace_data.evidence.lake import Lake  # noqa: PLC0415

        settings = self._settings
        secrets, door = with_secret(self._environ), Door(settings.outgoing)
        opened: list[Lake] = []

        def lake() -> Lake:
            if not opened:
                opened.append(Lake(settings.lake_uri, secrets, door, field="MILLRACE_LAKE_URI"))
            return opened[0]

        made: Logs = logs.Logs(settings.evidence_log, lake if settings.lake_uri else None, settings.evidence_bytes)
        return made

    async def _assign(self, call: Call) -> Answer:
        if self._assigning is None:
            raise self._closed()
        return await self._assigning.handle(call)

    async def _take(self, call: Call) -> Answer:
        if self._outcomes is None:
            raise self._closed()
        return await self._outcomes.handle(call)

    async def _sums(self, namespace: str, name: str) -> Response:
        """The sums, for the operator."""
        experiment, store = self._experiment(namespace, name)
        stored, now = await store.read(experiment), self._now()
        if lacking := sums_state.lacking(experiment, stored, now):
            filled = stored.whole == experiment_sums.metrics_digest(experiment)
            gone = sums_state.missing(stored.logs, now, anew=not filled)
            raise RetryError(
                f"the sums of {namespace}/{name} are not whole: they lack {lacking}",
                hint="Start a gateway on its volume, or go on without what it had: "
                f"millrace outcomes rebuild {name} -n {namespace} {sums_state.without(gone)} "
                "--gateway URL, with the URL of this gateway"
                if gone
                else "Gateways fill them by themselves; if this lasts, see what they log",
                reason="SumsNotWhole",
            )
        sums = answer(experiment, stored, now)
        return Response(sums.model_dump_json(by_alias=True, exclude_none=True), media_type="application/json")

    async def _rebuild(self, namespace: str, name: str, request: RebuildRequest | None = None) -> dict[str, Any]:
        """Makes the sums anew, of the logs."""
        experiment, _ = self._experiment(namespace, name)
        if self._recorder is None:
            raise self._closed()
        await self._recorder.filling.rebuild(experiment, request.without if request else [])
        return {"experiment": f"{namespace}/{name}", "whole": True}

    def _experiment(self, namespace: str, name: str) -> tuple[PublishedExperiment, SumsStore]:
        if self._made is None:
            raise self._closed()
        definitions, store = self._made
        experiment = definitions.experiments.get(f"{namespace}/{name}", namespace, "name")
        if not experiment.began:
            raise NotFoundError(
                f"the experiment {namespace}/{name} has no sums: its phase is {experiment.phase}",
                field="name",
                reason="NotStarted",
            )
        return experiment, store

    def _closed(self) -> MillraceError:
        if self._settings.evidence_log is None:
            return ReportError(
                "this gateway keeps no log of exposures and outcomes, so it assigns no units",
                hint="Set MILLRACE_EVIDENCE_LOG (the chart's gateway.evidence)",
                reason="NoLog",
            )
        why = f": {self._failure}" if self._failure is not None else " yet"
        kind = ReportError if isinstance(self._failure, RejectError) else RetryError
        return kind(f"the log of exposures and outcomes is not open{why}", reason="NoLog")
