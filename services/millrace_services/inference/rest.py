"""The hot routes over HTTP: bodies to tensors, tensors to bodies. What is computed is the data plane's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, ParamSpec, TypeVar

from millrace_core.evidence import prediction_id
from millrace_services.inference import predict_json, protocol
from millrace_services.inference.note import Note
from millrace_services.inference.prediction import Prediction
from millrace_services.inference.prediction_log import PredictionLog
from millrace_services.inference.served import Serving
from millrace_services.inference.tensors import OutputTensor
from millrace_services.web import coding, errors
from millrace_services.web.errors import DeadlineError, Header
from millrace_services.web.hot import JSON, Answer, Call, ClientGoneError, Handler
from millrace_services.web.request_log import DETAILS
from millrace_services.web.service import CLIENT_GONE, Service
from millrace_services.web.settings import ServerSettings

_ID: Final = prediction_id.ANSWER_HEADER.encode()

# Bytes from which a body is read, and an answer written, in a thread: of less the way there costs more than the wait.
OFF_LOOP: Final = 64 * 1024
# Bytes from which an answer is worth the time that gzip takes.
_WORTH_GZIP: Final = 16 * 1024
_BINARY: Final[Header] = (b"content-type", b"application/octet-stream")
_GZIPPED: Final[Header] = (b"content-encoding", b"gzip")
_READ: Final = frozenset({protocol.JSON_LENGTH, b"content-encoding", b"accept-encoding"})

P = ParamSpec("P")
T = TypeVar("T")


class Codings(NamedTuple):
    """What a request's headers say of its body and of the answer's."""

    json_length: bytes | None = None
    content: bytes = b""
    accepted: bytes = b""


class RestTranslator:
    """Tensors of the Open Inference Protocol v2, and ``/predict``."""

    def __init__(self, serving: Serving, settings: ServerSettings) -> None:
        self._serving = serving
        self._settings = settings
        self._model = serving.model.described()
        self.log: PredictionLog | None = None

    def add_routes(self, service: Service) -> None:
        """Serves the model's routes, with and without its version."""
        path = f"/v2/models/{self._model['name']}"
        for model in (path, f"{path}/versions/{self._model['version']}"):
            service.hot("POST", f"{model}/infer", self._noted(self.infer), route="infer")
        service.hot("POST", "/predict", self._noted(self.predict), route="predict")

    def _noted(self, handler: Callable[[Call, Note], Awaitable[Answer]]) -> Handler:
        """A handler whose answers, errors too, say the prediction's id, and come into the log."""

        async def answer(call: Call) -> Answer:
            given = call.header(b"x-request-id")
            note = Note(None if given is None else given.decode("latin-1"))
            call.scope[DETAILS] = note.details
            status, body, headers = CLIENT_GONE, b"", [JSON]
            try:
                status, body, given_headers = await handler(call, note)
                headers = [*given_headers]
            except ClientGoneError:
                raise
            except Exception as error:  # every error has its one form
                status, body, extra = errors.render(error)
                headers += extra
            finally:
                if self.log is not None:
                    self.log.take(call, note, status, len(body))
            headers.append((_ID, note.id.encode()))
            return Answer(status, body, headers)

        return answer

    async def infer(self, call: Call, note: Note) -> Answer:
        """``POST /v2/models/{m}/infer``: tensors in, tensors out."""
        data = self._serving.data or await self._serving.ready()
        codings = _codings(call.scope["headers"])
        body = await self._body(call, codings)
        signature = data.signature
        request = await _in_turn(len(body), protocol.decode, body, signature, codings.json_length)
        note.request_id, note.inputs = request.id, request.feeds
        first = next(iter(request.feeds.values()), None)
        note.rows = max(1, first.shape[0]) if first is not None and first.ndim else 1
        running = data.infer(request.feeds, request.outputs, call.gone)
        prediction = await (running if request.timeout is None else _within(request.timeout, running))
        _note(note, request.outputs, prediction)
        results, name, version = prediction.outputs, self._model["name"], self._model["version"]
        content, json_length = await _in_turn(
            _bytes(results), protocol.encode, request, results, name, version, signature
        )
        if json_length is None:
            return await _answer(content, [JSON], codings)
        return await _answer(content, [_BINARY, (protocol.JSON_LENGTH, b"%d" % json_length)], codings)

    async def predict(self, call: Call, note: Note) -> Answer:
        """``POST /predict``: entities in, predictions on their features out."""
        data = self._serving.data or await self._serving.ready()
        codings = _codings(call.scope["headers"])
        body = await self._body(call, codings)
        request = await _in_turn(len(body), predict_json.decode, body, joins=data.join is not None)
        note.entities, note.rows = request.entities, request.rows
        prediction = await data.predict(request, call.gone, note if self.log is not None else None)
        _note(note, data.signature.output_names, prediction)
        results = prediction.outputs
        content = await _in_turn(_bytes(results), predict_json.encode, data.signature, results, self._model, note)
        return await _answer(content, [JSON], codings)

    async def _body(self, call: Call, codings: Codings) -> bytes:
        if not codings.content:
            return call.body
        return await asyncio.to_thread(coding.decoded, call.body, codings.content, self._settings)


def _codings(headers: Iterable[Header]) -> Codings:
    found = None
    for name, value in headers:
        if name in _READ:
            found = {name: value} if found is None else {**found, name: value}
    if found is None:
        return _PLAIN
    return Codings(
        found.get(protocol.JSON_LENGTH), found.get(b"content-encoding", b""), found.get(b"accept-encoding", b"")
    )


_PLAIN: Final = Codings()


async def _within(seconds: float, running: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await running
    except TimeoutError:
        raise DeadlineError(
            f"the model did not answer within the request's own timeout of {seconds:g} s",
            hint="Ask for a longer one, in microseconds, or for none",
            delay=1,
        ) from None


async def _in_turn(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Does what takes time by ``size``, in bytes: in a thread where it may be long."""
    if size < OFF_LOOP:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


async def _answer(body: bytes, headers: list[Header], codings: Codings) -> Answer:
    if codings.accepted and len(body) >= _WORTH_GZIP and coding.takes_gzip(codings.accepted):
        return Answer(200, await asyncio.to_thread(coding.gzipped, body), [*headers, _GZIPPED])
    return Answer(200, body, headers)


def _bytes(results: Sequence[OutputTensor]) -> int:
    size = 0
    for values, _ in results:  # a loop, as half of the time of a comprehension is its call
        size += values.nbytes
    return size


def _note(note: Note, names: Sequence[str], prediction: Prediction) -> None:
    note.timings = prediction.timings
    note.outputs = {name: output.values for name, output in zip(names, prediction.outputs, strict=True)}
