"""The Open Inference Protocol v2 and the health check over gRPC: a second translator before the data plane.

A call is answered as a request over HTTP is: by ``Service.answer``, which counts it, gives it its trace and makes an
error of it; only then status and headers become those of gRPC. Headers of answers are trailing metadata, as they go
with the answer itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Final

import grpc
import orjson

from millrace_services.inference import grpc_protocol, metadata
from millrace_services.inference.answering import Noting, in_turn, rows_of, size_of, within
from millrace_services.inference.grpc_messages import HEALTH, MESSAGES, SERVICE
from millrace_services.inference.grpc_protocol import parse
from millrace_services.inference.note import Note
from millrace_services.inference.served import Serving
from millrace_services.web.errors import DeadlineError, Header
from millrace_services.web.hot import Answer, Call, Handler
from millrace_services.web.hot_routes import Route
from millrace_services.web.service import Service

_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_OK: Final = 200
# Clients take 8 KiB of metadata by default; a byte of a message that is no printable ASCII takes three there.
_MOST_BYTES: Final = 2400
# Headers of HTTP alone.
_NOT_TOLD: Final = frozenset({b"content-type", b"content-length", b"connection"})
_SERVING, _NOT_SERVING = 1, 2
_STREAMS: Final = f"/{SERVICE}/ModelStreamInfer"
_WATCH: Final = f"/{HEALTH}/Watch"

Answering = Callable[[bytes], Awaitable[bytes]]


class GrpcCalls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """What each method of the services answers."""

    def __init__(self, serving: Serving, service: Service, noting: Noting) -> None:
        self._serving = serving
        self._service = service
        self._noting = noting
        inference: dict[str, Answering] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "RepositoryIndex": self._index,
        }
        self._methods: dict[str, Any] = {
            **{f"/{SERVICE}/{name}": self._control(f"/{SERVICE}/{name}", does) for name, does in inference.items()},
            f"/{HEALTH}/Check": self._control(f"/{HEALTH}/Check", self._check),
            f"/{SERVICE}/ModelInfer": self._infer_method(),
            _STREAMS: grpc.stream_stream_rpc_method_handler(
                _refusing(
                    f"{_STREAMS} is not served; each request is answered by ModelInfer, many at once on a channel"
                )
            ),
            _WATCH: grpc.unary_stream_rpc_method_handler(_refusing(f"{_WATCH} is not served; ask Check again")),
        }

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; of a service that is not here none."""
        method: str = handler_call_details.method
        found = self._methods.get(method)
        if found is None and method.startswith((f"/{SERVICE}/", f"/{HEALTH}/")):
            return grpc.unary_unary_rpc_method_handler(_refusing(f"{method[:200]} is not served"))
        return found

    def _control(self, method: str, does: Answering) -> Any:
        async def answer(call: Call) -> Answer:
            return Answer(_OK, await does(call.body), [])

        route = _route(method, answer, method)

        # gRPC tells what may be awaited by its definition.
        async def handle(content: bytes, context: Any) -> bytes:
            return await self._answer(route, content, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def _infer_method(self) -> Any:
        method = f"/{SERVICE}/ModelInfer"

        async def answer(content: bytes, context: Any) -> bytes:
            remaining = context.time_remaining()
            route = _route(method, self._noting.noted(lambda call, note: self._infer(call, note, remaining)), "infer")
            return await self._answer(route, content, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _answer(self, route: Route, content: bytes, context: Any) -> bytes:
        now = perf_counter()
        call = Call({**route.scope, "headers": _headers(context.invocation_metadata())}, content, _still_there)
        self._service.came(now)
        answer = await self._service.answer(route, route.handler, call, now, now)
        if answer is None:
            await context.abort(grpc.StatusCode.CANCELLED, "the client went away")
            raise AssertionError
        trailing = tuple((name.decode(), value.decode()) for name, value in answer.headers if name not in _NOT_TOLD)
        if answer.status != _OK:
            code = _CODES.get(answer.status, grpc.StatusCode.INTERNAL)
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                # At the head of an answer Envoy takes it for 504, and ejects pods for it; behind a head it does not.
                await context.send_initial_metadata(())
            await context.abort(code, _sentence(orjson.loads(answer.body)["error"]), trailing)
        context.set_trailing_metadata(trailing)
        return answer.body

    async def _infer(self, call: Call, note: Note, remaining: float | None) -> Answer:
        if remaining is not None and remaining <= 0:
            raise DeadlineError("the request came after its own deadline", delay=1)
        serving = self._serving
        message = await in_turn(len(call.body), parse, "ModelInferRequest", call.body)
        serving.known(message.model_name, message.model_version or None)
        data = serving.data or await serving.ready()
        signature = data.signature
        request = await in_turn(len(call.body), grpc_protocol.decode, message, signature)
        note.request_id, note.inputs, note.rows = request.id, request.feeds, rows_of(request.feeds)
        seconds = min((each for each in (remaining, request.timeout) if each is not None), default=None)
        prediction = await within(seconds, data.infer(request.feeds, request.outputs, call.gone))
        self._noting.note_answer(note, request.outputs, prediction)
        results, model = prediction.outputs, serving.model
        content = await in_turn(
            size_of(results), grpc_protocol.encode, request, results, model.name, model.version, signature
        )
        return Answer(_OK, content, [])

    async def _server_live(self, content: bytes) -> bytes:
        parse("ServerLiveRequest", content)
        return _message("ServerLiveResponse", live=True)

    async def _server_ready(self, content: bytes) -> bytes:
        parse("ServerReadyRequest", content)
        return _message("ServerReadyResponse", ready=await self._is_ready())

    async def _server_metadata(self, content: bytes) -> bytes:
        parse("ServerMetadataRequest", content)
        return _message("ServerMetadataResponse", **metadata.of_server())

    async def _model_ready(self, content: bytes) -> bytes:
        asked = parse("ModelReadyRequest", content)
        self._serving.known(asked.name, asked.version or None)
        return _message("ModelReadyResponse", ready=await self._is_ready())

    async def _model_metadata(self, content: bytes) -> bytes:
        asked = parse("ModelMetadataRequest", content)
        found = metadata.of_model(self._serving, asked.name, asked.version or None)
        properties = {
            name: value if isinstance(value, str) else orjson.dumps(value).decode()
            for name, value in found.pop("parameters").items()
        }
        return _message("ModelMetadataResponse", properties=properties, **found)

    async def _index(self, content: bytes) -> bytes:
        asked = parse("RepositoryIndexRequest", content)
        models = await metadata.index(self._serving, self._service.health, only_ready=asked.ready)
        return _message("RepositoryIndexResponse", models=models)

    async def _check(self, content: bytes) -> bytes:
        asked = parse("HealthCheckRequest", content)
        if asked.service not in ("", SERVICE):
            self._serving.known(asked.service)
        return _message("HealthCheckResponse", status=_SERVING if await self._is_ready() else _NOT_SERVING)

    async def _is_ready(self) -> bool:
        return (await self._service.health.readiness()).ready


def _route(method: str, handler: Handler, label: str) -> Route:
    scope = {"method": "POST", "path": method, "raw_path": method.encode(), "query_string": b""}
    return Route(handler, label, None, scope)


def _message(name: str, /, **fields: Any) -> bytes:
    content: bytes = MESSAGES[name](**fields).SerializeToString()
    return content


def _headers(given: Sequence[tuple[str, str | bytes]]) -> list[Header]:
    return [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in given]


async def _still_there() -> bool:
    """The task of a call whose client went away is cancelled, so whoever asks has one that waits."""
    return False


def _sentence(text: str) -> str:
    """A message that fits into a client's metadata."""
    content = text.encode()
    return text if len(content) <= _MOST_BYTES else f"{content[:_MOST_BYTES].decode(errors='ignore')}…"


def _refusing(sentence: str) -> Callable[[Any, Any], Awaitable[None]]:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, sentence)

    return refuse
