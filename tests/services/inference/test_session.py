"""A model loads or says why not, and computes the same bound and unbound."""

from __future__ import annotations

import numpy as np
import pytest

from millrace.base.errors import RejectError, ReportError
from millrace.inference import session
from millrace.inference.session import ModelSession


def test_a_model_says_what_it_takes_and_gives_and_how_long_a_row_takes(models):
    loaded = session.load(models["sum"], "auto", 1)
    assert loaded.expected_seconds(1) == float("inf")
    loaded.warm_up()
    assert 0 < loaded.expected_seconds(0) == loaded.expected_seconds(1) <= loaded.expected_seconds(10_000)
    assert loaded.device == "cpu"
    assert loaded.signature.inputs["features"] == ("features", "FP32", (-1, 3))
    assert loaded.signature.output_names == ["total"]
    assert 0 < loaded.row_seconds < 1
    assert loaded.run({"features": np.ones((2, 3), np.float32)}, ["total"])[0].tolist() == [[3.0], [3.0]]


@pytest.mark.parametrize("name", ["every", "lookup", "columns", "slow"])
def test_models_of_every_kind_of_input_are_warmed_up(models, name):
    loaded = session.load(models[name], "cpu", 1)
    loaded.warm_up()
    assert loaded.row_seconds < float("inf")


def test_results_are_the_same_through_io_binding_which_a_gpu_uses(models):
    plain = session.load(models["sum"], "cpu", 1)
    bound = ModelSession(plain._session, plain.signature, "gpu")
    feeds = {"features": np.arange(12, dtype=np.float32).reshape(4, 3)}
    np.testing.assert_array_equal(bound.run(feeds, ["total"])[0], plain.run(feeds, ["total"])[0])


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


def test_a_demanded_gpu_that_is_not_there_is_an_error_and_auto_falls_back(models):
    with pytest.raises(RejectError, match="a GPU is demanded") as caught:
        session.load(models["sum"], "gpu", 1)
    assert caught.value.field == "spec.inference.device"
    assert session.load(models["sum"], "auto", 1).device == "cpu"


def test_a_model_that_fails_for_reasons_of_its_own_is_reported(models):
    loaded = session.load(models["columns"], "cpu", 1)
    feeds = {"age": np.ones((2, 2), np.float32), "v__height": np.ones((2, 3), np.float32)}
    with pytest.raises(ReportError, match="the model fails"):
        loaded.run(feeds, ["total"])


def test_inputs_with_different_numbers_of_rows_are_a_bad_request(models):
    loaded = session.load(models["columns"], "cpu", 1)
    feeds = {"age": np.ones((2, 1), np.float32), "v__height": np.ones((3, 1), np.float32)}
    with pytest.raises(RejectError, match=r"age \[2, 1\], v__height \[3, 1\]"):
        loaded.run(feeds, ["total"])


def test_what_the_model_itself_refuses_is_a_bad_request(models):
    loaded = session.load(models["lookup"], "cpu", 1)
    with pytest.raises(RejectError, match="the model refuses this input"):
        loaded.run({"row": np.array([99])}, ["value"])
