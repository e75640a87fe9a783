"""Requests of the protocol are checked as a whole, and answers say what they hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from millrace_core.base.errors import RejectError
from millrace_services.inference.protocol import decode, encode
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import TensorSpec, from_output

SIGNATURE = Signature(
    [TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BYTES", (-1,))],
    [TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "BYTES", (-1,))],
)
A = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
B = {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["x"]}


def request(*inputs, **more) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def test_inputs_come_in_any_order_and_outputs_are_all_unless_named():
    decoded = decode(request(B, A, id="r1"), SIGNATURE)
    assert decoded.id == "r1"
    assert decoded.feeds["a"].tolist() == [[1.0, 2.0]]
    assert decoded.outputs == ["y", "z"]
    assert decode(request(A, B, outputs=[{"name": "z"}]), SIGNATURE).outputs == ["z"]
    assert decode(request(A, B, outputs=[]), SIGNATURE).outputs == ["y", "z"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (request(A, B, outputs=[{"name": [1]}]), "the model has no output [1]"),
        (request(A, B, id=json.loads("[" * 900 + "]" * 900)), '"id" is [[['),
        (b'{"inputs": [' + b"[" * 1000 + b"]" * 1000 + b"]}", "an input is [[["),
        (request({**A, "shape": list(range(10**5))}), "shape [0, 1, 2"),
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[]", "the body is a JSON list"),
        (b"{}", '"inputs" is missing'),
        (b'{"inputs": {}}', '"inputs" is missing or no list'),
        (request(), "input 'a' is missing"),
        (request(A), "input 'b' is missing. The model takes a (FP32 [-1, 2]), b (BYTES [-1])"),
        (request(A, A), "input 'a' came twice"),
        (request(A, B, {**A, "name": "c"}), "the model has no input 'c'"),
        (request(7), "an input is 7"),
        (request({**A, "name": None}), "the model has no input None"),
        (request({**A, "name": []}), "the model has no input []"),
        (request({**A, "datatype": "FP64"}), "input 'a': datatype 'FP64' came, FP32 is expected"),
        (request({**A, "shape": [1, 3]}), "input 'a': shape [1, 3] came, [-1, 2] is expected"),
        (request({"name": "a", "datatype": "FP32", "shape": [1, 2]}), "input 'a': \"data\" is missing"),
        (request(A, B, id=5), '"id" is 5'),
        (request(A, B, outputs={"name": "y"}), '"outputs" is no list'),
        (request(A, B, outputs=[{"name": "q"}]), "the model has no output 'q'. It has y, z"),
        (request(A, B, outputs=["y"]), "the model has no output None"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(body, sentence):
    with pytest.raises(RejectError) as caught:
        decode(body, SIGNATURE)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_answer_holds_datatype_shape_and_flat_data():
    decoded = decode(request(A, B, id="r1"), SIGNATURE)
    results = [np.array([0.1, np.nan], dtype=np.float32), np.array(["p", "q"], dtype=object)]
    assert json.loads(encode(decoded, [from_output(value) for value in results], "m", "7", SIGNATURE)) == {
        "model_name": "m",
        "model_version": "7",
        "id": "r1",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2], "data": [0.1, None]},
            {"name": "z", "datatype": "BYTES", "shape": [2], "data": ["p", "q"]},
        ],
    }


def test_an_answer_names_the_classes_of_a_list_of_maps():
    decoded = decode(request(A, B, outputs=[{"name": "y"}]), SIGNATURE)
    answer = json.loads(encode(decoded, [from_output([{"no": 0.25, "yes": 0.75}])], "m", "7", SIGNATURE))
    (output,) = answer["outputs"]
    assert (output["shape"], output["data"]) == ([1, 2], [0.25, 0.75])
    assert json.loads(output["parameters"]["classes"]) == ["no", "yes"]
