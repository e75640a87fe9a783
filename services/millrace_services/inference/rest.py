"""The hot routes over HTTP: bodies to tensors, tensors to bodies. What is computed is the data plane's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple

from millrace_core.base.errors import MillraceError
from millrace_services.inference import predict_json, protocol
from millrace_services.inference.answering import OFF_LOOP, Noting, in_turn, rows_of, size_of, within
from millrace_services.inference.note import Note
from millrace_services.inference.served import Serving
from millrace_services.web import coding
from millrace_services.web.errors import Header
from millrace_services.web.hot import JSON, Answer, Call
from millrace_services.web.service import Service
from millrace_services.web.settings import ServerSettings

# Bytes from which an answer is worth the time that gzip takes.
_WORTH_GZIP: Final = 16 * 1024
_BINARY: Final[Header] = (b"content-type", b"application/octet-stream")
_GZIPPED: Final[Header] = (b"content-encoding", b"gzip")
_READ: Final = frozenset({protocol.JSON_LENGTH, b"content-encoding", b"accept-encoding"})


class Codings(NamedTuple):
    """What a request's headers say of its body and of the answer's."""

    json_length: bytes | None = None
    content: bytes = b""
    accepted: bytes = b""


class RestTranslator:
    """Tensors of the Open Inference Protocol v2, and ``/predict``."""

    def __init__(self, serving: Serving, settings: ServerSettings, noting: Noting) -> None:
        self._serving = serving
        self._settings = settings
        self._model = serving.model.described()
        self._noting = noting

    def add_routes(self, service: Service) -> None:
        """Serves the model's routes, with and without its version."""
        path = f"/v2/models/{self._model['name']}"
        for model in (path, f"{path}/versions/{self._model['version']}"):
            service.hot("POST", f"{model}/infer", self._noting.noted(self.infer), route="infer", full=self._full)
        service.hot("POST", "/predict", self._noting.noted(self.predict), route="predict", full=self._full)

    def _full(self) -> MillraceError | None:
        data = self._serving.data
        return None if data is None else data.refusal()

    async def infer(self, call: Call, note: Note) -> Answer:
        """``POST /v2/models/{m}/infer``: tensors in, tensors out."""
        data = self._serving.data or await self._serving.ready()
        codings = _codings(call.scope["headers"])
        body = call.body if not codings.content else await self._decoded(call, codings)
        signature = data.signature
        if len(body) < OFF_LOOP:
            request = protocol.decode(body, signature, codings.json_length)
        else:
            request = await asyncio.to_thread(protocol.decode, body, signature, codings.json_length)
        note.request_id, note.inputs = request.id, request.feeds
        note.rows = rows_of(request.feeds)
        running = data.infer(request.feeds, request.outputs, call.gone)
        prediction = await (running if request.timeout is None else within(request.timeout, running))
        self._noting.note_answer(note, request.outputs, prediction)
        results, name, version = prediction.outputs, self._model["name"], self._model["version"]
        if size_of(results) < OFF_LOOP:
            content, json_length = protocol.encode(request, results, name, version, signature)
        else:
            content, json_length = await asyncio.to_thread(protocol.encode, request, results, name, version, signature)
        headers = [JSON] if json_length is None else [_BINARY, (protocol.JSON_LENGTH, b"%d" % json_length)]
        return Answer(200, content, headers) if not codings.accepted else await _gzipped(content, headers, codings)

    async def predict(self, call: Call, note: Note) -> Answer:
        """``POST /predict``: entities in, predictions on their features out."""
        data = self._serving.data or await self._serving.ready()
        codings = _codings(call.scope["headers"])
        body = call.body if not codings.content else await self._decoded(call, codings)
        request = await in_turn(len(body), predict_json.decode, body, joins=data.join is not None)
        note.entities, note.rows = request.entities, request.rows
        prediction = await data.predict(request, call.gone, note)
        self._noting.note_answer(note, data.signature.output_names, prediction)
        results = prediction.outputs
        content = await in_turn(size_of(results), predict_json.encode, data.signature, results, self._model, note)
        return Answer(200, content) if not codings.accepted else await _gzipped(content, [JSON], codings)

    async def _decoded(self, call: Call, codings: Codings) -> bytes:
        return await asyncio.to_thread(coding.decoded, call.body, codings.content, self._settings)


def _codings(headers: Iterable[Header]) -> Codings:
    found: dict[bytes, bytes] | None = None
    for name, value in headers:
        if name in _READ:
            if found is None:
                found = {name: value}
            else:  # several headers of a name are one list (RFC 9110 5.3)
                found[name] = found[name] + b", " + value if name in found else value
    if found is None:
        return _PLAIN
    return Codings(
        found.get(protocol.JSON_LENGTH), found.get(b"content-encoding", b""), found.get(b"accept-encoding", b"")
    )


_PLAIN: Final = Codings()


async def _gzipped(body: bytes, headers: list[Header], codings: Codings) -> Answer:
    if len(body) < _WORTH_GZIP or not coding.takes_gzip(codings.accepted):
        return Answer(200, body, headers)
    return Answer(200, await asyncio.to_thread(coding.gzipped, body), [*headers, _GZIPPED])
