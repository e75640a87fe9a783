"""The wire format of an ONNX file is read under limits, and tells every file with external data."""

from __future__ import annotations

import gzip
from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from millrace_core.base.errors import RejectError
from millrace_services.inference.onnx_proto import WireError, external_files, fields
from tests.examples import examples
from tests.onnx_models import write_external


def outside(name: str, file: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(1, dtype=np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=file)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def branch(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [])


def test_files_are_found_wherever_a_tensor_may_be(tmp_path):
    constant = helper.make_node("Constant", [], ["c"], value=outside("c", "in-attribute"))
    deep = helper.make_node("If", ["x"], ["y"], then_branch=branch(constant), else_branch=branch())
    list_of = helper.make_node("Made", [], ["m"], domain="own", many=[outside("m", "in-list")])
    indices = TensorProto(data_type=TensorProto.INT64, dims=[1], int64_data=[0])
    sparse = onnx.SparseTensorProto(values=outside("s", "in-sparse"), indices=indices, dims=[3])
    graph = helper.make_graph(
        [deep, list_of], "g", [], [], [outside("i", "in-initializer")], sparse_initializer=[sparse]
    )
    function = helper.make_function("own", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)])
    function.node[0].attribute[0].t.external_data[0].value = "in-function"
    model = helper.make_model(graph, functions=[function])
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert external_files(path) == ["in-attribute", "in-function", "in-initializer", "in-list", "in-sparse"]


def test_a_model_in_one_file_has_none_also_where_something_is_called_location(models, tmp_path):
    assert external_files(models["sum"]) == []
    model = onnx.load(models["sum"])
    model.graph.node[0].name = "location"
    model.graph.node[0].doc_string = "location"
    trees = helper.make_node(
        "T", [], [], domain="own", weights=[0.5] * 1000, ids=list(range(-500, 500)), names=["a"] * 50
    )
    model.graph.node.append(trees)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert external_files(path) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\x08\x08", "it has no graph"),
        (b"\x3a\xff\xff\xff\x7f", "it is cut off"),
        (b"\x3a" + b"\xff" * 11, "more than 10 bytes"),
        (b"\x3a", "cut off within a number"),
        (b"\x3b\x3c", "no wire type 3"),
        (b"\x02\x00", "no message of protobuf"),
        (b"<html>not found</html>", "is not an ONNX model"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, content, said):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(RejectError, match=said) as caught:
        external_files(path, "s3://b/m.onnx")
    assert caught.value.reason == "BadModel"
    assert str(caught.value).startswith(f"spec.model.uri: s3://b/m.onnx ({len(content)} bytes) is not an ONNX model")


def test_graphs_within_graphs_have_an_end(tmp_path):
    message = b"\x0a\x08location\x12\x01w"
    for field in [13, 5, *[5, 1, 6] * 60, 5, 1, 7]:
        length = len(message)
        size = b""
        while length >= 128:
            size += bytes([length & 127 | 128])
            length >>= 7
        message = bytes([field << 3 | 2]) + size + bytes([length]) + message
    path = tmp_path / "m.onnx"
    path.write_bytes(message)
    with pytest.raises(RejectError, match="nested more than 100 deep"):
        external_files(path)


@settings(max_examples=examples(0.5))
@given(data=st.data())
def test_damage_is_refused_or_read_and_never_anything_else(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    content = bytearray(write_external(path, ("a", "b/c")).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(RejectError):
        external_files(path)


@settings(max_examples=examples(0.5))
@given(st.binary(max_size=64))
def test_fields_of_any_bytes_lie_within_them_one_behind_the_other(content):
    position = 0
    try:
        for field in fields(content, 0, len(content)):
            assert position <= field.start <= field.stop <= len(content)
            position = field.stop
    except WireError:
        return
    assert position == len(content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title></html>", "a page of HTML"),
        (b"<html><body>404</body></html>", "a page of HTML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        (gzip.compress(b"a model", mtime=0), "packed by gzip"),
    ],
)
def test_what_is_often_taken_for_a_model_is_called_by_its_name(tmp_path, content, told):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(RejectError, match=rf"is not an ONNX model: it is {told}"):
        external_files(path)
