"""Feast's ``/materialize`` and ``/materialize-incremental``: each view gets the command that a person would give it.

Feast's server does the work itself, and answers when it is done, or, with ``async=true``, once it is accepted. Here the
view's operator makes a Job of it, and this waits for what the view's status says of the command.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qs

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from millrace_core.api import command as commands
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace_core.features.types import times
from millrace_services.gateway.cluster import ClusterViews, in_cluster
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.settings import GatewaySettings
from millrace_services.gateway.store import RowStore
from millrace_services.web import errors
from millrace_services.web.errors import ConflictError
from millrace_services.web.hot import Answer, Call, ClientGoneError

# Between two looks at what became of a command.
POLL_SECONDS: Final = 1.0
# Within it an operator takes a command, unless none is at work.
TAKEN_SECONDS: Final = 60.0
_TRIES: Final = 3
_ACCEPTED: Final = 202
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Materialize(BaseModel):
    """What Feast's clients send; ``project`` is ours."""

    model_config = ConfigDict(extra="ignore")

    start_ts: str | None = None
    end_ts: str | None = None
    feature_views: list[str] | None = None
    disable_event_timestamp: bool = False
    version: str | None = None
    project: str | None = None


class Views(Protocol):
    """The cluster's FeatureViews (``ClusterViews``)."""

    async def get(self, namespace: str, name: str) -> dict[str, Any]:
        """The view."""

    async def command(self, view: Mapping[str, Any], text: str) -> bool:
        """Gives it a command; False where it has changed since it was read."""

    async def close(self) -> None:
        """Ends the connections."""


class BusyError(ConflictError):
    """A command of these views is still at work; 409, in Feast's own form."""

    def __init__(self, views: Sequence[str]) -> None:
        super().__init__(f"a command of these feature views is still at work: {', '.join(views)}. force=true overrides")
        self.views = list(views)


class Given(NamedTuple):
    """A command that a view was given."""

    project: str
    view: str
    text: str


def arguments(request: Materialize, *, incremental: bool, watermark: datetime | None, now: datetime) -> str | None:
    """What follows ``materialize`` in a view's command; None where there is nothing to do.

    Args:
        watermark: up to which the online store is complete; None: nothing is there.

    Raises:
        RejectError: a time is missing or none, or the interval is empty.
    """
    if request.disable_event_timestamp:
        start, end = _EPOCH, now
    elif incremental:
        start, end = watermark or _EPOCH, _time(request.end_ts, "end_ts")
        if end >= now:
            return ""
        if end <= start:
            return None
    else:
        start, end = _time(request.start_ts, "start_ts"), _time(request.end_ts, "end_ts")
        if start >= end:
            raise RejectError(f"start_ts ({start}) must be before end_ts ({end})", field="start_ts")
    return f" {timestamps.render(start)} {timestamps.render(end)}"


def _time(text: str | None, field: str) -> datetime:
    if not text:
        raise RejectError(f"{field} is missing, a time such as 2026-01-31T00:00:00Z is expected", field=field)
    return timestamps.parse(text, field=field)


