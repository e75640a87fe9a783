"""Binary tensors: the bytes are those of the protocol, and what they claim is checked before it is believed."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference.binary_tensors import from_bytes, to_bytes
from millrace_services.inference.protocol import decode, encode
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import STORED, TensorSpec, from_output

# Written by hand from the protocol's documents.
GOLDEN = {
    "BOOL": ([True, False], "0100"),
    "UINT8": ([1, 255], "01ff"),
    "UINT16": ([1, 65535], "0100ffff"),
    "UINT32": ([1, 2**32 - 1], "01000000ffffffff"),
    "UINT64": ([1, 2**64 - 1], "0100000000000000ffffffffffffffff"),
    "INT8": ([1, -2], "01fe"),
    "INT16": ([1, -2], "0100feff"),
    "INT32": ([1, -2], "01000000feffffff"),
    "INT64": ([1, -2], "0100000000000000feffffffffffffff"),
    "FP16": ([1.0, -2.0], "003c00c0"),
    "BF16": ([0x3F80, 0xC000], "803f00c0"),
    "FP32": ([1.0, float("-inf")], "0000803f000080ff"),
    "FP64": ([1.0, -2.0], "000000000000f03f00000000000000c0"),
    "BYTES": (["a", "ä"], "010000006102000000c3a4"),
}
SIGNATURE = Signature(
    [TensorSpec("a", "FP32", (-1, 2)), TensorSpec("s", "BYTES", (-1,))],
    [TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "BYTES", (-1,)), TensorSpec("h", "FP16", (-1,))],
)
A, S = b"\0\0\x80?\0\0\0\xc0", b"\1\0\0\0x\0\0\0\0"


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec("x", datatype, shape or (-1,))


def request(a=A, s=S, *, length=None, sizes=(8, 9), behind=None, **more) -> tuple[bytes, bytes]:
    """The body and the header's value."""
    document = {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": sizes[0]}},
            {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": sizes[1]}},
        ],
        "outputs": [{"name": "y"}],
        **more,
    }
    head = json.dumps(document).encode()
    return head + (a + s if behind is None else behind), str(len(head) if length is None else length).encode()


@pytest.mark.parametrize("datatype", GOLDEN)
def test_golden_wire_bytes_of_each_datatype(datatype):
    values, wire = GOLDEN[datatype]
    content = bytes.fromhex(wire)
    read = from_bytes(memoryview(content), (2,), spec(datatype))
    assert read.dtype == STORED[datatype]
    assert read.tolist() == values
    assert bytes(to_bytes(np.array(values, STORED[datatype]), datatype)) == content


@given(st.sampled_from(sorted(set(GOLDEN) - {"BYTES", "BOOL"})), st.integers(0, 7), st.integers(0, 40))
def test_any_bytes_come_back_as_they_went_in_wherever_they_lie(datatype, before, count):
    content = bytes((7 * number) % 256 for number in range(count * STORED[datatype].itemsize))
    read = from_bytes(memoryview(bytes(before) + content)[before:], (count,), spec(datatype))
    assert read.flags.aligned
    assert bytes(to_bytes(read, datatype)) == content


@given(st.lists(st.text()))
def test_texts_come_back_as_they_went_in(texts):
    content = to_bytes(np.array([*texts, None], object)[:-1], "BYTES")
    assert from_bytes(memoryview(content), (len(texts),), spec("BYTES")).tolist() == texts


def test_values_that_lie_at_their_addresses_are_not_copied():
    content = np.arange(4, dtype=np.float32)
    assert np.shares_memory(from_bytes(memoryview(content).cast("B"), (2, 2), spec("FP32", -1, 2)), content)
    assert np.shares_memory(np.frombuffer(to_bytes(content, "FP32"), np.uint8), content)


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_what_a_shape_only_claims_is_not_allocated(datatype):
    tracemalloc.start()
    with pytest.raises(RejectError, match="input 'x': 8 bytes came"):
        from_bytes(memoryview(bytes(8)), (2**31, 2), spec(datatype, -1, 2))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100_000


