"""The request that a served model is shown with: it is one that the model takes, and curl sends it as it is."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from millrace_services.alone import example
from millrace_services.inference import protocol
from millrace_services.inference.blank_input import Blank
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import STORED, TensorSpec


def signature(*datatypes: str, shape: tuple[int, ...] = (-1, 2), outputs: tuple[str, ...] = ("FP32",)) -> Signature:
    return Signature(
        [TensorSpec(f"it's {datatype}", datatype, shape) for datatype in datatypes],
        [TensorSpec(f"y{datatype}", datatype, (-1,)) for datatype in outputs],
    )


def sent(wanted: Signature, folder: Path) -> tuple[list[str], bytes]:
    """The words of the command, and the body that it sends."""
    feeds = {name: Blank().tensor(spec) for name, spec in wanted.inputs.items()}
    words = shlex.split(example.command("http://host:1/v2", example.body(wanted, feeds), folder))
    last = words[-1]
    return words, Path(last[1:]).read_bytes() if words[-2] == "--data-binary" else last.encode()


@pytest.mark.parametrize("datatype", STORED)
@pytest.mark.parametrize("shape", [(), (-1, 2), (3, 224, 224)])
def test_the_body_is_a_request_that_the_model_takes(datatype, shape, tmp_path):
    wanted = signature(datatype, "INT64", shape=shape)
    words, body = sent(wanted, tmp_path)
    length = next((word.partition(": ")[2].encode() for word in words if word.startswith("Inference-")), None)
    request = protocol.decode(body, wanted, length)
    spec = wanted.inputs[f"it's {datatype}"]
    assert np.array_equal(request.feeds[spec.name], Blank().tensor(spec))
    assert words[:3] == ["curl", "-s", "http://host:1/v2"]


def test_an_output_without_a_json_form_is_asked_for_as_bytes(tmp_path):
    wanted = signature("FP32", outputs=("FP16",))
    _, body = sent(wanted, tmp_path)
    assert protocol.decode(body, wanted).binary == ["yFP16"]


def test_a_model_without_inputs_is_asked_with_none(tmp_path):
    wanted = signature()
    words, body = sent(wanted, tmp_path)
    assert protocol.decode(body, wanted).feeds == {}
    assert words[-2:] == ["-d", '{"inputs":[]}']
