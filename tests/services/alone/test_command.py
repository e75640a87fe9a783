"""``millrace serve``: a model's file is served with no more than its name, and a mistake is one line."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper

from millrace_core.base.errors import RejectError
from millrace_services.alone import command
from millrace_services.inference.grpc_messages import MESSAGES, SERVICE
from tests import warm_process
from tests.warm_process import WarmProcess


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """features [n, 3] FP32 → total [n, 1]."""
    path = tmp_path_factory.mktemp("model") / "my sum.onnx"
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["features", "axes"], ["total"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("features", T.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("total", T.FLOAT, [None, 1])],
        [helper.make_tensor("axes", T.INT64, [1], [1])],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    onnx.checker.check_model(str(path))
    return path


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[WarmProcess, Path]]:
    """The process, and what it has said."""
    log = folder / "said"
    process = warm_process.start(("-m", "millrace.cli.main", "serve", *arguments), dict(os.environ), folder, log)
    try:
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def said_by(process: WarmProcess, log: Path) -> list[str]:
    """What it said, up to the command to try."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        lines = log.read_text().splitlines()
        if lines and lines[-1].startswith("curl ") and log.read_text().endswith("\n"):
            return lines
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def test_a_model_is_served_and_its_first_lines_say_how_to_ask_it(model, tmp_path):
    port, grpc_port = free_port(), free_port()
    options = ("--port", str(port), "--grpc-port", str(grpc_port), "--device", "cpu")
    with serving(tmp_path, str(model), *options) as (process, log):
        lines = said_by(process, log)
        assert lines[0].startswith(f"{model} is served as my-sum, version ")
        assert lines[1:3] == ["  takes  features  FP32    [-1, 3]", "  gives  total  FP32    [-1, 1]"]
        assert lines[3] == (
            f"It listens on http://127.0.0.1:{port} and by gRPC on port {grpc_port}; Ctrl-C stops it. Try it:"
        )
        words = shlex.split(lines[4])
        assert shutil.which("curl")
        answer = subprocess.run(words, capture_output=True, timeout=60, check=True).stdout
        assert json.loads(answer)["outputs"] == [{"name": "total", "datatype": "FP32", "shape": [1, 1], "data": [0.0]}]
        stub = grpc.insecure_channel(f"127.0.0.1:{grpc_port}").unary_unary(f"/{SERVICE}/ServerReady")
        assert MESSAGES["ServerReadyResponse"].FromString(stub(b"", timeout=60)).ready
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert len(log.read_text().splitlines()) == 5


@pytest.mark.slow
def test_a_file_that_is_no_model_is_said_in_one_line(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_bytes(b"no model at all")
    with serving(tmp_path, str(path), "--port", str(free_port())) as (process, log):
        assert process.wait(60) == 2
        (line,) = log.read_text().splitlines()
        assert line.startswith(f"millrace: {path} (15 bytes) is not an ONNX model")


@pytest.mark.parametrize(
    ("file", "name", "sentence"),
    [("missing.onnx", "", "there is no file "), ("", "", " is no file"), ("my sum.onnx", "a/b", "--name 'a/b' came")],
)
def test_a_file_or_name_that_cannot_be_served_is_refused(model, file, name, sentence):
    with pytest.raises(RejectError, match=sentence):
        command.environment(model.parent / file, name, "127.0.0.1", 8080, None, command.Device.AUTO)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_in_use_is_said_in_one_line_that_names_the_option(model, tmp_path, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        given = {"--port": str(free_port()), option: str(port)}
        with serving(tmp_path, str(model), *(word for pair in given.items() for word in pair)) as (process, log):
            assert process.wait(60) == 2
            (line,) = log.read_text().splitlines()
            assert line == (
                f"millrace: cannot listen on 127.0.0.1:{port}: Address already in use. "
                f"Stop what listens there, or set {option} to a free port"
            )


@pytest.mark.slow
def test_one_port_for_both_protocols_is_refused_in_one_line(model, tmp_path):
    port = str(free_port())
    with serving(tmp_path, str(model), "--port", port, "--grpc-port", port) as (process, log):
        assert process.wait(60) == 2
        assert log.read_text() == f"millrace: --grpc-port and --port are both {port}. Give gRPC a port of its own\n"