@pytest.mark.parametrize(
    ("content", "datatype", "sentence"),
    [
        (bytes(7), "FP32", "7 bytes came, shape [2] of FP32 takes 8"),
        (bytes(9), "FP32", "9 bytes came"),
        (b"\1\2", "BOOL", "the byte 2 came, 0 and 1 are expected"),
        (bytes(7), "BYTES", "7 bytes came, 2 texts take at least 8"),
        (b"\5\0\0\0abcd", "BYTES", "text 0 claims 5 bytes, 4 are left"),
        (b"\xff\xff\xff\xffabcd", "BYTES", "text 0 claims 4294967295 bytes"),
        (b"\1\0\0\0a\0\0\0", "BYTES", "the bytes end before the length of text 1 of 2"),
        (bytes(9), "BYTES", "1 bytes are left after 2 texts"),
        (b"\1\0\0\0\xff\0\0\0\0", "BYTES", "text 0 is no UTF-8"),
    ],
)
def test_bytes_that_lie_are_named(content, datatype, sentence):
    with pytest.raises(RejectError, match="input 'x'") as caught:
        from_bytes(memoryview(content), (2,), spec(datatype))
    assert sentence in str(caught.value)


def test_a_request_of_bytes_and_its_golden_answer():
    decoded = decode(*[request(id="7")[0], SIGNATURE, request(id="7")[1]])
    assert decoded.feeds["a"].tolist() == [[1.0, -2.0]]
    assert decoded.feeds["s"].tolist() == ["x", ""]
    body, length = request(
        id="7",
        outputs=[
            {"name": "y", "parameters": {"binary_data": True}},
            {"name": "z", "parameters": {"binary_data": False}},
            {"name": "h"},
        ],
        parameters={"binary_data_output": True},
    )
    decoded = decode(body, SIGNATURE, length)
    results = [np.array([1.5], np.float32), np.array(["ä"], object), np.array([1.0], np.float16)]
    answer = encode(decoded, [from_output(each) for each in results], "m", "v", SIGNATURE)
    head = (
        '{"model_name":"m","model_version":"v","id":"7","outputs":['
        '{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},'
        '{"name":"z","datatype":"BYTES","shape":[1],"data":["ä"]},'
        '{"name":"h","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}}]}'
    ).encode()
    assert answer == (head + bytes.fromhex("0000c03f003c"), len(head))


def test_json_and_bytes_mix_in_one_request():
    body, length = request(
        behind=A,
        inputs=[
            {"name": "s", "datatype": "BYTES", "shape": [1], "data": ["q"]},
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
        ],
    )
    feeds = decode(body, SIGNATURE, length).feeds
    assert (feeds["s"].tolist(), feeds["a"].tolist()) == (["q"], [[1.0, -2.0]])


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (request(length="x"), "Inference-Header-Content-Length: 'x' came"),
        (request(length=-1), "Inference-Header-Content-Length: '-1' came"),
        (request(length=10**6), "Inference-Header-Content-Length: '1000000' came"),
        (request(length="9" * 5000), "Inference-Header-Content-Length: '999"),
        (request(length=5), "the body is not JSON"),
        (request(length=0), "the body is not JSON"),
        (request(behind=A), "input 's': binary_data_size 9 came, 0 bytes are left"),
        (request(behind=A + S + b"!"), "1 bytes are left after the last input"),
        (request(sizes=(7, 9)), "input 'a': 7 bytes came, shape [1, 2] of FP32 takes 8"),
        (request(sizes=(10**9, 9)), "input 'a': binary_data_size 1000000000 came, 17 bytes are left"),
        (request(sizes=(-1, 9)), "input 'a': binary_data_size: -1 came, a number of bytes is expected"),
        (request(sizes=("8", 9)), "input 'a': binary_data_size: '8' came"),
        ((request()[0], None), "the body is not JSON"),
        (request(outputs=[{"name": "h"}]), "output 'h': the protocol has no JSON form for FP16"),
        (request(outputs=[]), "output 'h': the protocol has no JSON form for FP16"),
        (request(outputs=[{"name": "y"}, {"name": "y"}]), "output 'y' is asked for twice"),
    ],
)
def test_a_binary_request_that_lies_is_told_what_is_wrong(sent, sentence):
    with pytest.raises(RejectError) as caught:
        decode(sent[0], SIGNATURE, sent[1])
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 500