class FeastRuns:
    """Gives commands, and waits for what becomes of them.

    Args:
        watermark: of a view in the online store, in microseconds.
        now: the present moment, microseconds.
    """

    def __init__(
        self,
        definitions: Definitions,
        views: Views,
        project: str,
        watermark: Callable[[str, str], Awaitable[int | None]],
        now: Callable[[], int],
    ) -> None:
        self._definitions = definitions
        self._views = views
        self._project = project
        self._watermark = watermark
        self._now = now

    @classmethod
    def of(
        cls,
        settings: GatewaySettings,
        environ: Mapping[str, str],
        definitions: Definitions,
        store: RowStore,
        now: Callable[[], int],
    ) -> FeastRuns:
        """Those of a gateway.

        Raises:
            ReportError: nobody says where the API server is.
        """
        server = settings.api_server or in_cluster(environ)
        if not server:
            raise ReportError(
                "MILLRACE_MATERIALIZE is on, and this is no pod that knows its API server",
                hint="Set MILLRACE_API_SERVER and MILLRACE_API_ACCOUNT",
            )
        views = ClusterViews(server, settings.api_account)
        return cls(definitions, views, settings.project, store.watermark, now)

    async def handle(self, call: Call, *, incremental: bool) -> Answer:
        """Answers a request as Feast's server does: 200 and ``null`` when all has ended, 202 at once if it asks so."""
        query = parse_qs(call.scope["query_string"].decode(errors="replace"))
        try:
            request = _request(call.body)
            names, given = await self.start(request, incremental=incremental, force=_is_true(query, "force"))
            if _is_true(query, "async"):
                return Answer(_ACCEPTED, orjson.dumps({"status": "accepted", "feature_views": names}))
            await self.finish(given, call.gone)
        except MillraceError as error:
            return Answer(*failure(error))
        return Answer(200, b"null")

    async def close(self) -> None:
        """Ends the connections."""
        await self._views.close()

    async def start(self, request: Materialize, *, incremental: bool, force: bool) -> tuple[list[str], list[Given]]:
        """Gives each view its command: the views' names, and what they were given.

        Raises:
            RejectError: the request means nothing. NotFoundError: there is no such view. BusyError: one is at work.
            RetryError: no answer of the cluster. ReportError: the gateway has no right.
        """
        if request.version is not None:
            raise RejectError("there are no versions of feature views here; leave version out", field="version")
        project = request.project or self._project
        names = await self._names(project, request.feature_views)
        now = times.moment(self._now())
        wanted = []
        for name in names:
            at = await self._watermark(project, name)
            after = arguments(
                request, incremental=incremental, watermark=None if at is None else times.moment(at), now=now
            )
            if after is not None:
                wanted.append(Given(project, name, f"feast-{self._now()}:materialize{after}"))
        if not force:
            found = [await self._views.get(each.project, each.view) for each in wanted]
            if busy := [view["metadata"]["name"] for view in found if _at_work(view)]:
                raise BusyError(busy)
        for each in wanted:
            await self._give(each)
        return names, wanted

    async def finish(self, given: Sequence[Given], gone: Callable[[], Awaitable[bool]]) -> None:
        """Waits until all have ended.

        Raises:
            ReportError: one failed, or was refused. BusyError: another command took its place.
            RetryError: no operator takes it, or the cluster does not answer. ClientGoneError: nobody waits any more.
        """
        began = self._now()
        for each in given:
            while not _ended(each, await self._views.get(each.project, each.view), self._now() - began):
                await asyncio.sleep(POLL_SECONDS)
                if await gone():
                    raise ClientGoneError

    async def _names(self, project: str, asked: Sequence[str] | None) -> list[str]:
        if not asked:
            views = self._definitions.current.views
            return sorted(name for (owner, name), view in views.items() if owner == project and view.online)
        found = []
        for name in asked:
            try:
                view = self._definitions.current.view(project, name, field="feature_views")
            except NotFoundError:
                if not await self._definitions.look_again():
                    raise
                view = self._definitions.current.view(project, name, field="feature_views")
            if not view.online:
                raise RejectError(f"feature view {view.view!r} has no online part", field="feature_views")
            found.append(view.view)
        return list(dict.fromkeys(found))

    async def _give(self, each: Given) -> None:
        for _ in range(_TRIES):
            if await self._views.command(await self._views.get(each.project, each.view), each.text):
                return
        raise RetryError(f"FeatureView {each.project}/{each.view} changes all the time", delay=2)


def _request(body: bytes) -> Materialize:
    try:
        return Materialize.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RejectError(f"{where or 'the body'}: {first['msg']}", field=where) from error


def _is_true(query: Mapping[str, list[str]], name: str) -> bool:
    return query.get(name, [""])[-1].lower() in ("1", "true", "on", "yes")


def _at_work(view: Mapping[str, Any]) -> bool:
    """Whether a command waits or runs."""
    text = (view["metadata"].get("annotations") or {}).get(COMMAND_ANNOTATION, "")
    status = view.get("status") or {}
    waits = bool(commands.unhandled(text, status.get("handledCommand")))
    return waits or bool(commands.job_of(status.get("commandResult")))


def _ended(given: Given, view: Mapping[str, Any], waited: int) -> bool:
    """Whether the command has ended, and well; ``waited`` is for how many microseconds.

    Raises: as ``FeastRuns.finish``.
    """
    status, wrote = view.get("status") or {}, (view["metadata"].get("annotations") or {}).get(COMMAND_ANNOTATION)
    if status.get("handledCommand") != commands.recorded(given.text):
        if wrote != given.text:
            raise BusyError([given.view])
        if waited > timedelta(seconds=TAKEN_SECONDS) // timedelta(microseconds=1):
            raise RetryError(f"no operator takes the command of feature view {given.view!r}", delay=30)
        return False
    result = status.get("commandResult")
    if commands.job_of(result):
        return False
    if not commands.has_succeeded(result):
        raise ReportError(f"feature view {given.view!r}: {result or 'the run is gone'}", reason="RunFailed")
    return True


def failure(error: MillraceError) -> tuple[int, bytes]:
    """Status and body of an error as Feast's server writes it: a text, or an object for what is at work."""
    status = errors.status_of(error)
    if isinstance(error, BusyError):
        return status, orjson.dumps({"error": str(error), "feature_views": error.views})
    if isinstance(error, NotFoundError):
        detail = {"module": "feast.errors", "class": "FeatureViewNotFoundException", "message": str(error)}
        return status, orjson.dumps(json.dumps(detail))
    return status, orjson.dumps(str(error))
