"""Stock clients of the protocol work unchanged: tritonclient, KServe's client, MLServer's types; and others' models.

Needs them in environments of their own, which ``make clients-env`` makes from PyPI.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper

from benchmarks.clients_env import FOLDER, MLSERVER_FOLDER

from .clients_peer import HALF, KINDS, NOT_FINITE, plain
from .conftest import tensor, write
from .test_grpc import address_of

PEER = Path(__file__).with_name("clients_peer.py")
PACKAGES = FOLDER / "lib" / "python3.11" / "site-packages"
SENT = {name: plain(values) for name, (_, values) in KINDS.items()}
ALL = {**SENT, HALF[0]: plain(HALF[2])}
ONNX = {"BOOL": T.BOOL, "BYTES": T.STRING, "FP16": T.FLOAT16, "FP32": T.FLOAT, "FP64": T.DOUBLE}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not all((folder / "made").exists() for folder in (FOLDER, MLSERVER_FOLDER)),
        reason="needs stock clients; make clients-env installs them",
    ),
]


def mirror(path: Path, kinds: dict[str, str]) -> Path:
    """A model that answers what it is given, by datatype of each input."""
    numbers = {name: ONNX[kind] if kind in ONNX else getattr(T, kind) for name, kind in kinds.items()}
    return write(
        path,
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
        [tensor(name, number, [None, 2]) for name, number in numbers.items()],
        [tensor(f"{name}_out", number, [None, 2]) for name, number in numbers.items()],
    )


def seen_by(client: str, url: str) -> dict[str, Any]:
    folder = MLSERVER_FOLDER if client == "mlserver" else FOLDER
    command = [str(folder / "bin" / "python"), str(PEER), client, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    kinds = {name: kind for name, (kind, _) in KINDS.items()} | {HALF[0]: HALF[1]}
    return serve(mirror(tmp_path_factory.mktemp("mirror") / "m.onnx", kinds), MILLRACE_GRPC_PORT="0")


@pytest.fixture(scope="module")
def url(server) -> str:
    return server.url


def test_tritonclient_sees_what_it_sent_in_every_form(url):
    seen = seen_by("triton", url)
    for way in ("binary both", "binary in", "binary out", "json both", "mixed", "gzip", "deflate", "timeout"):
        assert seen.pop(way) == ALL, way
    assert seen.pop("outputs not named") == ALL
    for binary in (False, True):
        assert seen.pop(f"not finite, binary {binary}") == plain(NOT_FINITE)
    assert [seen.pop(key) for key in ("live", "ready", "model ready")] == [True] * 3
    assert seen.pop("server")["extensions"] == ["binary_tensor_data"]
    assert [each["datatype"] for each in seen.pop("model")["inputs"]] == [kind for kind, _ in KINDS.values()] + ["FP16"]
    assert [each["state"] for each in seen.pop("index")] == ["READY"]
    assert "all requests are served in their order" in seen.pop("refused priority")
    assert "the model keeps nothing between two requests" in seen.pop("refused sequence")
    assert "classes are not ranked here" in seen.pop("refused classes")
    assert "there is no model 'nobody' here" in seen.pop("no model")
    assert "has no version '99' here" in seen.pop("no version")
    assert seen == {}


def test_kserves_client_sees_what_it_sent_in_every_form(url):
    seen = seen_by("kserve", url)
    for way in ("binary both", "binary in", "binary out", "json both"):
        assert seen.pop(way) == ALL, way
    for binary in (False, True):
        assert seen.pop(f"not finite, binary {binary}") == plain(NOT_FINITE)
    assert [seen.pop(key) for key in ("live", "ready", "model ready")] == [True] * 3
    assert "there is no model 'nobody' here" in seen.pop("no model") or "404" in seen["no model"]


def test_tritonclient_sees_what_it_sent_over_grpc(server):
    seen = seen_by("triton_grpc", address_of(server))
    for way in ("named", "not named", "gzip", "timeout", "async"):
        assert seen.pop(way) == ALL, way
    assert seen.pop("not finite") == plain(NOT_FINITE)
    assert [seen.pop(key) for key in ("live", "ready", "model ready")] == [True] * 3
    assert seen.pop("server")["extensions"] == ["binary_tensor_data"]
    assert [each["datatype"] for each in seen.pop("model")["inputs"]] == [kind for kind, _ in KINDS.values()] + ["FP16"]
    assert [each["state"] for each in seen.pop("index")] == ["READY"]
    assert "all requests are served in their order" in seen.pop("refused priority")
    assert "the model keeps nothing between two requests" in seen.pop("refused sequence")
    assert "classes are not ranked here" in seen.pop("refused classes")
    assert "there is no model 'nobody' here" in seen.pop("no model")
    assert "has no version '99' here" in seen.pop("no version")
    assert "ModelStatistics is not served" in seen.pop("no statistics")
    assert seen == {}


def test_kserves_client_sees_what_it_sent_over_grpc(server):
    seen = seen_by("kserve_grpc", address_of(server))
    assert seen.pop("binary") == ALL
    assert seen.pop("not finite") == plain(NOT_FINITE)
    assert [seen.pop(key) for key in ("live", "ready", "model ready")] == [True] * 3
    assert "there is no model 'nobody' here" in seen.pop("no model")
    assert seen == {}


def test_mlservers_types_take_the_answers(serve, tmp_path):
    url = serve(mirror(tmp_path / "m.onnx", {name: kind for name, (kind, _) in KINDS.items()})).url
    seen = seen_by("mlserver", url)
    assert seen["json both"] == SENT
    assert (seen["model"], seen["index"], seen["server"]["name"]) == ("m", ["READY"], "millrace")
    assert seen["refused"]["error"].startswith("input 'b' is missing")


@pytest.mark.parametrize(
    ("path", "feeds"),
    [
        ("magika/models/standard_v3_3/model.onnx", {"bytes": np.full((2, 2048), 101, np.int32)}),
        ("rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", {"x": np.full((1, 3, 64, 96), 0.5, np.float32)}),
        (
            "silero_vad/data/silero_vad.onnx",
            {
                "input": np.linspace(-1, 1, 576, dtype=np.float32).reshape(1, 576),
                "state": np.zeros((2, 1, 128), np.float32),
                "sr": np.array(16000, np.int64),
            },
        ),
    ],
)
def test_models_that_others_made_answer_as_onnx_runtime_does_in_process(serve, path, feeds):
    from millrace_services.inference import runtime  # noqa: PLC0415

    session = runtime.on_cpu(PACKAGES / path, 1)
    expected = session.run(None, feeds)
    url = serve(PACKAGES / path, MILLRACE_MAX_BODY_BYTES=str(1 << 26)).url
    names = {"int32": "INT32", "int64": "INT64", "float32": "FP32"}
    inputs, content = [], b""
    for name, values in feeds.items():
        parameters = {"binary_data_size": values.nbytes}
        datatype = names[values.dtype.name]
        inputs.append({"name": name, "datatype": datatype, "shape": list(values.shape), "parameters": parameters})
        content += values.tobytes()
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    answer = httpx.post(f"{url}/v2/models/m/infer", content=head + content, headers=headers, timeout=60).json()
    assert "error" not in answer, answer
    for output, values in zip(answer["outputs"], expected, strict=True):
        assert output["shape"] == list(values.shape)
        np.testing.assert_allclose(np.array(output["data"]).reshape(values.shape), values, rtol=1e-4, atol=1e-5)
