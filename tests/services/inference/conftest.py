"""Small real models, written once per session, and inference servers over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper


def write(path: Path, nodes, inputs, outputs, initializers=(), *, check: bool = True) -> Path:
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if check:
        onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def tensor(name: str, kind: int, shape: list[int | str | None]):
    return helper.make_tensor_value_info(name, kind, shape)


def counting(path: Path, more: str = "0") -> Path:
    """x [n, 1] FP32 → y: counts to the greatest x and ``more``."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["before", "one"], ["after"]),
        ],
        "body",
        [tensor("i", T.INT64, []), tensor("go", T.BOOL, []), tensor("before", T.FLOAT, [])],
        [tensor("go_on", T.BOOL, []), tensor("after", T.FLOAT, [])],
        [helper.make_tensor("one", T.FLOAT, [], [1.0])],
    )
    return write(
        path,
        [
            helper.make_node("ReduceMax", ["x"], ["greatest"], keepdims=0),
            helper.make_node("Add", ["greatest", "more"], ["count"]),
            helper.make_node("Cast", ["count"], ["times"], to=T.INT64),
            helper.make_node("Loop", ["times", "yes", "start"], ["y"], body=body),
        ],
        [tensor("x", T.FLOAT, [None, 1])],
        [tensor("y", T.FLOAT, [])],
        [
            helper.make_tensor("more", T.FLOAT, [], [float(more)]),
            helper.make_tensor("yes", T.BOOL, [], [True]),
            helper.make_tensor("start", T.FLOAT, [], [0.0]),
        ],
    )


