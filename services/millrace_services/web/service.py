"""The application object of every service: a FastAPI for control routes, and raw handlers for hot ones."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import MillraceError
from millrace_http.guard import Guard
from millrace_services.web import control_routes, errors, trace, tracing
from millrace_services.web.arms import Arms
from millrace_services.web.callers import CallerGuard
from millrace_services.web.entrance import PROBES, Entrance
from millrace_services.web.errors import Header, MethodError
from millrace_services.web.health import Health
from millrace_services.web.hot import (
    JSON,
    Answer,
    Call,
    ClientGoneError,
    Gate,
    Handler,
    Room,
    disconnect_check,
    read_body,
    require_small,
    too_large,
)
from millrace_services.web.hot_routes import Full, HotRoutes, Route
from millrace_services.web.load import Presence
from millrace_services.web.metrics import Metrics
from millrace_services.web.request_log import DETAILS, RequestLog
from millrace_services.web.settings import ServerSettings

if TYPE_CHECKING:
    from millrace_services.web.spans import Spans

logger = logging.getLogger(__name__)

BAD_REQUEST = 400
# The code that web servers log where the client went away before its answer; it is never sent.
CLIENT_GONE = 499
_CLOSE: Header = (b"connection", b"close")


class Service:
    """An ASGI application with health, metrics, error mapping, body limit and trace context.

    Attributes:
        present: calls of hot routes from the moment that they are there whole until they are answered.
        waited: the part of it in which the event loop had not come to them.
        spans: of its requests; None: nobody wants them.
        closers: end what listens beside HTTP, once the drain is over; each gets the seconds that it may take.

    Args:
        title: shown in ``/docs``.
        settings: of this server.
        lifespan: opens what the service needs before it accepts, closes it after the last answer.
        labels: that all metrics of this service carry.
        headers: that all its answers carry.
        arms: tells the arms of requests apart, which metrics then carry.
        decodes: its handlers undo the codings of bodies (``coding.decoded``); otherwise a coded one is refused.
        bearer: the tokens of which requests need one, but for probes and metrics; none: nobody is asked for one.
    """

    def __init__(
        self,
        title: str,
        settings: ServerSettings,
        lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        *,
        labels: Mapping[str, str] | None = None,
        headers: Sequence[Header] = (),
        arms: Arms | None = None,
        decodes: bool = False,
        bearer: Bearer = OPEN,
    ) -> None:
        self.settings = settings
        self.health = Health()
        self.metrics = Metrics(labels, () if arms is None else ("arm",))
        self.spans: Spans | None = None
        self._arms = arms
        self._labels = dict(labels or {})
        self._log = RequestLog(settings.access_log, settings.slow_seconds)
        # It would send a path with a slash too many to the host of the request by plain http, also behind TLS.
        self.api = FastAPI(title=title, redirect_slashes=False)
        self.fault: BaseException | None = None
        self.on_fault: Callable[[], None] = lambda: None
        self.closers: list[Callable[[float], Awaitable[None]]] = []
        self._entrance = Entrance(CallerGuard.of(settings), bearer, decodes)
        self._lifespan = lifespan
        self._headers = tuple(headers)
        self._hot = HotRoutes()
        self._streams: tuple[str, ...] = ()
        self.present = Presence()
        self.waited = Presence()
        self._in_flight = 0
        self._refused: tuple[MillraceError, Answer] | None = None
        self.metrics.gauge("millrace_http_in_flight", "Requests being answered", lambda: self._in_flight)
        self.guard = self._guard()
        errors.install(self.api)
        control_routes.add(self.api, self.health, self.metrics, lambda: self.routes)

    def _guard(self) -> Guard:
        refused = self.metrics.tally(
            "millrace_http_refused", "Requests answered before a route was found, by their status", "code"
        ).counts

        def count(status: int) -> None:
            refused[str(status)] += 1

        guard = Guard(self.settings.limits(), PROBES, count)
        self.metrics.gauge("millrace_http_connections", "Connections that are open", lambda: len(guard.door))
        return guard

    def hot(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        route: str = "",
        gate: Gate | None = None,
        full: Full | None = None,
    ) -> None:
        """Serves an exact path by a raw handler.

        Args:
            route: its label in metrics, the path by default.
            gate: asked while a body is read.
            full: asked before a request is read: the error by which it is refused, the same object each time, so that
                its answer is made once. ``handler`` has to refuse it, too: not every way here asks.
        """
        self._hot.add(method, path, handler, route or path, gate, full)

    def hot_below(self, prefix: str, handler: Handler) -> None:
        """Serves all paths that begin so, by whatever method, by a raw handler that itself asks ``refuses``."""
        self._hot.add_below(prefix, handler)

    def streams(self, prefix: str) -> None:
        """Leaves it to the API's routes below a path to bound their bodies, which are files that they read by pieces.

        Pages of other sites may send files of some types by POST without asking: no such route may take one by POST.
        """
        self._streams += (prefix,)

    def direct(self, method: bytes, url: bytes) -> Route | None:
        """The hot route of a request as it came over the wire; None where it has a gate, or there is none."""
        return self._hot.direct(method, url)

    @property
    def routes(self) -> list[str]:
        """What is served, such as ``POST /assign``; of the API's own pages ``/docs``."""
        served = set(self._hot.served())
        control = (route for route in self.api.routes if isinstance(route, APIRoute) and route.path != "/")
        served |= {(route.path, method) for route in control for method in (route.methods or set()) - {"HEAD"}}
        return [f"{method} {path}" for path, method in sorted({*served, ("/docs", "GET")})]

    def refuses(self, headers: Iterable[Header], path: str = "") -> MillraceError | None:
        """Why a request with these headers is not served at a path, by default a hot route's; None where it is."""
        return self._entrance.refusal(headers, path, files=path.startswith(self._streams))

    def fail(self, error: BaseException) -> None:
        """Stops the server because of a fault found after it began to listen; ``serve`` reports it."""
        self.fault = error
        self.health.ending = True
        self.on_fault()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Holds open what the service needs; inside it the service counts as started."""
        try:
            async with self._lifespan():
                self.health.started = True
                yield
        finally:
            if self.spans is not None:
                await self.spans.aclose()

    def trace(self, environ: Mapping[str, str]) -> None:
        """Makes spans from here on, where the environment says where they go.

        Raises:
            RejectError: it cannot be followed.
        """
        name = self.api.title.lower().replace(" ", "-")
        resource = {f"millrace.{label}": value for label, value in self._labels.items() if value}
        self.spans = tracing.opened(environ, name, resource, self.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        began = self._begin(scope)
        hot = self._hot.of(scope)
        status = CLIENT_GONE
        route = "unmatched"
        try:
            judged = hot is not None and hot.open
            if not judged and (refused := self.refuses(scope["headers"], scope["path"])) is not None:
                status = await _sent(self._error(refused, scope), send)
            elif hot is not None:
                route = hot.label
                status = await self._answer_hot(hot, scope, receive, send)
            else:
                status = await self._answer_control(scope, receive, send)
                route = getattr(scope.get("route"), "path", route)
        finally:
            self._end(scope, route, status, began)

    def came(self, whole: float) -> None:
        """A call of a hot route is there whole, for ``answer`` to answer."""
        self.waited.enter(whole)
        self.present.enter(whole)

    def refused(self, route: Route, scope: Scope, began: float) -> Answer | None:
        """The answer to a request that is refused unread, as it says ``began``; None: it is to be answered.

        It is counted, and has what its sender may look for; ids that nobody gave it, a span, and a handler's own
        headers are not worth what a server that is full has to take from those whom it answers.
        """
        error = None if route.full is None or self.health.draining else route.full()
        if error is None:
            return None
        if self._refused is None or self._refused[0] is not error:
            status, content, extra = errors.render(error)
            length = (b"content-length", b"%d" % len(content))
            self._refused = error, Answer(status, content, (JSON, *extra, length, *self._headers))
        answer = self._refused[1]
        given = trace.given_request_id(scope["headers"])
        if given is not None:
            answer = answer._replace(headers=[*answer.headers, (b"x-request-id", given)])
        self._count(scope, route.label, answer.status, perf_counter() - began)
        return answer

    async def answer(self, route: Route, handler: Handler, call: Call, began: float, whole: float) -> Answer | None:
        """What a handler answers on a hot route, or its error, with all headers; None where nobody waits for it.

        ``began`` and ``whole`` are when the request's head and all of it had come, by ``perf_counter``; the latter was
        told to ``came``.
        """
        now = self._begin(call.scope)
        self.waited.leave(whole, now)
        status = CLIENT_GONE
        try:
            answer = await self._answered(handler, call)
            if answer is not None:
                status = answer.status
            return answer
        finally:
            self.present.leave(whole, perf_counter())
            self._end(call.scope, route.label, status, began)

    def _begin(self, scope: Scope) -> float:
        trace.enter(scope)
        if self.spans is not None:
            self.spans.begin(scope)
        self._in_flight += 1
        return perf_counter()

    def _end(self, scope: Scope, route: str, status: int, began: float) -> None:
        self._in_flight -= 1
        self._count(scope, route, status, perf_counter() - began)
        if self.spans is not None:
            self.spans.end(scope, route, status, scope.get(DETAILS))

    def _count(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        if self._arms is None:
            self.metrics.observe(seconds, route, status)
        else:
            self.metrics.observe(seconds, route, status, self._arms.of(scope["headers"]))
        if seconds >= self._log.least:
            self._log.write(scope, route, status, seconds)

    async def _answered(self, handler: Handler, call: Call) -> Answer | None:
        try:
            status, content, given = await handler(call)
        except ClientGoneError:
            return None
        except Exception as error:  # every error has its one form
            return self._error(error, call.scope)
        headers = [*given, (b"content-length", b"%d" % len(content))]
        self._finish_headers(call.scope, status, headers)
        return Answer(status, content, headers)

    def _error(self, error: Exception, scope: Scope) -> Answer:
        status, content, extra = errors.render(error)
        headers = [JSON, *extra, (b"content-length", b"%d" % len(content))]
        self._finish_headers(scope, status, headers)
        return Answer(status, content, headers)

    async def _answer_hot(self, route: Route, scope: Scope, receive: Receive, send: Send) -> int:
        room = Room(route.gate)
        whole = 0.0
        try:
            require_small(scope, self.settings)
            body = await read_body(receive, self.settings, room)
            whole = perf_counter()
            self.present.enter(whole)
            answer = await self._answered(route.handler, Call(scope, body, disconnect_check(receive)))
            return CLIENT_GONE if answer is None else await _sent(answer, send)
        except ClientGoneError:
            return CLIENT_GONE
        except MillraceError as error:  # of reading the body; the handler's have become answers
            return await _sent(self._error(error, scope), send)
        finally:
            if whole:
                self.present.leave(whole, perf_counter())
            room.leave()

    async def _answer_control(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = CLIENT_GONE
        bounded = not scope["path"].startswith(self._streams)
        left = self.settings.max_body_bytes
        gone = False  # before anything was answered

        async def counted() -> Message:
            nonlocal left, gone
            message = await receive()
            gone = message["type"] == "http.disconnect" and status == CLIENT_GONE
            left -= len(message.get("body", b""))
            if left < 0 and bounded:
                raise too_large(self.settings)
            return message

        async def finished(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._finish_headers(scope, status, message["headers"])
            await send(message)

        try:
            if bounded:
                require_small(scope, self.settings)
            self._require_method(scope)
        except MillraceError as error:
            return await _sent(self._error(error, scope), send)
        try:
            await self.api(scope, counted, finished)
        except ClientDisconnect:
            return CLIENT_GONE
        except Exception as error:
            # Starlette answers an unexpected error and then raises it again.
            if status == CLIENT_GONE:
                raise
            logger.debug("already answered with %d: %s", status, error)
        return CLIENT_GONE if gone else status

    def _require_method(self, scope: Scope) -> None:
        """Refuses another method on the path of a hot route, which the API knows nothing of.

        Raises:
            MethodError: names those that there are.
        """
        methods = self._hot.methods(scope["path"])
        if methods and not any(route.matches(scope)[0] is not Match.NONE for route in self.api.router.routes):
            raise MethodError(scope["method"], scope["path"], ", ".join(methods))

    def _finish_headers(self, scope: Scope, status: int, headers: list[Header]) -> None:
        headers += self._headers
        given = trace.given_request_id(scope["headers"])
        if given is not None:
            headers.append((b"x-request-id", given))
        elif status >= BAD_REQUEST:
            headers.append((b"x-request-id", trace.current().request_id.encode()))
        if self.health.draining:  # a client's pool must not pick this connection again
            headers.append(_CLOSE)


async def _sent(answer: Answer, send: Send) -> int:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
    return answer.status
