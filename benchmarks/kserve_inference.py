"""KServe's Python server over one ONNX model: ``python kserve_inference.py MODEL PORT``, by its python."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer


class OnnxModel(Model):  # type: ignore[misc]
    """One model."""

    def __init__(self, path: str) -> None:
        super().__init__("m")
        options = ort.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        """One run."""
        results = self._session.run(None, {each.name: each.as_numpy() for each in payload.inputs})
        outputs = []
        for name, values in zip(self._names, results, strict=True):
            output = InferOutput(name, list(values.shape), "FP32" if values.dtype.kind == "f" else "INT64")
            output.set_data_from_numpy(values, binary_data=False)
            outputs.append(output)
        return InferResponse(payload.id or "", "m", outputs)  # it refuses an answer without an id


if __name__ == "__main__":
    repository = ModelRepository()
    repository.update(OnnxModel(sys.argv[1]))
    data_plane = DataPlane(model_registry=repository)
    server = RESTServer("kserve.model_server:app", data_plane, ModelRepositoryExtension(repository), int(sys.argv[2]))
    server.config.host = "127.0.0.1"  # it would listen on all addresses
    server.run()
