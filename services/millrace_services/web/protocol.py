"""The HTTP server's side of hot routes: from the connection to the handler and back, without ASGI between them.

uvicorn takes some 60 µs of processor time more than a bare protocol does, from a request's bytes to the application and
from its answer to the socket; a small read takes little more than that altogether. So requests of hot routes are handed
over as they are parsed, and answers are written in one piece. Everything else is ``millrace_http``'s and uvicorn's:
parsing, limits, deadlines, flow control, shutdown, and whole requests that are not plain ones (other routes, gated
ones, pipelined requests, ``Expect``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import perf_counter
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from millrace_http.protocol import GuardedProtocol
from millrace_http.refusal import Header, Refusal
from millrace_services.web.hot import Answer, Call, ClientGoneError, Handler, too_large
from millrace_services.web.hot_routes import Route
from millrace_services.web.service import Service

# Bytes of a body that are copied sooner than written apart from the head.
_WORTH_A_COPY: Final = 16384


class _NoEvent:
    """Stands for the event that uvicorn sets when a client goes; handlers here look at ``disconnected`` instead."""

    @staticmethod
    def set() -> None:
        """Does nothing: nobody waits for it."""


class _Request:
    """A request of a hot route; stands where uvicorn has its own kind, whose names the attributes have.

    Args:
        keep_alive: whether the connection stays open after the answer.
    """

    __slots__ = (
        "answering",
        "began",
        "disconnected",
        "keep_alive",
        "parts",
        "response_complete",
        "route",
        "size",
        "task",
        "whole",
    )
    message_event = _NoEvent
    task: asyncio.Task[None]

    def __init__(self, route: Route, *, keep_alive: bool) -> None:
        self.began = self.whole = perf_counter()
        self.route = route
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.size = 0
        self.answering = self.disconnected = self.response_complete = False

    async def gone(self) -> bool:
        """Whether the client has closed the connection."""
        return self.disconnected


class HotProtocol(GuardedProtocol):
    """One connection of a service's server; made by uvicorn.

    Args:
        service: whose hot routes are answered here.
    """

    __slots__ = ("_default_headers", "_default_lines", "_limit", "_service")

    def __init__(self, service: Service, **given: Any) -> None:
        super().__init__(guard=service.guard, **given)
        self._service = service
        self._limit = service.settings.max_body_bytes
        self._default_headers: list[Header] = []
        self._default_lines = b""

    def begin_request(self) -> None:
        parser = self.parser
        route = self._service.direct(parser.get_method(), self.url)
        refused = route is not None and not route.open and self._service.refuses(self.headers)
        if route is None or self.running or self.expect_100_continue or refused:
            super().begin_request()
            return
        self.scope = {**route.scope, "headers": self.headers}
        keep_alive = self.version != "1.0" and parser.should_keep_alive()
        self.last = not keep_alive
        self.cycle = request = _Request(route, keep_alive=keep_alive)
        if self.announced > self._limit:
            self._begin(request, _refusing(too_large(self._service.settings)))

    def on_body(self, body: bytes) -> None:
        request = self.cycle
        if type(request) is not _Request:
            super().on_body(body)
            return
        self.came = True
        if not request.answering:
            request.parts.append(body)
            request.size += len(body)
            if request.size > self._limit:
                self._begin(request, _refusing(too_large(self._service.settings)))

    def end_request(self) -> None:
        request = self.cycle
        if type(request) is not _Request:
            super().end_request()
        elif not request.answering:
            refused = None
            if not self.flow.write_paused:
                refused = self._service.refused(request.route, self.scope, request.began)
            if refused is None:
                self._begin(request, request.route.handler)
            else:
                request.answering = True
                self._write(request, refused)

    def abandon_request(self, refusal: Refusal) -> bool:
        request = self.cycle
        if type(request) is not _Request:
            return super().abandon_request(refusal)
        if not request.answering:
            request.keep_alive = False
            self._begin(request, _refusing(refusal))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        request = self.cycle
        if type(request) is _Request and not request.answering:
            self._begin(request, _refusing(ClientGoneError()))  # it counts, though its body never came
        super().connection_lost(exc)

    def _begin(self, request: _Request, handler: Handler) -> None:
        request.answering = True
        request.whole = perf_counter()
        self._service.came(request.whole)
        call = Call(self.scope, b"".join(request.parts), request.gone)
        request.task = self.loop.create_task(self._answer(request, handler, call))
        self.tasks.add(request.task)

    async def _answer(self, request: _Request, handler: Handler, call: Call) -> None:
        try:
            answer = await self._service.answer(request.route, handler, call, request.began, request.whole)
            if self.flow.write_paused and not request.disconnected:
                await self.flow.drain()
        except BaseException:  # the server is told to end; every error has become an answer
            self.transport.close()
            raise
        finally:
            self.tasks.discard(request.task)
        if answer is None or request.disconnected or self.transport.is_closing():
            request.response_complete = True
            self.transport.close()
        else:
            self._write(request, answer)

    def _write(self, request: _Request, answer: Answer) -> None:
        request.response_complete = True
        keep_alive = request.keep_alive and not self._service.health.draining
        head = self._head(answer, keep_alive=keep_alive)
        if len(answer.body) < _WORTH_A_COPY:
            self.transport.write(head + answer.body)
        else:
            self.transport.writelines((head, answer.body))
        if not keep_alive and not self.deaf:
            self.transport.close()
        self.on_response_complete()

    def _head(self, answer: Answer, *, keep_alive: bool) -> bytes:
        given = self.server_state.default_headers
        if given is not self._default_headers:  # uvicorn makes others once a second, because of the date
            self._default_headers, self._default_lines = given, b"".join(_lines(given))
        parts = [STATUS_LINE[answer.status], self._default_lines, *_lines(answer.headers)]
        # The service says itself that a server which drains closes.
        if not keep_alive and (b"connection", b"close") not in answer.headers:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)


def _lines(headers: Iterable[Header]) -> list[bytes]:
    parts: list[bytes] = []
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    return parts


def _refusing(error: Exception) -> Handler:
    async def refuse(_: Call) -> Answer:
        raise error

    return refuse
