"""The ASGI application: parses a request, finds its target, carries it out and sends the response."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from millrace_core.base.errors import RejectError
from millrace_local.apiserver.authentication import Authentication
from millrace_local.apiserver.connections import BODY_LIMIT
from millrace_local.apiserver.documents import Documents
from millrace_local.apiserver.errors import StatusError, no_such_path
from millrace_local.apiserver.faults import FaultInjector
from millrace_local.apiserver.journal import JournalFullError
from millrace_local.apiserver.objects import Objects
from millrace_local.apiserver.request import JSON, Request, RequestTarget, Response, Stream, parse_query
from millrace_local.apiserver.routing import Router, verb_of
from millrace_local.apiserver.server import ApiServer
from millrace_local.apiserver.watching import ConnectionCut

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_log = logging.getLogger(__name__)


class App:
    """The API server as an ASGI application.

    Args:
        server: what is served.
        authentication: whom it is served to.
        faults: serves ``/faults`` and applies its rules to requests; ``None`` outside tests.
    """

    def __init__(self, server: ApiServer, authentication: Authentication, faults: FaultInjector | None = None) -> None:
        self._authentication = authentication
        self._router = Router(server.registry)
        self._documents = Documents(server)
        self._objects = Objects(server)
        self._faults = faults

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one HTTP request."""
        if scope["type"] != "http":
            return
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=parse_query(scope["query_string"]),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        )
        try:
            response = await self._serve(request, receive)
            if isinstance(response, Response):
                await _send_whole(send, response, head=request.method == "HEAD")
            else:
                await _send_stream(send, receive, response)
        except ConnectionCut:
            await _cut(scope, receive)

    async def _serve(self, request: Request, receive: Receive) -> Response | Stream:
        try:
            self._authentication.check(request)
            request.body = await _body(request, receive)
            if self._faults is None:
                return self._answer(request)
            return await self._answer_with_faults(request, self._faults)
        except ConnectionCut:
            raise
        except Exception as error:
            return _failure(error)

    def _answer(self, request: Request) -> Response | Stream:
        target = self._router.target(request.path)
        if target is not None:
            return self._carry_out(request, target)
        document = self._documents.find(request)
        if document is None:
            raise no_such_path()
        return document

    async def _answer_with_faults(self, request: Request, faults: FaultInjector) -> Response | Stream:
        if request.path.startswith("/faults"):
            return faults.serve(request)
        target = self._router.target(request.path)
        if target is None:
            return self._answer(request)
        verb = verb_of(request.method, target, watch=request.flag("watch"))
        return await faults.around(request, verb, target, lambda: self._carry_out(request, target))

    def _carry_out(self, request: Request, target: RequestTarget) -> Response | Stream:
        verb = verb_of(request.method, target, watch=request.flag("watch"))
        return self._objects.carry_out(verb, request, target)


async def _body(request: Request, receive: Receive) -> bytes:
    # Of zeros before it there may be as many as fit into a head; llhttp has seen to it that it is a number.
    if int(request.headers.get("content-length", "0").lstrip("0") or "0") > BODY_LIMIT:
        raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    pieces = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > BODY_LIMIT:
            raise _too_large()
    return b"".join(pieces)


def _too_large() -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"the request body is larger than {BODY_LIMIT} bytes")


def _failure(error: Exception) -> Response:
    if isinstance(error, JournalFullError):
        error = StatusError(507, "InternalError", str(error))
    elif isinstance(error, RejectError):  # of a part that knows nothing of HTTP
        error = StatusError(400, "BadRequest", error.message)
    if not isinstance(error, StatusError):
        _log.error("the API server failed on a request", exc_info=error)
        error = StatusError(500, "InternalError", f"Internal error occurred: {error!r}")
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers]
    return Response(orjson.dumps(error.body()), error.code, headers=headers)


async def _send_whole(send: Send, response: Response, *, head: bool) -> None:
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})


async def _send_stream(send: Send, receive: Receive, response: Stream) -> None:
    headers = [(b"content-type", response.content_type or JSON), (b"cache-control", b"no-cache, private")]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    gone = asyncio.ensure_future(receive())
    if response.on_gone is not None:
        gone.add_done_callback(lambda _: response.on_gone and response.on_gone())
    try:
        async for piece in response.pieces:
            if gone.done():
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        gone.cancel()
        await response.pieces.aclose()
    await send({"type": "http.response.body", "body": b""})


async def _cut(scope: Message, receive: Receive) -> None:
    """Cuts the connection without an answer, or in the middle of one."""
    scope["state"]["transport"].abort()
    while (await receive())["type"] != "http.disconnect":
        pass
