"""A container's memory limit holds before the kernel has to enforce it."""

from __future__ import annotations

import json

import pytest
from onnx import TensorProto as T
from onnx import helper

from millrace_services.inference.memory import limit_growth
from tests import warm_process

from .conftest import tensor, write

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from millrace_core.base.errors import RejectError
from millrace_services.inference import memory, session
loaded = session.load_warm(Path("bomb.onnx"), "cpu", 1)
answers = [memory.limit_growth(Path("cgroup"))]
for size in (1e6, 3e8, 1e15, 1e6):
    try:
        answers.append(loaded.run({"x": np.array([size], np.float32)}, ["y"])[0].values.tolist())
    except session.OutOfMemoryError as error:
        answers.append(error.message)
print(json.dumps(answers))
"""


def test_a_tensor_that_an_input_inflates_beyond_the_containers_limit_is_refused_and_the_next_runs(tmp_path):
    write(
        tmp_path / "bomb.onnx",
        [
            helper.make_node("Cast", ["x"], ["n"], to=T.INT64),
            helper.make_node("Expand", ["one", "n"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["y"], keepdims=0),
        ],
        [tensor("x", T.FLOAT, [1])],
        [tensor("y", T.FLOAT, [])],
        [helper.make_tensor("one", T.FLOAT, [1], [1.0])],
    )
    container(tmp_path / "cgroup", 512 * 2**20, 112 * 2**20)
    room, *answers = json.loads(warm_process.run(("-c", SCRIPT), {}, tmp_path).stdout)
    assert room == 384 * 2**20, "a thirty-second is for the kernel's own"
    refused = "this input, x [1], takes more memory than the CPU has left"
    assert answers == [1e6, refused, refused, 1e6]


def container(folder, limit: int | str, used: int) -> None:
    folder.mkdir()
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"anon {used}\nfile 7\n")


@pytest.mark.parametrize("limit", ["max", 2**63 - 4096])
def test_without_a_limit_nothing_is_limited(tmp_path, limit):
    container(tmp_path / "cgroup", limit, 5)
    assert limit_growth(tmp_path / "cgroup") is None
    assert limit_growth(tmp_path / "nowhere") is None
