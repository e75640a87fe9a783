"""The models that inference is measured with, and requests for them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Rows = np.ndarray[Any, Any]

GBC: Final = "gbc"
MLP: Final = "mlp"
WIDE: Final = "wide"
# Sizes of layers. The wide one takes some milliseconds per run of one row, and little more for many.
LAYERS: Final = {MLP: (512, 1024, 1024, 10), WIDE: (64, 4096, 4096, 10)}


def write(name: str, folder: Path) -> tuple[Path, Rows]:
    """Writes a model; returns its file and 32 rows for it."""
    path = folder / f"{name}.onnx"
    return path, (_boosting(path) if name == GBC else _perceptron(path, LAYERS[name]))


def _boosting(path: Path) -> Rows:
    """Gradient boosting on 30 features, with 100 trees."""
    from skl2onnx import to_onnx  # noqa: PLC0415 - seconds
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415
    from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415

    features, target = load_breast_cancer(return_X_y=True)
    features = features.astype(np.float32)
    model = GradientBoostingClassifier(random_state=0).fit(features, target)
    path.write_bytes(to_onnx(model, features[:1], options={"zipmap": False}).SerializeToString())
    return np.asarray(features[:32])


def _perceptron(path: Path, sizes: Sequence[int]) -> Rows:
    draw = np.random.default_rng(0)
    nodes, initializers, last = [], [], "X"
    for number, (wide, narrow) in enumerate(pairwise(sizes)):
        weights = (draw.normal(size=(wide, narrow)) / np.sqrt(wide)).astype(np.float32)
        initializers += [
            numpy_helper.from_array(weights, f"w{number}"),
            numpy_helper.from_array(np.zeros(narrow, np.float32), f"b{number}"),
        ]
        final = number == len(sizes) - 2
        nodes.append(helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], ["Y" if final else f"h{number}"]))
        last = f"r{number}"
        if not final:
            nodes.append(helper.make_node("Relu", [f"h{number}"], [last]))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", sizes[0]])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", sizes[-1]])],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return draw.normal(size=(32, sizes[0])).astype(np.float32)


def http_request(rows: Rows, *, binary: bool = False) -> bytes:
    """The bytes of a v2 request; of floats in JSON the fewest digits that tell them apart.

    Args:
        binary: as bytes behind the JSON, and so the answer.
    """
    tensor: dict[str, object] = {"name": "X", "datatype": "FP32", "shape": rows.shape}
    if binary:
        content = rows.astype("<f4").tobytes()
        tensor["parameters"] = {"binary_data_size": len(content)}
        header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        kind = f"application/octet-stream\r\ninference-header-content-length: {len(header)}"
        body = header + content
    else:
        tensor["data"] = [float(str(value)) for value in rows.ravel()]
        kind, body = "application/json", json.dumps({"inputs": [tensor]}).encode()
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
