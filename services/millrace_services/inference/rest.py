"""The hot routes over HTTP: bodies to tensors, tensors to bodies. What is computed is the data plane's."""

from __future__ import annotations

from millrace_core.base.errors import RejectError
from millrace_services.inference import predict_json, protocol
from millrace_services.inference.served import Serving
from millrace_services.web.hot import Answer, Call
from millrace_services.web.service import Service


class RestTranslator:
    """JSON tensors of the Open Inference Protocol v2, and ``/predict``."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._model = serving.model.described()

    def add_routes(self, service: Service) -> None:
        """Serves the model's routes, with and without its version."""
        path = f"/v2/models/{self._model['name']}"
        for model in (path, f"{path}/versions/{self._model['version']}"):
            service.hot("POST", f"{model}/infer", self.infer, route="infer")
        service.hot("POST", "/predict", self.predict, route="predict")

    async def infer(self, call: Call) -> Answer:
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
        prediction = await data.infer(request.feeds, request.outputs, call.gone)
        name, version = self._model["name"], self._model["version"]
        return Answer(200, protocol.encode(request, prediction.outputs, name, version, data.signature))

    async def predict(self, call: Call) -> Answer:
        """``POST /predict``: entities in, predictions on their features out."""
        data = self._serving.data or await self._serving.ready()
        request = predict_json.decode(call.body, joins=data.join is not None)
        prediction = await data.predict(request, call.gone)
        return Answer(200, predict_json.encode(data.signature.output_names, prediction.outputs, self._model))
