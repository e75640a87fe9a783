"""On an NVIDIA GPU with ``millrace[gpu]``; nothing here runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from millrace_core.base.errors import RejectError
from millrace_services.inference import runtime, session
from millrace_services.inference.blank_input import Blank

from .conftest import tensor, write

pytestmark = pytest.mark.skipif(
    not (runtime.has_cuda() and Path("/dev/nvidiactl").exists()), reason="needs an NVIDIA GPU and millrace[gpu]"
)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """image [n, 3, 16, 16] FP32 → scores [n, 8]: convolutions and a matrix product."""
    random = np.random.default_rng(1)

    def weights(name: str, *shape: int):
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    return write(
        tmp_path_factory.mktemp("network") / "network.onnx",
        [
            helper.make_node("Conv", ["image", "w0"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "w1"], ["scores"]),
        ],
        [tensor("image", T.FLOAT, [None, 3, 16, 16])],
        [tensor("scores", T.FLOAT, [None, 8])],
        [weights("w0", 32, 3, 3, 3), weights("w1", 32, 8)],
    )


@pytest.fixture(scope="module")
def pairs(serve, models):
    return serve(models["pairs"], MILLRACE_DEVICE="gpu")


def most(server, *values: int) -> httpx.Response:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [len(values), 1], "data": values}]
    return httpx.post(f"{server.url}/v2/models/m/infer", json={"inputs": inputs}, timeout=60)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_a_gpu_answers_what_the_cpu_answers(network, rows):
    feeds = {"image": np.random.default_rng(rows).standard_normal((rows, 3, 16, 16)).astype(np.float32)}
    on_gpu, on_cpu = session.load_warm(network, "auto", 1), session.load_warm(network, "cpu", 1)
    assert (on_gpu.device, on_cpu.device) == ("gpu", "cpu")
    np.testing.assert_allclose(
        on_gpu.run(feeds, ["scores"])[0].values, on_cpu.run(feeds, ["scores"])[0].values, rtol=1e-4, atol=1e-5
    )


def test_strings_and_every_other_type_come_back_as_on_the_cpu(models):
    on_gpu, on_cpu = session.load_warm(models["every"], "auto", 1), session.load_warm(models["every"], "cpu", 1)
    feeds = {spec.name: Blank(rows=3).tensor(spec) for spec in on_gpu.signature.inputs.values()}
    feeds["s"] = np.array([["ä", ""], ["b", "c"], ["", "d"]], dtype=object)
    names = on_gpu.signature.output_names
    for got, expected in zip(on_gpu.run(feeds, names), on_cpu.run(feeds, names), strict=True):
        np.testing.assert_array_equal(got.values, expected.values)


def test_what_the_model_refuses_is_a_bad_request_on_a_gpu_too(network):
    with pytest.raises(RejectError, match="the model refuses this input"):
        session.load(network, "gpu", 1).run({"image": np.ones((1, 3, 16, 15), np.float32)}, ["scores"])


def test_a_model_without_an_operator_for_the_gpu_runs_on_the_cpu_unless_the_gpu_is_demanded(classifiers, caplog):
    path = classifiers["tensor"][0]
    assert session.load_warm(path, "auto", 1).device == "cpu"
    assert "the model runs on the CPU: CUDA has none of this model's operators" in caplog.text
    with pytest.raises(RejectError, match="a GPU is demanded, but CUDA has none"):
        session.load_warm(path, "gpu", 1)


def test_operators_that_stay_on_the_cpu_are_named(classifiers, caplog):
    assert session.load_warm(classifiers["zipmap"][0], "auto", 1).device == "gpu"
    assert "2 of the model's 3 operators run on the CPU, for CUDA has none of them: TreeEnsemble" in caplog.text


def test_metadata_and_metrics_say_gpu(pairs):
    assert httpx.get(f"{pairs.url}/v2/models/m").json()["parameters"]["device"] == "gpu"
    assert 'millrace_inference_device_info{deployment="m-v7",device="gpu"' in httpx.get(f"{pairs.url}/metrics").text


def test_what_the_gpus_memory_does_not_hold_is_413_and_serving_goes_on(pairs):
    refused = most(pairs, *[0] * (1 << 19))
    assert (refused.status_code, refused.json()["reason"]) == (413, "TooLarge")
    assert "takes more memory than the GPU has left" in refused.json()["error"]
    assert most(pairs, 2, 3).json()["outputs"][0]["data"] == [6.0, 9.0]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_where_no_gpu_is_shown_auto_serves_from_the_cpu_and_says_so(serve, models, hidden):
    server = serve(models["sum"], MILLRACE_DEVICE="auto", CUDA_VISIBLE_DEVICES=hidden)
    assert httpx.get(f"{server.url}/v2/models/m").json()["parameters"]["device"] == "cpu"
    assert "the model runs on the CPU: CUDA failure 100: no CUDA-capable device is detected" in server.log()
