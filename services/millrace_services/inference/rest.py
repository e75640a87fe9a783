"""The hot routes over HTTP: bodies to tensors, tensors to bodies. What is computed is the data plane's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.evidence import prediction_id
from millrace_services.inference import predict_json, protocol
from millrace_services.inference.note import Note
from millrace_services.inference.prediction import Prediction
from millrace_services.inference.prediction_log import PredictionLog
from millrace_services.inference.served import Serving
from millrace_services.web import errors
from millrace_services.web.hot import JSON, Answer, Call, ClientGoneError, Handler
from millrace_services.web.service import CLIENT_GONE, Service

_ID: Final = prediction_id.ANSWER_HEADER.encode()


class RestTranslator:
    """JSON tensors of the Open Inference Protocol v2, and ``/predict``."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._model = serving.model.described()
        self.log: PredictionLog | None = None

    def add_routes(self, service: Service) -> None:
        """Serves the model's routes, with and without its version."""
        path = f"/v2/models/{self._model['name']}"
        for model in (path, f"{path}/versions/{self._model['version']}"):
            service.hot("POST", f"{model}/infer", self._noted(self.infer), route="infer")
        service.hot("POST", "/predict", self._noted(self.predict), route="predict")

    def _noted(self, handler: Callable[[Call, Note], Awaitable[bytes]]) -> Handler:
        """A handler whose answers, errors too, say the prediction's id, and come into the log."""

        async def answer(call: Call) -> Answer:
            given = call.header(b"x-request-id")
            note = Note(None if given is None else given.decode("latin-1"))
            status, body, headers = CLIENT_GONE, b"", [JSON]
            try:
                body = await handler(call, note)
                status = 200
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

    async def infer(self, call: Call, note: Note) -> bytes:
        """``POST /v2/models/{m}/infer``: tensors in, tensors out."""
        data = self._serving.data or await self._serving.ready()
        try:
            request = protocol.decode(call.body, data.signature)
        except RejectError as error:
            if call.header(b"inference-header-content-length") is None:
                raise
            raise RejectError(
                "binary tensors came, this server takes JSON tensors",
                hint="With tritonclient, set binary_data=False on inputs and outputs",
                reason="BadRequest",
            ) from error
        note.request_id, note.inputs = request.id, request.feeds
        first = next(iter(request.feeds.values()), None)
        note.rows = max(1, first.shape[0]) if first is not None and first.ndim else 1
        prediction = await data.infer(request.feeds, request.outputs, call.gone)
        _note(note, request.outputs, prediction)
        name, version = self._model["name"], self._model["version"]
        return protocol.encode(request, prediction.outputs, name, version, data.signature)

    async def predict(self, call: Call, note: Note) -> bytes:
        """``POST /predict``: entities in, predictions on their features out."""
        data = self._serving.data or await self._serving.ready()
        request = predict_json.decode(call.body, joins=data.join is not None)
        note.entities, note.rows = request.entities, request.rows
        prediction = await data.predict(request, call.gone, note)
        names = data.signature.output_names
        _note(note, names, prediction)
        return predict_json.encode(names, prediction.outputs, self._model, note.id)


def _note(note: Note, names: Sequence[str], prediction: Prediction) -> None:
    note.timings = prediction.timings
    note.outputs = {name: output.values for name, output in zip(names, prediction.outputs, strict=True)}
