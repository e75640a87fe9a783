"""A model loads or says why not, and computes or says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper

from millrace_core.base.errors import RejectError, ReportError
from millrace_services.inference import runtime, session
from millrace_services.inference.session import OutOfMemoryError
from millrace_services.inference.tensors import TensorSpec

from .conftest import tensor, write


def test_a_model_says_what_it_takes_and_gives_and_how_long_what_it_was_warmed_up_with_takes(models):
    loaded = session.load(models["sum"], "cpu", 1)
    assert loaded.costs.expected(((1, 3),)) == float("inf")
    assert loaded.warm_up() is None
    assert 0 < loaded.costs.expected(((1, 3),)) < float("inf")
    assert 0 < loaded.costs.expected(((32, 3),)) < float("inf")
    assert loaded.costs.expected(((33, 3),)) == float("inf")
    assert loaded.device == "cpu"
    assert loaded.signature.inputs["features"] == TensorSpec("features", "FP32", (-1, 3))
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


@pytest.mark.parametrize(("short", "more"), [(float("inf"), 0), (0.0, 2)])
def test_a_model_has_threads_of_its_own_where_its_runs_are_not_all_short(models, monkeypatch, short, more):
    monkeypatch.setattr(session, "_ONE_THREAD_SECONDS", short)
    tasks = Path("/proc/self/task")
    before = set(tasks.iterdir())
    loaded = session.load_warm(models["sum"], "cpu", 3, most_rows=4)
    assert len(set(tasks.iterdir()) - before) == more
    [output] = loaded.run({"features": np.ones((2, 3), np.float32)}, ["total"])
    assert output.values.tolist() == [[3.0], [3.0]]


def test_a_model_that_never_ran_is_refused_and_says_why(tmp_path):
    path = write(
        tmp_path / "picky.onnx",
        [helper.make_node("Gather", ["table", "row"], ["value"])],
        [tensor("row", T.INT64, [None])],
        [tensor("value", T.FLOAT, [None])],
        [helper.make_tensor("table", T.FLOAT, [0], [])],
    )
    with pytest.raises(
        RejectError, match=r"did not run once on blank input, so it is not ready: .*row \[1\]"
    ) as caught:
        session.load_warm(path, "cpu", 1)
    assert caught.value.reason == "NeverRan"
    assert "\x1b" not in str(caught.value)


def test_a_model_that_takes_no_single_value_in_its_open_dimensions_is_warmed_up_with_more(tmp_path):
    path = write(
        tmp_path / "windows.onnx",
        [helper.make_node("Conv", ["sound", "window"], ["y"])],
        [tensor("sound", T.FLOAT, [None, 1, None])],
        [tensor("y", T.FLOAT, [None, 1, None])],
        [helper.make_tensor("window", T.FLOAT, [1, 1, 50], [1.0] * 50)],
    )
    loaded = session.load_warm(path, "cpu", 1)
    assert loaded.costs.expected(((1, 1, 64),)) < float("inf")
    assert loaded.still_runs()


def test_nan_for_blank_input_is_told_and_not_fatal(tmp_path, caplog):
    path = write(
        tmp_path / "nan.onnx",
        [helper.make_node("Div", ["x", "x"], ["y"])],
        [tensor("x", T.FLOAT, [None])],
        [tensor("y", T.FLOAT, [None])],
    )
    assert session.load_warm(path, "cpu", 1).nan_outputs == ("y",)
    assert "the model answers NaN to blank input: y" in caplog.text


@pytest.mark.parametrize(("kind", "dtype"), [(T.FLOAT16, np.float16), (T.BFLOAT16, np.uint16)])
def test_halves_go_through_a_model_bit_by_bit(tmp_path, kind, dtype):
    path = write(
        tmp_path / "half.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", kind, [None, 2])],
        [tensor("y", kind, [None, 2])],
    )
    loaded = session.load_warm(path, "cpu", 1)
    values = np.array([[0x3C00, 0xC0A1], [0x0001, 0x7BFF]], np.uint16).view(dtype)
    for rows in (values, values[:0]):
        (answer,) = loaded.run({"x": rows}, ["y"])
        assert (answer.values.dtype, answer.values.tolist()) == (dtype, rows.tolist())


def test_a_scalar_and_an_input_of_any_rank_are_told_apart(tmp_path):
    loaded = []
    for shape in ([], None):
        x, y = (helper.make_tensor_value_info(name, T.FLOAT, shape) for name in "xy")
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        path = write(tmp_path / "model.onnx", nodes, [x], [y], check=False)  # the checker asks for a shape
        loaded.append(session.load_warm(path, "cpu", 1))
    scalar, unranked = loaded
    assert scalar.signature.inputs["x"] == TensorSpec("x", "FP32", ())
    assert unranked.signature.inputs["x"] == TensorSpec("x", "FP32", (), ranked=False)
    assert scalar.run({"x": np.array(2.0, np.float32)}, ["y"])[0].values.shape == ()
    assert unranked.run({"x": np.ones((2, 3, 4), np.float32)}, ["y"])[0].values.shape == (2, 3, 4)


def test_a_model_without_inputs_runs(models):
    loaded = session.load_warm(models["constant"], "cpu", 1)
    assert loaded.run({}, ["value"])[0].values.tolist() == [1.5, 2.5, 3.5]


def test_a_sequence_of_tensors_is_refused_with_what_to_do(tmp_path):
    sequence = helper.make_tensor_sequence_value_info("y", T.FLOAT, None)
    path = write(
        tmp_path / "sequence.onnx",
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [tensor("x", T.FLOAT, [None])],
        [sequence],
    )
    with pytest.raises(RejectError, match=r"'y' of the model has type seq.tensor.float.*ConcatFromSequence") as caught:
        session.load(path, "cpu", 1)
    assert caught.value.reason == "UnsupportedModel"


def test_why_a_model_does_not_load_leads_to_what_helps(models, tmp_path):
    unknown = onnx.load(models["sum"])
    unknown.graph.node[0].domain = "com.example"
    unknown.opset_import.append(helper.make_opsetid("com.example", 1))
    (tmp_path / "custom.onnx").write_bytes(unknown.SerializeToString())
    with pytest.raises(RejectError, match="an operator that this ONNX Runtime does not know"):
        session.load(tmp_path / "custom.onnx", "cpu", 1)
    newer = onnx.load(models["sum"])
    newer.ir_version = 99
    (tmp_path / "newer.onnx").write_bytes(newer.SerializeToString())
    with pytest.raises(RejectError, match="an older opset or IR version"):
        session.load(tmp_path / "newer.onnx", "cpu", 1)
    outside = onnx.load(models["lookup"])
    outside.graph.initializer[0].raw_data = bytes(4096)
    outside.graph.initializer[0].ClearField("float_data")
    outside.graph.initializer[0].dims[0] = 1024
    onnx.save_model(outside, tmp_path / "large.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(RejectError, match="save the model as one file"):
        session.load(tmp_path / "large.onnx", "cpu", 1)


def test_what_onnx_runtime_says_is_one_line_without_colours_and_is_not_on_standard_error(models, capfd):
    loaded = session.load_warm(models["columns"], "cpu", 1)
    feeds = {"age": np.ones((2, 2), np.float32), "v__height": np.ones((2, 3), np.float32)}
    with pytest.raises(RejectError, match=r"refuses this input, age \[2, 2\], v__height \[2, 3\]: .* 2 by 3") as caught:
        loaded.run(feeds, ["total"], runtime.run_options())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


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
    with pytest.raises(RejectError, match=r"the model refuses this input, .*Add node"):
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
