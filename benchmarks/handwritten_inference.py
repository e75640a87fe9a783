"""The limit of the inference server: a hand-written server of one model, without checks and metrics.

Raw ASGI on uvicorn (uvloop, httptools), orjson, ``session.run`` inline: ``python handwritten_inference.py MODEL PORT``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime as ort
import orjson
import uvicorn

options = ort.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]


async def app(_: dict[str, Any], receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message.get("more_body", False)
    tensor = orjson.loads(body)["inputs"][0]
    values = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    results = session.run(None, {tensor["name"]: values})
    outputs = [
        {"name": name, "datatype": "FP32", "shape": result.shape, "data": result.ravel()}
        for name, result in zip(names, results, strict=True)
    ]
    content = orjson.dumps({"model_name": "gbc", "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[2]), lifespan="off", access_log=False, log_level="warning", ws="none"
    )
