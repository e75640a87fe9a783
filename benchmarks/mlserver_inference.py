"""MLServer over one ONNX model, as fast as it gets: ``python mlserver_inference.py MODEL PORT GRPC METRICS``.

No process beside its own, no batching (it waits for others also where there are none), no debug log.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
from mlserver import MLModel
from mlserver.cli import main
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):  # type: ignore[misc]
    """Named in the model's settings."""

    async def load(self) -> bool:
        """Loads the session."""
        options = ort.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        uri = self.settings.parameters.uri
        self._session = ort.InferenceSession(uri, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One run."""
        feeds = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        results = self._session.run(None, feeds)
        outputs = [NumpyCodec.encode_output(name, values) for name, values in zip(self._names, results, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


if __name__ == "__main__":
    model, *ports = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"name": "m", "implementation": "mlserver_inference.OnnxModel", "parameters": {"uri": model}}
        Path(folder, "model-settings.json").write_text(json.dumps(settings))
        os.environ |= {
            "MLSERVER_HOST": "127.0.0.1",
            **dict(zip(("MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT"), ports, strict=True)),
            "MLSERVER_METRICS_DIR": folder,
            "MLSERVER_PARALLEL_WORKERS": "0",
            "MLSERVER_DEBUG": "false",
        }
        sys.argv[1:] = ["start", folder]
        main()
