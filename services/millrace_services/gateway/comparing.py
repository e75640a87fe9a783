"""What a shadow said beside what was answered, for the operator, which has no way to the lake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millrace_core.base import timestamps
from millrace_core.base.errors import ReportError, RetryError
from millrace_core.base.settings import with_secret
from millrace_data.objects.door import Door
from millrace_services.gateway.settings import GatewaySettings
from millrace_services.web.service import Service

if TYPE_CHECKING:
    from millrace_data.evidence.lake import Lake

# Rows of the service that are read, the newest: enough to tell distributions apart, and some hundred milliseconds.
_ROWS: Final = 20_000
# How long an answer is given again, so that whoever could not wait for it finds it, and metrics of one pair share it.
_KEPT: Final = timedelta(seconds=15)
_MOST_KEPT: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Document = dict[str, Any]


class _Question(NamedTuple):
    namespace: str
    service: str
    control: str
    shadow: str
    since: datetime
    tolerance: float


class _Made(NamedTuple):
    at: datetime
    answer: asyncio.Task[Document]


class Comparisons:
    """Adds the route to the gateway's service; one comparison is made at a time, off the event loop.

    Args:
        now: microseconds since 1970 UTC.
    """

    def __init__(
        self, service: Service, settings: GatewaySettings, environ: Mapping[str, str], now: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._now = now
        self._lake: Lake | None = None
        self._alone = asyncio.Lock()
        self._made: dict[_Question, _Made] = {}
        service.api.get("/v1/predictions/{namespace}/{service}/comparison")(self._compare)

    async def _compare(
        self, namespace: str, service: str, control: str, shadow: str, since: str, tolerance: float = 1e-6
    ) -> Document:
        """Two deployments of a service over the requests that both have had since then."""
        if not self._settings.lake_uri:
            raise ReportError(
                "this gateway knows no lake, so it has no predictions to compare",
                hint="Set MILLRACE_LAKE_URI (the chart's evidence.uri)",
                reason="NoLake",
            )
        asked = _Question(namespace, service, control, shadow, timestamps.parse(since, field="since"), tolerance)
        return await asyncio.shield(self._answer(asked))

    def _answer(self, asked: _Question) -> asyncio.Task[Document]:
        now = _EPOCH + timedelta(microseconds=self._now())
        self._made = {key: made for key, made in self._made.items() if not made.answer.done() or now - made.at < _KEPT}
        found = self._made.get(asked)
        if found is None:
            if len(self._made) >= _MOST_KEPT:
                raise RetryError(f"{_MOST_KEPT} comparisons are being made already", reason="Busy")
            found = self._made[asked] = _Made(now, asyncio.create_task(self._compared(asked, now)))
            found.answer.add_done_callback(_seen)
        return found.answer

    async def _compared(self, asked: _Question, now: datetime) -> Document:
        async with self._alone:
            return await asyncio.to_thread(self._read, asked, now)

    def _read(self, asked: _Question, now: datetime) -> Document:
        # Arrow comes with it.
        from millrace_data.evidence import comparing  # noqa: PLC0415
        from millrace_data.evidence.lake import Lake  # noqa: PLC0415

        if self._lake is None:
            door = Door(self._settings.outgoing)
            self._lake = Lake(self._settings.lake_uri, with_secret(self._environ), door, field="MILLRACE_LAKE_URI")
        pair = comparing.Pair(asked.namespace, asked.service, asked.control, asked.shadow)
        found = comparing.compare(self._lake, pair, asked.since, now, tolerance=asked.tolerance, limit=_ROWS)
        return {"asOf": timestamps.render(now), **found.document()}


def _seen(task: asyncio.Task[Document]) -> None:
    """An error of one that nobody waits for any more is no error of the loop."""
    if not task.cancelled():
        task.exception()
