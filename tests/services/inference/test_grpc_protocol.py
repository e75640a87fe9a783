"""The protocol over gRPC: messages are those of the standard, and mean what the same request over REST means."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference import grpc_protocol, protocol
from millrace_services.inference.binary_tensors import to_bytes
from millrace_services.inference.grpc_messages import MESSAGES
from millrace_services.inference.grpc_tensors import FIELDS, fill
from millrace_services.inference.json_tensors import to_json
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import STORED, OutputTensor, TensorSpec

SIGNATURE = Signature(
    [TensorSpec("a", "FP32", (-1, 2)), TensorSpec("s", "BYTES", (-1,))],
    [TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "BYTES", (-1,)), TensorSpec("h", "FP16", (-1,))],
)
# Written by hand from the protocol's documents: field number and wire type, length, content.
GOLDEN_REQUEST = bytes.fromhex(
    "0a016d"  # model_name (1) "m"
    "120137"  # model_version (2) "7"
    "1a017a"  # id (3) "z"
    "220d" "0a07" "74696d656f7574" "1202" "1005"  # parameters (4) {"timeout" (1): {int64_param (2) 5} (2)}
    "2a19"  # inputs (5)
    "0a0161" "120446503332" "1a020102"  # name (1) "a", datatype (2) "FP32", shape (3) [1, 2]
    "2a0a" "3208" "0000803f000000c0"  # contents (5) {fp32_contents (6) [1.0, -2.0]}
    "2a13"
    "0a0173" "12054259544553" "1a0101"  # "s" BYTES [1]
    "2a04" "420278c3"  # contents (5) {bytes_contents (8)}
    "3203" "0a0179"  # outputs (6) {name (1) "y"}
)  # fmt: skip
DATATYPES = sorted(STORED)


def message(*inputs: tuple[str, str, list[int]], raw: tuple[bytes, ...] = (), **more: Any) -> Any:
    made = MESSAGES["ModelInferRequest"](model_name="m", raw_input_contents=raw, **more)
    for name, datatype, shape in inputs:
        made.inputs.add(name=name, datatype=datatype, shape=shape)
    return made


def whole(**more: Any) -> Any:
    """A request that is as it should be, with typed contents."""
    made = message(("a", "FP32", [1, 2]), ("s", "BYTES", [2]), **more)
    made.inputs[0].contents.fp32_contents.extend([1, -2])
    made.inputs[1].contents.bytes_contents.extend([b"x", b""])
    made.outputs.add(name="y")
    return made


def raw(**more: Any) -> Any:
    """The same as bytes."""
    contents = (b"\0\0\x80?\0\0\0\xc0", b"\1\0\0\0x\0\0\0\0")
    made = message(("a", "FP32", [1, 2]), ("s", "BYTES", [2]), raw=contents, **more)
    made.outputs.add(name="y")
    return made


def test_golden_wire_bytes_of_a_request():
    found = grpc_protocol.parse("ModelInferRequest", GOLDEN_REQUEST)
    assert (found.model_name, found.model_version, found.id) == ("m", "7", "z")
    assert found.parameters["timeout"].WhichOneof("parameter_choice") == "int64_param"
    assert [each.name for each in found.inputs] == ["a", "s"]
    assert list(found.inputs[0].contents.fp32_contents) == [1, -2]
    assert list(found.inputs[1].contents.bytes_contents) == [b"x\xc3"]
    assert [each.name for each in found.outputs] == ["y"]
    assert found.SerializeToString(deterministic=True) == GOLDEN_REQUEST


@pytest.mark.parametrize(
    ("binary", "wire"),
    [
        # model_name, model_version, id, outputs (5) {"y", FP32, [2], contents (5) {fp32_contents (6)}}
        ((), "0a016d1201371a017a2a180a01791204465033321a01022a0a32080000803f000000c0"),
        # the same with raw_output_contents (6)
        (("y",), "0a016d1201371a017a2a0c0a01791204465033321a010232080000803f000000c0"),
    ],
)
def test_golden_wire_bytes_of_an_answer(binary, wire):
    asked = protocol.InferRequest("z", {}, ["y"], binary)
    results = [OutputTensor(np.array([1, -2], np.float32))]
    assert grpc_protocol.encode(asked, results, "m", "7", SIGNATURE).hex() == wire


def test_both_forms_of_a_request_are_the_same_to_the_model():
    typed, binary = grpc_protocol.decode(whole(id="7"), SIGNATURE), grpc_protocol.decode(raw(id="7"), SIGNATURE)
    for request in (typed, binary):
        assert (request.id, request.outputs, request.timeout) == ("7", ["y"], None)
        assert request.feeds["a"].tolist() == [[1.0, -2.0]]
        assert request.feeds["s"].tolist() == ["x", ""]
    assert (typed.binary, binary.binary) == ([], ["y"])


def values_of(datatype: str, count: int, draw: Any) -> np.ndarray:
    dtype = STORED[datatype]
    if datatype == "BYTES":
        return np.array(draw(st.lists(st.text(max_size=5), min_size=count, max_size=count)), object)
    if datatype == "BOOL":
        return np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    size = count * dtype.itemsize
    values = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype)
    # A NaN of other bits is a NaN.
    return np.where(np.isnan(values), dtype.type("nan"), values) if dtype.kind == "f" else values


@st.composite
def tensors(draw: Any) -> list[tuple[str, np.ndarray]]:
    found = draw(st.lists(st.sampled_from(DATATYPES), min_size=1, max_size=4))
    rows = draw(st.integers(0, 4))
    return [(datatype, values_of(datatype, rows, draw)) for datatype in found]


def in_json(values: np.ndarray, datatype: str) -> Any:
    if values.dtype.kind != "f" or not np.isinf(values).any():
        return to_json(values, datatype)
    return [{np.inf: "Infinity", -np.inf: "-Infinity"}.get(each, each) for each in values.tolist()]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    equal_nan = one.dtype.kind == "f"
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=equal_nan)


@given(tensors(), st.booleans())
def test_rest_and_grpc_read_the_same_request_and_give_the_same_answer(given_tensors, as_bytes):
    """For tensors of every datatype, as values where that has a form, else as bytes."""
    specs = [TensorSpec(f"x{n}", datatype, (-1,)) for n, (datatype, _) in enumerate(given_tensors)]
    signature = Signature(specs, specs)
    as_bytes = as_bytes or not FIELDS.keys() >= {spec.datatype for spec in specs}
    over_grpc = MESSAGES["ModelInferRequest"](model_name="m")
    document: dict[str, Any] = {"inputs": [], "parameters": {"binary_data_output": as_bytes}}
    behind = b""
    for spec, (datatype, values) in zip(specs, given_tensors, strict=True):
        tensor = over_grpc.inputs.add(name=spec.name, datatype=datatype, shape=values.shape)
        written: dict[str, Any] = {"name": spec.name, "datatype": datatype, "shape": list(values.shape)}
        if as_bytes:
            content = bytes(to_bytes(values, datatype))
            over_grpc.raw_input_contents.append(content)
            behind += content
            written["parameters"] = {"binary_data_size": len(content)}
        else:
            fill(tensor.contents, values, datatype)
            written["data"] = in_json(values, datatype)
        document["inputs"].append(written)
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    by_rest = protocol.decode(head + behind, signature, b"%d" % len(head) if as_bytes else None)
    by_grpc = grpc_protocol.decode(grpc_protocol.parse("ModelInferRequest", over_grpc.SerializeToString()), signature)
    assert by_grpc.outputs == by_rest.outputs
    for name, values in by_rest.feeds.items():
        assert same(by_grpc.feeds[name], values), name

    results = [OutputTensor(by_rest.feeds[spec.name]) for spec in specs]
    rest = protocol.encode(by_rest, results, "m", "1", signature)
    answer = grpc_protocol.parse("ModelInferResponse", grpc_protocol.encode(by_grpc, results, "m", "1", signature))
    told = orjson.loads(rest.body[: rest.json_length])
    assert [(o.name, o.datatype, list(o.shape)) for o in answer.outputs] == [
        (o["name"], o["datatype"], o["shape"]) for o in told["outputs"]
    ]
    if as_bytes:
        assert b"".join(answer.raw_output_contents) == rest.body[rest.json_length :]
    else:
        assert not answer.raw_output_contents
        for output, (_, values) in zip(answer.outputs, given_tensors, strict=True):
            content = getattr(output.contents, FIELDS[output.datatype])
            texts = output.datatype == "BYTES"
            assert same(np.array([each.decode() for each in content] if texts else content, values.dtype), values)


def changed(change: Any, made: Any = None) -> Any:
    made = whole() if made is None else made
    change(made)
    return made


BAD = {
    "input 'b'": lambda m: setattr(m.inputs[0], "name", "b"),
    "datatype 'INT32' came, FP32 is expected": lambda m: setattr(m.inputs[0], "datatype", "INT32"),
    "shape [2, 3] came, [-1, 2] is expected": lambda m: m.inputs[0].shape.__setitem__(slice(2), [2, 3]),
    "shape [-1, 2] came": lambda m: m.inputs[0].shape.__setitem__(0, -1),
    "2 values came in fp32_contents, shape [1000000000, 2] takes 2000000000": lambda m: (
        m.inputs[0].shape.__setitem__(0, 10**9)
    ),
    "3 values came in fp32_contents, shape [1, 2] takes 2": lambda m: m.inputs[0].contents.fp32_contents.append(3),
    "0 values came": lambda m: m.inputs[0].ClearField("contents"),
    "int64_contents came, fp32_contents is expected for FP32": lambda m: m.inputs[0].contents.int64_contents.append(3),
    "text 0 is no UTF-8": lambda m: m.inputs[1].contents.bytes_contents.__setitem__(0, b"\xff"),
    "input 's' is missing": lambda m: m.inputs.pop(),
    "input 'a' came twice": lambda m: m.inputs.append(m.inputs[0]),
    "the model has no output 'q'": lambda m: m.outputs.add(name="q"),
    "output 'y' is asked for twice": lambda m: m.outputs.add(name="y"),
    "1 raw_input_contents came for 2 inputs": lambda m: m.raw_input_contents.append(b"12345678"),
    "both contents and raw_input_contents came": lambda m: m.raw_input_contents.extend([b"12345678", b""]),
    "binary_data_size came without raw_input_contents": lambda m: setattr(
        m.inputs[0].parameters["binary_data_size"], "int64_param", 8
    ),
    "all requests are served in their order": lambda m: setattr(m.parameters["priority"], "uint64_param", 1),
    "the model keeps nothing between two requests": lambda m: setattr(m.parameters["sequence_id"], "int64_param", 5),
    "timeout: 'soon' came, microseconds are expected": lambda m: setattr(
        m.parameters["timeout"], "string_param", "soon"
    ),
    "classes are not ranked here": lambda m: setattr(m.outputs[0].parameters["classification"], "int64_param", 2),
    "output 'y' is asked for as contents, others as bytes": lambda m: (
        setattr(m.outputs[0].parameters["binary_data"], "bool_param", False),
        m.outputs.add(name="h"),
    ),
}  # fmt: skip
BAD_BYTES = {
    "7 bytes came, shape [1, 2] of FP32 takes 8": lambda m: m.raw_input_contents.__setitem__(0, bytes(7)),
    "text 0 claims 99 bytes": lambda m: m.raw_input_contents.__setitem__(1, b"\x63\0\0\0x\0\0\0\0"),
    "2 raw_input_contents came for 3 inputs": lambda m: m.inputs.add(name="c"),
    "binary_data_size 9 came, raw_input_contents has 8 bytes for it": lambda m: setattr(
        m.inputs[0].parameters["binary_data_size"], "int64_param", 9
    ),
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_does_not_fit_is_refused_with_what_came_and_what_is_expected(sentence):
    expected = "the model has no input 'b'" if sentence == "input 'b'" else sentence
    with pytest.raises(RejectError) as refused:
        grpc_protocol.decode(changed(BAD[sentence]), SIGNATURE)
    assert expected in str(refused.value)


@pytest.mark.parametrize("sentence", BAD_BYTES)
def test_bytes_that_do_not_fit_are_refused(sentence):
    with pytest.raises(RejectError) as refused:
        grpc_protocol.decode(changed(BAD_BYTES[sentence], raw()), SIGNATURE)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("datatype", "field", "value", "sentence"),
    [
        ("INT8", "int_contents", 128, "128 came, INT8 takes -128 to 127"),
        ("INT16", "int_contents", -32769, "-32769 came, INT16 takes -32768 to 32767"),
        ("UINT8", "uint_contents", 256, "256 came, UINT8 takes 0 to 255"),
        ("UINT16", "uint_contents", 65536, "65536 came, UINT16 takes 0 to 65535"),
    ],
)
def test_a_small_integer_that_its_datatype_does_not_hold_is_refused(datatype, field, value, sentence):
    asked = message(("x", datatype, [1]))
    getattr(asked.inputs[0].contents, field).append(value)
    with pytest.raises(RejectError, match=sentence):
        grpc_protocol.decode(asked, Signature([TensorSpec("x", datatype, (-1,))], []))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_what_has_no_typed_form_comes_as_bytes_alone(datatype):
    signature = Signature([TensorSpec("x", datatype, (-1,))], [])
    with pytest.raises(RejectError, match=r"send the bytes of .* in raw_input_contents"):
        grpc_protocol.decode(message(("x", datatype, [1])), signature)
    typed = message(("x", datatype, [1]))
    typed.inputs[0].contents.fp32_contents.append(1)
    with pytest.raises(RejectError, match="send its bytes in raw_input_contents"):
        grpc_protocol.decode(typed, signature)


def test_an_answer_is_bytes_where_it_is_asked_for_or_has_no_other_form():
    asks = whole()
    asks.outputs[0].parameters["binary_data"].bool_param = True
    whole_request = whole()
    whole_request.parameters["binary_data_output"].bool_param = True
    every = whole()
    del every.outputs[:]
    typed = raw()
    typed.outputs[0].parameters["binary_data"].bool_param = False
    found = [grpc_protocol.decode(each, SIGNATURE).binary for each in (asks, whole_request, every, typed)]
    assert found == [["y"], ["y"], ["y", "z", "h"], []]


def test_bytes_that_are_no_message_are_refused():
    with pytest.raises(RejectError, match="the message is no ModelInferRequest"):
        grpc_protocol.parse("ModelInferRequest", b"\x0a\xff")
