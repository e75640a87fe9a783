"""Tiny ONNX models with answers that a test can compute in its head."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_linear(path: Path, width: int = 2, factor: float = 1.0) -> Path:
    """``output[row] = factor * sum(features[row])``; input ``features`` is float32 [n, width]."""
    weights = numpy_helper.from_array(np.full((width, 1), factor, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["output"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    return _written(graph, path)


def write_busy(path: Path, products: int = 4, size: int = 384) -> Path:
    """``output[row] = sum(features[row])`` of two features, after some milliseconds of matrix products."""
    ones = numpy_helper.from_array(np.full((size, size), 1 / size, dtype=np.float32), "ones")  # times itself: itself
    weights = numpy_helper.from_array(np.full((2, 1), 1, dtype=np.float32), "weights")
    nothing = numpy_helper.from_array(np.array(0, dtype=np.float32), "nothing")
    names = [f"product{number}" for number in range(products + 1)]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["linear"]),
            helper.make_node("ReduceSum", ["features"], ["all"], keepdims=0),
            helper.make_node("Mul", ["ones", "all"], [names[0]]),
            *(helper.make_node("MatMul", [before, "ones"], [after]) for before, after in pairwise(names)),
            helper.make_node("ReduceMean", [names[-1]], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Add", ["linear", "zero"], ["output"]),
        ],
        "busy",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 1])],
        [ones, weights, nothing],
    )
    return _written(graph, path)


def _written(graph: onnx.GraphProto, path: Path) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_external(path: Path, files: tuple[str, ...] = ("weights.bin",), width: int = 2) -> Path:
    """``output[row]``: the sum of ``features[row]`` times as many as there are files, each of which holds weights."""
    names = [f"w{number}" for number in range(len(files))]
    weights = []
    for name, file in zip(names, files, strict=True):
        values = np.ones((width, 1), dtype=np.float32)
        tensor = numpy_helper.from_array(values, name)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=file)
        weights.append(tensor)
        target = path.parent / file
        if target.resolve().is_relative_to(path.parent.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(values.tobytes())
    nodes = [helper.make_node("MatMul", ["features", name], [f"p_{name}"]) for name in names]
    nodes.append(helper.make_node("Sum", [f"p_{name}" for name in names], ["output"]))
    graph = helper.make_graph(
        nodes,
        "external",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_scores(path: Path, width: int = 2, factor: float = 4.0) -> Path:
    """``probabilities[row] = sigmoid(factor * sum(features[row]))``; input as of ``write_linear``."""
    weights = numpy_helper.from_array(np.full((width, 1), factor, dtype=np.float32), "weights")
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["scores"]),
        helper.make_node("Sigmoid", ["scores"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scores",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
