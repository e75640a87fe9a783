"""The ASGI application: reads a request, finds what it names, lets it be carried out, and writes the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from millrace_local.apiserver.cluster import Cluster
from millrace_local.apiserver.documents import Documents
from millrace_local.apiserver.faults import Faults
from millrace_local.apiserver.journal import JournalFullError
from millrace_local.apiserver.objects import Objects
from millrace_local.apiserver.request import JSON, Request, Response, Stream, Target, parse_query
from millrace_local.apiserver.routing import Router, verb_of
from millrace_local.apiserver.status import ApiError, no_such_path
from millrace_local.apiserver.watching import ConnectionCut

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODY_LIMIT = 3 * 1024 * 1024
_log = logging.getLogger(__name__)


class App:
    """The API server as an ASGI application.

    Args:
        cluster: what is served.
        faults: what serves ``/faults`` and meddles with requests; ``None`` outside tests.
    """

    def __init__(self, cluster: Cluster, faults: Faults | None = None) -> None:
        self._router = Router(cluster.registry)
        self._documents = Documents(cluster)
        self._objects = Objects(cluster)
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
            answer = await self._serve(request, receive)
            if isinstance(answer, Response):
                await _send_whole(send, answer, head=request.method == "HEAD")
            else:
                await _send_stream(send, receive, answer)
        except ConnectionCut:
            await _cut(scope, receive)

    async def _serve(self, request: Request, receive: Receive) -> Response | Stream:
        try:
            request.body = await _body(receive)
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

    async def _answer_with_faults(self, request: Request, faults: Faults) -> Response | Stream:
        if request.path.startswith("/faults"):
            return faults.serve(request)
        target = self._router.target(request.path)
        if target is None:
            return self._answer(request)
        verb = verb_of(request.method, target, watch=request.flag("watch"))
        return await faults.around(request, verb, target, lambda: self._carry_out(request, target))

    def _carry_out(self, request: Request, target: Target) -> Response | Stream:
        verb = verb_of(request.method, target, watch=request.flag("watch"))
        return self._objects.carry_out(verb, request, target)


async def _body(receive: Receive) -> bytes:
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
        if size > _BODY_LIMIT:
            raise ApiError(413, "RequestEntityTooLarge", f"the request body is larger than {_BODY_LIMIT} bytes")
    return b"".join(pieces)


def _failure(error: Exception) -> Response:
    if isinstance(error, JournalFullError):
        error = ApiError(507, "InternalError", str(error))
    if not isinstance(error, ApiError):
        _log.error("the API server failed on a request", exc_info=error)
        error = ApiError(500, "InternalError", f"Internal error occurred: {error!r}")
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers]
    return Response(orjson.dumps(error.body()), error.code, headers=headers)


async def _send_whole(send: Send, answer: Response, *, head: bool) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


async def _send_stream(send: Send, receive: Receive, answer: Stream) -> None:
    headers = [(b"content-type", answer.content_type or JSON), (b"cache-control", b"no-cache, private")]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    gone = asyncio.ensure_future(receive())
    if answer.on_gone is not None:
        gone.add_done_callback(lambda _: answer.on_gone and answer.on_gone())
    try:
        async for piece in answer.pieces:
            if gone.done():
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        gone.cancel()
        await answer.pieces.aclose()
    await send({"type": "http.response.body", "body": b""})


async def _cut(scope: Message, receive: Receive) -> None:
    """Cuts the connection without an answer, or in the middle of one."""
    scope["state"]["transport"].abort()
    while (await receive())["type"] != "http.disconnect":
        pass
