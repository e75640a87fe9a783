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
        (b'{"inputs": [NaNs]}', "the body is not JSON"),
        (request({**A, "data": [1, True]}, B), "input 'a': true or false came"),
        (request({**A, "data": [False, 0.5]}, B), "input 'a': true or false came"),
        (request(A, B, parameters=[]), "parameters: [] came, an object is expected"),
        (request(A, B, parameters={"timeout": -1}), "timeout: -1 came, microseconds are expected"),
        (request(A, B, parameters={"priority": 2}), "'priority': 2 came, but all requests are served in their order"),
        (request(A, B, parameters={"sequence_id": "s"}), "'s' came, but the model keeps nothing between"),
        (
            request(A, B, parameters={"best": 1}),
            "it is not known; of the request these are: binary_data_output, timeout",
        ),
        (request(A, B, parameters={"binary_data_output": 1}), "binary_data_output: 1 came, true or false is expected"),
        (request(A, B, parameters={"content_type": "base64"}), "content_type: 'base64' is not decoded here"),
        (request({**A, "parameters": {"shared_memory_region": "r"}}, B), "no memory is shared with clients"),
        (
            request({**A, "parameters": {"binary_data_size": 8}}, B),
            "without the header Inference-Header-Content-Length",
        ),
        (request(A, B, outputs=[{"name": "y", "parameters": {"classification": 3}}]), "classes are not ranked here"),
        (request(A, B, outputs=[{"name": "y"}, {"name": "y"}]), "output 'y' is asked for twice"),
        (b"[]", "the body is a JSON list"),
        (b"{}", '"inputs" is missing'),
        (b'{"inputs": {}}', '"inputs" is missing or no list'),
        (request(), "input 'a' is missing"),
        (request(A), "input 'b' is missing. The model takes a (FP32 [-1, 2]), b (BYTES [-1])"),
        (request(A, A), "input 'a' came twice"),
        (request(A, B, {**A, "name": "c"}), "the model has no input 'c'"),
        (request(7), "an input is 7"),
        (request({"datatype": "FP32", "shape": [1, 2]}), '"name" of an input is missing. The model takes a'),
        (request({**A, "name": None}), '"name" of an input is missing'),
        (request({**A, "name": []}), "the model has no input []"),
        (request({**A, "datatype": "FP64"}), "input 'a': datatype 'FP64' came, FP32 is expected"),
        (request({"name": "a", "shape": [1, 2]}), "input 'a': \"datatype\" is missing, FP32 is expected"),
        (request({"name": "a", "datatype": "FP32"}), "input 'a': \"shape\" is missing, [-1, 2] is expected"),
        (request({**A, "shape": [1, 3]}), "input 'a': shape [1, 3] came, [-1, 2] is expected"),
        (request({"name": "a", "datatype": "FP32", "shape": [1, 2]}), "input 'a': \"data\" is missing"),
        (request(A, B, id=5), '"id" is 5'),
        (request(A, B, outputs={"name": "y"}), '"outputs" is no list'),
        (request(A, B, outputs=[{"name": "q"}]), "the model has no output 'q'. It has y, z"),
        (request(A, B, outputs=["y"]), "an output is 'y', an object is expected"),
        (request(A, B, outputs=[{}]), '"name" of an output is missing. It has y, z'),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(body, sentence):
    with pytest.raises(RejectError) as caught:
        decode(body, SIGNATURE)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 500


def test_parameters_that_ask_for_nothing_or_say_what_is_so_anyway_are_let_through():
    nothing = {"priority": 0, "sequence_id": "", "sequence_start": False, "anything": None, "content_type": "np"}
    decoded = decode(
        request({**A, "parameters": {"content_type": "np"}}, B, parameters={**nothing, "timeout": 0}), SIGNATURE
    )
    assert (decoded.timeout, decoded.binary) == (None, ())
    assert decode(request(A, B, parameters={"timeout": 2_500_000}), SIGNATURE).timeout == 2.5


def test_dimensions_of_one_name_have_one_size_in_all_inputs():
    inputs = [TensorSpec("a", "FP32", (-1, -1)), TensorSpec("b", "FP32", (-1,))]
    shared = Signature(inputs, [], {("a", 0): "n", ("a", 1): "m", ("b", 0): "m"})

    def asked(shape: list[int], size: int) -> bytes:
        a = {"name": "a", "datatype": "FP32", "shape": shape, "data": [0] * shape[0] * shape[1]}
        return request(a, {"name": "b", "datatype": "FP32", "shape": [size], "data": [0] * size})

    assert decode(asked([2, 3], 3), shared).feeds["b"].shape == (3,)
    for shape, size in (([2, 3], 4), ([2, 3], 1), ([3, 1], 3)):
        with pytest.raises(RejectError, match=r"input 'b': shape .* dimension 'm', number 0 of the one and 1 of the"):
            decode(asked(shape, size), shared)


def test_numbers_that_are_no_json_are_taken_as_triton_writes_them():
    body = request({**A, "data": [float("nan"), float("-inf")]}, B)
    assert b"NaN, -Infinity" in body
    np.testing.assert_array_equal(decode(body, SIGNATURE).feeds["a"], np.array([[np.nan, -np.inf]], np.float32))


def test_a_model_without_inputs_needs_none():
    for body in (b"{}", b'{"inputs": []}'):
        assert decode(body, Signature([], [])).feeds == {}
    with pytest.raises(RejectError, match="The model takes no inputs"):
        decode(request(A), Signature([], []))


def test_an_answer_holds_datatype_shape_and_flat_data():
    decoded = decode(request(A, B, id="r1"), SIGNATURE)
    results = [np.array([0.1, np.nan], dtype=np.float32), np.array(["p", "q"], dtype=object)]
    answer = encode(decoded, [from_output(value) for value in results], "m", "7", SIGNATURE)
    assert answer.json_length is None
    assert json.loads(answer.body) == {
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
    answer = json.loads(encode(decoded, [from_output([{"no": 0.25, "yes": 0.75}])], "m", "7", SIGNATURE).body)
    (output,) = answer["outputs"]
    assert (output["shape"], output["data"]) == ([1, 2], [0.25, 0.75])
    assert json.loads(output["parameters"]["classes"]) == ["no", "yes"]
