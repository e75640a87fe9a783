"""Models whose rows are their own are told from those that have no batch axis or mix rows, before they are served."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper

from millrace_services.inference import proof, session

from .conftest import counting, tensor, write


def float_model(path, nodes, output, *, rows=("n", "n"), initializers=()):
    inputs = [tensor("x", T.FLOAT, [rows[0], 4])]
    return write(path, nodes, inputs, [tensor("y", T.FLOAT, [rows[1], *output])], initializers)


def batching_of(path, most=16):
    return session.load_warm(path, "cpu", 1, most_rows=most).batching


SOFTMAX = [helper.make_node("Softmax", ["x"], ["y"], axis=1)]


@pytest.mark.parametrize("rows", [("n", "n"), (None, None), ("n", None)], ids=str)
def test_a_model_whose_rows_are_their_own_may_be_batched(tmp_path, rows):
    loaded = session.load_warm(float_model(tmp_path / "m.onnx", SOFTMAX, [4], rows=rows), "cpu", 1, most_rows=16)
    assert loaded.batching.described() == "up to 16 rows"
    kind = (("x", "f", (4,)),)
    assert all(0 < loaded.costs.expected((rows, kind)) < 1 for rows in (1, 2, 4, 8, 16)), "every bucket was measured"
    assert loaded.costs.expected((32, kind)) == float("inf")


@pytest.mark.parametrize(
    ("nodes", "output"),
    [
        ([helper.make_node("Softmax", ["x"], ["y"], axis=0)], [4]),
        ([helper.make_node("CumSum", ["x", "axis"], ["y"])], [4]),
        (
            [
                helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
                helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
            ],
            [4],
        ),
        (
            [
                helper.make_node("ReduceMax", ["x"], ["greatest"], axes=[0], keepdims=1),
                helper.make_node("Max", ["x", "greatest"], ["y"]),
            ],
            [4],
        ),
        ([helper.make_node("RandomNormalLike", ["x"], ["y"])], [4]),
    ],
    ids=["softmax over rows", "sum of rows before", "one scale for all rows", "greatest of all rows", "chance"],
)
def test_a_model_that_mixes_rows_is_never_batched(tmp_path, nodes, output):
    axis = [helper.make_tensor("axis", T.INT64, [], [0])] if "axis" in nodes[0].input else []
    path = float_model(tmp_path / "m.onnx", nodes, output, initializers=axis)
    found = batching_of(path)
    assert found.rows == 1
    assert "beside another row" in found.why_not


def test_models_without_a_batch_axis_are_told_by_their_signature(models, tmp_path):
    assert "'y' has no dimensions" in batching_of(counting(tmp_path / "counting.onnx")).why_not
    assert batching_of(models["constant"]).why_not == "it has no inputs"
    fixed = float_model(tmp_path / "fixed.onnx", SOFTMAX, [4], rows=(2, 2))
    assert "'x' is fixed at 2" in batching_of(fixed).why_not
    differ = float_model(tmp_path / "differ.onnx", SOFTMAX, [4], rows=("n", "m"))
    assert "'x' is 'n', that of 'y' is 'm'" in batching_of(differ).why_not
    assert "beside another row" in batching_of(models["pairs"]).why_not


def test_a_list_of_maps_has_a_row_per_entry(classifiers):
    assert batching_of(classifiers["zipmap"][0]).rows == 16
    assert batching_of(classifiers["tensor"][0]).rows == 16


def test_a_model_that_does_not_run_on_two_rows_is_never_batched(tmp_path):
    table = helper.make_tensor("table", T.FLOAT, [1], [1.0])
    path = write(
        tmp_path / "m.onnx",
        [helper.make_node("Gather", ["table", "row"], ["value"])],
        [tensor("row", T.INT64, [None])],
        [tensor("value", T.FLOAT, [None])],
        [table],
    )
    assert "it does not run on the two rows that would prove it: " in batching_of(path).why_not


def test_outputs_are_compared_by_what_their_type_can_hold():
    def close(found, expected, dtype):
        return proof._close(np.array(found, dtype), np.array(expected, dtype))

    assert close([1.00001, 100], [1, 100], "f4")
    assert not close([1.1, 100], [1, 100], "f4")
    assert close([1.1, 100], [1, 100], "f2")
    assert not close([1.00001, 100], [1, 100], "f8")
    assert close([np.nan, np.inf], [np.nan, np.inf], "f4")
    assert not close([np.nan, 1], [1, 1], "f4")