@pytest.fixture(scope="session")
def slow_quotient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a, b [n] INT32 → c = a / b [n] FP32, in milliseconds; to divide the lowest integer by -1 ends the process."""
    layers = [helper.make_node("MatMul", [f"h{n}", "eye"], [f"h{n + 1}"]) for n in range(8)]
    return write(
        tmp_path_factory.mktemp("quotient") / "model.onnx",
        [
            helper.make_node("Equal", ["b", "zero"], ["is_zero"]),
            helper.make_node("Where", ["is_zero", "one", "b"], ["divisor"]),
            helper.make_node("Div", ["a", "divisor"], ["quotient"]),
            helper.make_node("Cast", ["quotient"], ["value"], to=T.FLOAT),
            helper.make_node("Unsqueeze", ["value", "axis"], ["column"]),
            helper.make_node("MatMul", ["column", "wide"], ["h0"]),
            *layers,
            helper.make_node("ReduceMax", ["h8"], ["c"], axes=[1], keepdims=0),
        ],
        [tensor("a", T.INT32, ["n"]), tensor("b", T.INT32, ["n"])],
        [tensor("c", T.FLOAT, ["n"])],
        [
            helper.make_tensor("axis", T.INT64, [1], [1]),
            helper.make_tensor("zero", T.INT32, [1], [0]),
            helper.make_tensor("one", T.INT32, [1], [1]),
            numpy_helper.from_array(np.ones((1, 1024), np.float32), "wide"),
            numpy_helper.from_array(np.eye(1024, dtype=np.float32), "eye"),
        ],
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models by what they are good for.

    ``sum``: features [n, 3] FP32 → total [n, 1]; ``columns``: one FP32 input per feature; ``every``: one input per
    datatype, returned as it came; ``slow``: some tens of milliseconds whatever the row; ``lookup``: fails on an index
    out of range; ``pairs``: x [n, 1] FP32 → most [n, 1], through an array [n, n].
    """
    folder = tmp_path_factory.mktemp("models")
    axes = helper.make_tensor("axes", T.INT64, [1], [1])
    kinds = {
        "b": T.BOOL,
        "u1": T.UINT8,
        "u2": T.UINT16,
        "u4": T.UINT32,
        "u8": T.UINT64,
        "i1": T.INT8,
        "i2": T.INT16,
        "i4": T.INT32,
        "i8": T.INT64,
        "f4": T.FLOAT,
        "f8": T.DOUBLE,
        "s": T.STRING,
    }
    return {
        "sum": write(
            folder / "sum.onnx",
            [helper.make_node("ReduceSum", ["features", "axes"], ["total"], keepdims=1)],
            [tensor("features", T.FLOAT, [None, 3])],
            [tensor("total", T.FLOAT, [None, 1])],
            [axes],
        ),
        "columns": write(
            folder / "columns.onnx",
            [helper.make_node("Add", ["age", "v__height"], ["total"])],
            [tensor("age", T.FLOAT, [None, None]), tensor("v__height", T.FLOAT, [None, None])],
            [tensor("total", T.FLOAT, [None, None])],
        ),
        "every": write(
            folder / "every.onnx",
            [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
            [tensor(name, kind, [None, 2]) for name, kind in kinds.items()],
            [tensor(f"{name}_out", kind, [None, 2]) for name, kind in kinds.items()],
        ),
        "slow": write(
            folder / "slow.onnx",
            [
                helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0),
                helper.make_node("Expand", ["m", "square"], ["a0"]),
                *(helper.make_node("MatMul", [f"a{n}", f"a{n}"], [f"a{n + 1}"]) for n in range(6)),
                helper.make_node("ReduceMax", ["a6"], ["y"], keepdims=0),
            ],
            [tensor("x", T.FLOAT, [None, 1])],
            [tensor("y", T.FLOAT, [])],
            [helper.make_tensor("square", T.INT64, [2], [512, 512])],
        ),
        "lookup": write(
            folder / "lookup.onnx",
            [helper.make_node("Gather", ["table", "row"], ["value"])],
            [tensor("row", T.INT64, [None])],
            [tensor("value", T.FLOAT, [None])],
            [helper.make_tensor("table", T.FLOAT, [3], [1.5, 2.5, 3.5])],
        ),
        "constant": write(
            folder / "constant.onnx",
            [helper.make_node("Identity", ["table"], ["value"])],
            [],
            [tensor("value", T.FLOAT, [3])],
            [helper.make_tensor("table", T.FLOAT, [3], [1.5, 2.5, 3.5])],
        ),
        "pairs": write(
            folder / "pairs.onnx",
            [
                helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
                helper.make_node("MatMul", ["x", "t"], ["xx"]),
                helper.make_node("ReduceMax", ["xx"], ["most"], axes=[1], keepdims=1),
            ],
            [tensor("x", T.FLOAT, [None, 1])],
            [tensor("most", T.FLOAT, [None, 1])],
        ),
    }


@pytest.fixture(scope="session")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray, np.ndarray]]:
    """A scikit-learn classifier with ZipMap (a list of maps) and without, some rows, its own probabilities of them."""
    from skl2onnx import to_onnx  # noqa: PLC0415 - each worker would read it, whatever it tests
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415
    from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("classifiers")
    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(x, y)
    made = {}
    for name, zipmap in (("tensor", False), ("zipmap", True)):
        path = folder / f"{name}.onnx"
        path.write_bytes(to_onnx(model, x[:1], options={"zipmap": zipmap}).SerializeToString())
        made[name] = (path, x[:4], model.predict_proba(x[:4]))
    return made


@pytest.fixture(scope="module")
def serve(start_service) -> Callable[..., object]:
    """A function ``(model path, **environment)`` that starts a server and waits until it is warm."""

    def start(path: Path, **environment: str):
        settings = {
            "MILLRACE_MODEL_NAME": "m",
            "MILLRACE_DEPLOYMENT": "m-v7",
            "MILLRACE_MODEL_PATH": str(path),
            "MILLRACE_DEVICE": "cpu",  # what a test says of speed and errors holds on machines with a GPU, too
            **environment,
        }
        service = start_service("-m", "millrace_services.inference", "serve", **settings)
        while httpx.get(f"{service.url}/v2/health/ready").status_code != 200:
            assert service.process.poll() is None, service.log()
        return service

    return start
