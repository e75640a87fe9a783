"""A real ONNX session behind the inference service's routes: a value of each datatype, and one that may fail inside."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from millrace_services.inference.app import InferenceServer
from millrace_services.inference.settings import InferenceSettings
from tests.fuzz.in_process import Application, InProcess

_MODEL: Final = b"/v2/models/m"
_VALUES: Final[dict[str, tuple[str, list[Any]]]] = {
    "BOOL": ("bool", [[True, False]]),
    "UINT8": ("uint8", [[0, 255]]),
    "UINT16": ("uint16", [[0, 65535]]),
    "UINT32": ("uint32", [[0, 2**32 - 1]]),
    "UINT64": ("uint64", [[0, 2**64 - 1]]),
    "INT8": ("int8", [[-128, 127]]),
    "INT16": ("int16", [[-1, 1]]),
    "INT32": ("int32", [[-1, 1]]),
    "INT64": ("int64", [[-(2**63), 2**63 - 1]]),
    "FP32": ("float", [[1.5, None]]),
    "FP64": ("double", [[1e300, -0.0]]),
    "BYTES": ("string", [["a", "é"]]),
}
_INPUTS: Final = [
    *({"name": kind, "datatype": kind, "shape": [1, 2], "data": data} for kind, (_, data) in _VALUES.items()),
    # Beyond the table the model itself fails.
    {"name": "row", "datatype": "INT64", "shape": [1], "data": [2]},
    {"name": "by", "datatype": "INT32", "shape": [1], "data": [3]},
]
_BODY: Final = {"id": "7", "inputs": _INPUTS, "parameters": {"binary_data_output": False}}
_BINARY: Final = orjson.dumps(
    {
        "inputs": [
            *_INPUTS[:-1],
            {"name": "by", "datatype": "INT32", "shape": [1], "parameters": {"binary_data_size": 4}},
        ],
        "outputs": [{"name": "rest", "parameters": {"binary_data": True}}],
    }
)
_ENTITIES: Final = {"request": {each["name"]: each["data"] for each in _INPUTS}}
_JSON: Final = b" content-type:application/json\n"

SEEDS: Final = [
    b"POST " + _MODEL + b"/infer" + _JSON + orjson.dumps({**_BODY, "outputs": [{"name": "FP32_out"}, {"name": "value"}]}),
    b"POST " + _MODEL + b"/infer" + _JSON + orjson.dumps(_BODY),
    b"POST /predict" + _JSON + orjson.dumps(_ENTITIES),
    b"POST " + _MODEL + b"/infer inference-header-content-length:20" + _JSON + orjson.dumps(_BODY),
    b"POST %b/infer inference-header-content-length:%d\n%b" % (_MODEL, len(_BINARY), _BINARY) + bytes(4),
    b"POST " + _MODEL + b"/infer content-encoding:gzip accept-encoding:gzip" + _JSON + gzip.compress(orjson.dumps(_BODY), mtime=0),
    b"POST /v2/repository/index" + _JSON + b'{"ready": true}',
    b"HEAD " + _MODEL,
    b"GET /v2",
    b"GET " + _MODEL,
    b"GET " + _MODEL + b"/versions/1/ready",
    b"GET /v2/health/ready",
    b"GET /metrics accept:application/openmetrics-text",
]  # fmt: skip


class ServedModel:
    """Called with one request."""

    def __init__(self) -> None:
        self._model = InProcess(_opened)

    def __call__(self, sent: bytes) -> None:
        self._model(sent)


@asynccontextmanager
async def _opened() -> AsyncIterator[Application]:
    with tempfile.TemporaryDirectory() as folder:
        path = _written(Path(folder) / "model.onnx")
        service = InferenceServer(
            InferenceSettings(MILLRACE_MODEL_NAME="m", MILLRACE_MODEL_PATH=path, MILLRACE_DEVICE="cpu")
        ).service
        async with service.running():
            while not (await service.health.readiness()).ready:
                await asyncio.sleep(0.02)
            yield service


def _written(path: Path) -> Path:
    import onnx  # noqa: PLC0415 - of all targets this one alone needs it
    from onnx import TensorProto, helper  # noqa: PLC0415

    kinds = {kind: getattr(TensorProto, name.upper()) for kind, (name, _) in _VALUES.items()}
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            *(helper.make_node("Identity", [kind], [f"{kind}_out"]) for kind in kinds),
            helper.make_node("Gather", ["table", "row"], ["value"]),
            helper.make_node("Mod", ["by", "by"], ["rest"]),
        ],
        "fuzzed",
        [
            *(tensor(kind, number, [None, 2]) for kind, number in kinds.items()),
            tensor("row", TensorProto.INT64, [None]),
            tensor("by", TensorProto.INT32, [None]),
        ],
        [
            *(tensor(f"{kind}_out", number, [None, 2]) for kind, number in kinds.items()),
            tensor("value", TensorProto.FLOAT, [None]),
            tensor("rest", TensorProto.INT32, [None]),
        ],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [1.5, 2.5, 3.5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
