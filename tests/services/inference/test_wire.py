"""The wire of a real server: bytes behind JSON, codings, content types, sizes, and what is asked for by parameters."""

from __future__ import annotations

import gzip
import json
import zlib

import httpx
import numpy as np
import pytest

SIZE = "inference-header-content-length"
LIMIT = 100_000


@pytest.fixture(scope="module")
def server(serve, models):
    return serve(models["sum"], MILLRACE_MAX_BODY_BYTES=str(LIMIT))


def body(rows: int = 1, **more) -> bytes:
    tensor = {"name": "features", "datatype": "FP32", "shape": [rows, 3], "data": [1.0, 2.0, 3.0] * rows}
    return json.dumps({"inputs": [tensor], **more}).encode()


def infer(server, content: bytes, **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{server.url}/v2/models/m/infer", content=content, headers=headers, timeout=60)


def test_bytes_in_and_bytes_out(server):
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    tensor = {"name": "features", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = infer(server, head + rows.tobytes(), **{SIZE: str(len(head))})
    length = int(answer.headers[SIZE])
    assert answer.headers["content-type"] == "application/octet-stream"
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output == {"name": "total", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}}
    assert np.frombuffer(answer.content[length:], "<f4").tolist() == [3.0, 12.0]


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_a_coded_body_is_read(server, name, pack):
    answer = infer(server, pack(body()), content_encoding=name)
    assert answer.json()["outputs"][0]["data"] == [6.0]


@pytest.mark.parametrize(
    ("content", "coding", "status", "sentence"),
    [
        (gzip.compress(bytes(LIMIT + 1), mtime=0), "gzip", 413, "spec.inference.maxRequestMiB"),
        (gzip.compress(gzip.compress(bytes(1 << 24), mtime=0), mtime=0), "gzip", 400, "the body is not JSON"),
        (gzip.compress(body(), mtime=0)[:-9], "gzip", 400, "cut off"),
        (b"{}", "gzip", 400, "the body is not gzip"),
        (body(), "br", 415, "Content-Encoding: 'br' came, gzip or deflate is expected"),
        (b" " * (LIMIT + 1), "identity", 413, "spec.inference.maxRequestMiB"),
    ],
)
def test_what_is_no_such_coding_or_too_large_is_refused(server, content, coding, status, sentence):
    answer = infer(server, content, content_encoding=coding)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


TWICE = gzip.compress(gzip.compress(body(), mtime=0), mtime=0)


@pytest.mark.parametrize(
    "codings", [["gzip, gzip"], ["gzip", "gzip"], ["deflate", "gzip"], ["identity", "gzip"], ["gzip", ""], ["gzip,"]]
)
@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/predict"])
def test_several_codings_are_refused_whether_in_one_header_or_in_several(server, path, codings):
    headers = [("content-encoding", each) for each in codings]
    for content in (TWICE, gzip.compress(body(), mtime=0)):
        answer = httpx.post(f"{server.url}{path}", content=content, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["field"]) == (415, "Content-Encoding")
        assert "gzip or deflate is expected, once" in answer.json()["error"]


def test_a_large_answer_is_gzip_where_it_is_asked_for(server):
    for accepted, coding in (("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("gzip;q=0", None), ("identity", None)):
        answer = infer(server, body(5000), accept_encoding=accepted)
        assert answer.headers.get("content-encoding") == coding
        assert answer.json()["outputs"][0]["data"] == [6.0] * 5000
    assert "content-encoding" not in infer(server, body(), accept_encoding="gzip").headers


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json", ""])
def test_json_is_read_whatever_its_content_type_says(server, content_type):
    assert infer(server, body(), content_type=content_type).status_code == 200


def test_a_request_that_asks_for_another_protocol_keeps_its_body(server):
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    assert infer(server, body(), **headers).json()["outputs"][0]["data"] == [6.0]


def test_what_is_asked_for_is_done_or_refused(server):
    assert infer(server, body(parameters={"timeout": 60_000_000})).status_code == 200
    refused = infer(server, body(parameters={"priority": 1}))
    assert (refused.status_code, refused.json()["reason"]) == (400, "BadParameter")


def test_a_timeout_of_the_request_itself_ends_it(serve, models):
    slow = serve(models["slow"], MILLRACE_THREADS="1")
    asked = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0]}], "parameters": {"timeout": 1}}
    answer = infer(slow, json.dumps(asked).encode())
    assert answer.status_code == 408
    assert "the request's own timeout of 1e-06 s" in answer.json()["error"]


def test_the_repository_has_one_model(server):
    for content in (b"", b"{}", b'{"ready": true}'):
        (model,) = httpx.post(f"{server.url}/v2/repository/index", content=content).json()
        assert (model["name"], model["state"], model["reason"]) == ("m", "READY", "")
    assert httpx.post(f"{server.url}/v2/repository/index", content=b'{"ready": 1}').status_code == 400


def test_head_is_answered_where_get_is(server):
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/health/ready", "/v2/models/m", "/v2/models/m/ready"):
        answer = httpx.head(server.url + path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_infinities_and_nan_come_back_apart(serve, models):
    every = serve(models["every"])
    inputs = [
        {"name": name, "datatype": datatype, "shape": [2, 2], "data": data}
        for name, datatype, data in [
            ("b", "BOOL", [True] * 4),
            ("s", "BYTES", ["NaN", "a", "", "Infinity"]),
            *(
                (f"{sign}{size}", f"{'U' * (sign == 'u')}INT{8 * size}", [1] * 4)
                for sign in "ui"
                for size in (1, 2, 4, 8)
            ),
            ("f4", "FP32", [None, "Infinity", "-Infinity", 0.1]),
            ("f8", "FP64", [float("nan"), float("inf"), float("-inf"), 0.1]),
        ]
    ]
    answer = infer(every, json.dumps({"inputs": inputs}).encode()).json()
    data = {output["name"]: output["data"] for output in answer["outputs"]}
    assert data["f4_out"] == data["f8_out"] == [None, "Infinity", "-Infinity", 0.1]
    assert data["s_out"] == ["NaN", "a", "", "Infinity"]
