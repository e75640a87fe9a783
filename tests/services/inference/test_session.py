"""A model loads or says why not, and computes or says why not."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper

from millrace_core.base.errors import RejectError, ReportError
from millrace_services.inference import runtime, session
from millrace_services.inference.session import OutOfMemoryError

from .conftest import tensor, write


def test_a_model_says_what_it_takes_and_gives_and_how_long_what_it_was_warmed_up_with_takes(models):
    loaded = session.load(models["sum"], "cpu", 1)
    assert loaded.costs.expected(((1, 3),)) == float("inf")
    assert loaded.warm_up() is None
    assert 0 < loaded.costs.expected(((1, 3),)) < float("inf")
    assert 0 < loaded.costs.expected(((32, 3),)) < float("inf")
    assert loaded.costs.expected(((33, 3),)) == float("inf")
    assert loaded.device == "cpu"
    assert loaded.signature.inputs["features"] == ("features", "FP32", (-1, 3))
    assert loaded.signature.output_names == ["total"]
    assert 0 < loaded.row_seconds < 1
    assert loaded.run({"features": np.ones((2, 3), np.float32)}, ["total"])[0].values.tolist() == [[3.0], [3.0]]


@pytest.mark.parametrize("name", ["every", "lookup", "columns", "slow"])
def test_models_of_every_kind_of_input_are_warmed_up(models, name):
    loaded = session.load(models[name], "cpu", 1)
    loaded.warm_up()
    assert loaded.row_seconds < float("inf")


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x08"], ids=["empty", "text", "no graph"])
def test_a_file_that_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(RejectError, match=r"model\.onnx .*is not an ONNX model") as caught:
        session.load(path, "cpu", 1)
    assert caught.value.reason == "BadModel"


def test_a_model_cut_off_anywhere_is_refused(models, tmp_path):
    whole = models["lookup"].read_bytes()
    path = tmp_path / "cut.onnx"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(RejectError, match="is not an ONNX model"):
            session.load(path, "cpu", 1, optimize=False)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RejectError, match=r"no model file .*nowhere\.onnx"):
        session.load(tmp_path / "nowhere.onnx", "cpu", 1)


@pytest.mark.skipif(runtime.has_cuda(), reason="ONNX Runtime for the CPU alone")
def test_a_demanded_gpu_that_is_not_there_is_an_error_and_auto_falls_back(models, caplog):
    with pytest.raises(RejectError, match="a GPU is demanded, but this installation") as caught:
        session.load(models["sum"], "gpu", 1)
    assert (caught.value.field, caught.value.reason) == ("spec.inference.device", "NoDevice")
    assert session.load_warm(models["sum"], "auto", 1).device == "cpu"
    assert not caplog.records


def test_a_model_that_does_not_run_on_blank_input_is_served_cold_and_a_warning_says_why(tmp_path, caplog):
    path = write(
        tmp_path / "picky.onnx",
        [helper.make_node("Gather", ["table", "row"], ["value"])],
        [tensor("row", T.INT64, [None])],
        [tensor("value", T.FLOAT, [None])],
        [helper.make_tensor("table", T.FLOAT, [0], [])],
    )
    loaded = session.load_warm(path, "cpu", 1)
    assert loaded.row_seconds == float("inf")
    assert "so it is not warm: " in caplog.text
    assert loaded.still_runs(), "nothing is known of a model that never ran"


def test_input_that_the_memory_does_not_hold_is_too_large_and_the_next_runs(models):
    loaded = session.load_warm(models["pairs"], "cpu", 1)
    # 2^48 bytes: more than a process can address, on machines that promise any memory, too
    with pytest.raises(OutOfMemoryError, match=r"x \[8388608, 1\], takes more memory than the CPU has left"):
        loaded.run({"x": np.zeros((1 << 23, 1), np.float32)}, ["most"])
    assert loaded.still_runs()
    assert loaded.run({"x": np.array([[2], [3]], np.float32)}, ["most"])[0].values.tolist() == [[6.0], [9.0]]


def test_an_operator_that_fails_is_a_bad_request_on_a_cpu_and_reported_on_a_gpu_which_may_be_lost(models):
    loaded = session.load(models["columns"], "cpu", 1)
    feeds = {"age": np.ones((2, 2), np.float32), "v__height": np.ones((2, 3), np.float32)}
    with pytest.raises(RejectError, match=r"the model fails at this input: .*Add node"):
        loaded.run(feeds, ["total"])
    with pytest.raises(ReportError, match="the model fails"):
        session.ModelSession(loaded._session, loaded.signature, "gpu").run(feeds, ["total"])


def test_inputs_with_different_numbers_of_rows_are_a_bad_request(models):
    loaded = session.load(models["columns"], "cpu", 1)
    feeds = {"age": np.ones((2, 1), np.float32), "v__height": np.ones((3, 1), np.float32)}
    with pytest.raises(RejectError, match=r"age \[2, 1\], v__height \[3, 1\]"):
        loaded.run(feeds, ["total"])


def test_what_the_model_itself_refuses_is_a_bad_request(models):
    loaded = session.load(models["lookup"], "cpu", 1)
    with pytest.raises(RejectError, match="the model refuses this input"):
        loaded.run({"row": np.array([99])}, ["value"])
