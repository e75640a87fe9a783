"""gRPC over real sockets: the same answers, limits and life as over HTTP, in the same process."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
import time
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from millrace_services.inference.grpc_messages import HEALTH, MESSAGES, SERVICE
from tests.services.inference.test_prediction_log import environment, logged

LIMIT = 100_000


class Client:
    """Calls by the names of methods."""

    def __init__(self, address: str, **options: Any) -> None:
        self.channel = grpc.insecure_channel(address, **options)

    def call(self, method: str, request: Any = None, *, service: str = SERVICE, timeout: float = 60, **more: Any):
        """The answer and its trailing metadata."""
        kind = method if service == SERVICE else f"Health{method}"
        asked = MESSAGES[f"{kind}Request"]() if request is None else request
        stub = self.channel.unary_unary(f"/{service}/{method}", request_serializer=type(asked).SerializeToString)
        content, call = stub.with_call(asked, timeout=timeout, **more)
        return MESSAGES[f"{kind}Response"].FromString(content), dict(call.trailing_metadata())

    def refused(self, method: str, request: Any = None, **more: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as refused:
            self.call(method, request, **more)
        return refused.value.code(), refused.value.details()


def rows(*features: list[float], **more: Any) -> Any:
    made = MESSAGES["ModelInferRequest"](model_name="m", **more)
    tensor = made.inputs.add(name="features", datatype="FP32", shape=[len(features), 3])
    tensor.contents.fp32_contents.extend(chain.from_iterable(features))
    return made


def address_of(server: Any) -> str:
    (line,) = [each for each in server.log_lines() if each["message"] == "listening for gRPC"]
    return f"{line['host']}:{line['port']}"


@pytest.fixture(scope="module")
def server(serve, models):
    return serve(models["sum"], MILLRACE_GRPC_PORT="0", MILLRACE_MAX_BODY_BYTES=str(LIMIT))


@pytest.fixture(scope="module")
def client(server):
    made = Client(address_of(server))
    yield made
    made.channel.close()


@pytest.fixture(scope="module")
def version(models) -> str:
    return hashlib.sha256(models["sum"].read_bytes()).hexdigest()[:8]


def test_a_prediction_says_its_model_and_its_id(client, version):
    answer, trailing = client.call("ModelInfer", rows([1, 2, 3], [4, 5, 6], id="r1"), metadata=[("x-request-id", "q7")])
    assert (answer.model_name, answer.model_version, answer.id) == ("m", version, "r1")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("total", "FP32", [2, 1])
    assert list(output.contents.fp32_contents) == [6, 15]
    assert trailing["x-millrace-prediction-id"] == trailing["x-request-id"] == "q7"
    assert (trailing["x-millrace-deployment"], trailing["x-millrace-model-version"]) == ("m-v7", version)


def test_metadata_and_index_are_those_of_rest(client, server, version):
    told = httpx.get(f"{server.url}/v2/models/m").json()
    for asked in ("", version):
        found, _ = client.call("ModelMetadata", MESSAGES["ModelMetadataRequest"](name="m", version=asked))
        tensors = [
            [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in side]
            for side in (found.inputs, found.outputs)
        ]
        assert tensors == [told["inputs"], told["outputs"]]
        assert (found.name, list(found.versions), found.platform) == (told["name"], told["versions"], told["platform"])
        assert dict(found.properties) == told["parameters"]
    about, _ = client.call("ServerMetadata")
    assert httpx.get(f"{server.url}/v2").json() == {
        "name": about.name,
        "version": about.version,
        "extensions": list(about.extensions),
    }
    (one,) = client.call("RepositoryIndex", MESSAGES["RepositoryIndexRequest"](ready=True))[0].models
    assert httpx.post(f"{server.url}/v2/repository/index").json() == [
        {"name": one.name, "version": one.version, "state": one.state, "reason": one.reason}
    ]


def test_health_is_told_by_both_services(client):
    assert client.call("ServerLive")[0].live
    assert client.call("ServerReady")[0].ready
    assert client.call("ModelReady", MESSAGES["ModelReadyRequest"](name="m"))[0].ready
    for service in ("", SERVICE, "m"):
        assert client.call("Check", MESSAGES["HealthCheckRequest"](service=service), service=HEALTH)[0].status == 1
    assert client.refused("Check", MESSAGES["HealthCheckRequest"](service="x"), service=HEALTH)[0].name == "NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "request_", "code", "sentence"),
    [
        ("ModelInfer", rows([1, 2]), "INVALID_ARGUMENT", "2 values came in fp32_contents, shape [1, 3] takes 3"),
        ("ModelInfer", MESSAGES["ModelInferRequest"](model_name="x"), "NOT_FOUND", "there is no model 'x' here"),
        ("ModelInfer", rows([1, 2, 3], model_version="9"), "NOT_FOUND", "has no version '9' here"),
        ("ModelMetadata", MESSAGES["ModelMetadataRequest"](name="x"), "NOT_FOUND", "This server serves 'm'"),
        ("ModelReady", MESSAGES["ModelReadyRequest"](name="m", version="9"), "NOT_FOUND", "serves version"),
        ("ModelInfer", rows([1, 2, 3], raw_input_contents=[bytes(LIMIT)]), "RESOURCE_EXHAUSTED", f"vs. {LIMIT}"),
    ],
)
def test_errors_have_the_codes_of_grpc_and_the_words_of_rest(client, method, request_, code, sentence):
    found, said = client.refused(method, request_)
    assert (found.name, sentence in said) == (code, True), said


def test_what_is_larger_unpacked_is_refused_before_it_is_unpacked(client):
    asked = MESSAGES["ModelInferRequest"](model_name="m", raw_input_contents=[bytes(50 * LIMIT)])
    code, _ = client.refused("ModelInfer", asked, compression=grpc.Compression.Gzip)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_bytes_that_are_no_message_are_the_clients_mistake(client):
    stub = client.channel.unary_unary(f"/{SERVICE}/ModelInfer")
    with pytest.raises(grpc.RpcError) as refused:
        stub(b"\x0a\xff", timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "the message is no ModelInferRequest" in refused.value.details()


def test_a_long_sentence_fits_into_a_clients_metadata(client):
    asked = rows([1, 2, 3], id="ü")
    asked.inputs[0].name = "ü" * 20_000
    code, said = client.refused("ModelInfer", asked)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert said.startswith("the model has no input 'ü")


def test_streams_and_other_methods_are_refused_in_words(client):
    stream = client.channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
    with pytest.raises(grpc.RpcError) as refused:
        list(stream(iter([b""]), timeout=60))
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "each request is answered by ModelInfer" in refused.value.details()
    other = client.channel.unary_unary(f"/{SERVICE}/RepositoryModelLoad")
    with pytest.raises(grpc.RpcError, match="RepositoryModelLoad is not served"):
        other(b"", timeout=60)
    with pytest.raises(grpc.RpcError) as unknown:
        client.channel.unary_unary("/no.Such/Method")(b"", timeout=60)
    assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_calls_are_counted_as_requests_of_the_same_route_are(client, server):
    def count(code: int) -> float:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        found = [each for each in lines if f'code="{code}"' in each and 'route="infer"' in each and "_count" in each]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    before = count(200), count(400)
    client.call("ModelInfer", rows([1, 2, 3]))
    client.refused("ModelInfer", rows([1, 2]))
    assert (count(200), count(400)) == (before[0] + 1, before[1] + 1)


def slow_input(**more: Any) -> Any:
    made = MESSAGES["ModelInferRequest"](model_name="m", **more)
    made.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(0)
    return made


@pytest.fixture(scope="module")
def slow(serve, models):
    return serve(models["slow"], MILLRACE_GRPC_PORT="0", MILLRACE_QUEUE_REQUESTS="2", MILLRACE_BATCH_MAX_ROWS="1")


def test_the_requests_own_timeout_is_kept(slow):
    asked = slow_input()
    asked.parameters["timeout"].int64_param = 1
    code, said = Client(address_of(slow)).refused("ModelInfer", asked)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the request's own timeout" in said


def test_more_than_may_wait_are_refused_and_those_who_left_wait_no_longer(slow):
    """Sixteen at once before a queue of two; then one alone is answered, so nobody who left keeps a place."""
    client = Client(address_of(slow))
    stub = client.channel.unary_unary(f"/{SERVICE}/ModelInfer")
    content = slow_input().SerializeToString()
    # Before a client has read how many streams its connection may have, those beyond them are UNAVAILABLE.
    grpc.channel_ready_future(client.channel).result(60)
    calls = [stub.future(content, timeout=60) for _ in range(16)]
    codes = [call.code().name for call in calls]
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
    for _ in range(4):
        stub.future(content, timeout=60).cancel()
    answered = False
    until = time.monotonic() + 60
    while not answered and time.monotonic() < until:
        answered = stub.future(content, timeout=60).code() == grpc.StatusCode.OK
    assert answered


@pytest.mark.slow
def test_predictions_are_in_the_log_with_id_arm_and_status(serve, models, tmp_path: Path):
    server = serve(models["sum"], MILLRACE_GRPC_PORT="0", **environment(tmp_path))
    client = Client(address_of(server))
    client.call("ModelInfer", rows([1, 2, 3], id="one"), metadata=[("x-millrace-arm", "blue")])
    client.refused("ModelInfer", rows([1, 2], id="two"))
    server.terminate()
    assert server.exit_code() == 0
    found = {row["id"]: row for row in logged(tmp_path).to_pylist()}
    assert found["one"]["status"] == 200
    assert found["one"]["arm"] == "blue"
    assert {row["status"] for row in found.values()} == {200, 400}


@pytest.mark.slow
def test_a_server_that_ends_finishes_what_it_has_begun(serve, models):
    server = serve(models["slow"], MILLRACE_GRPC_PORT="0", MILLRACE_BATCH_MAX_ROWS="1", MILLRACE_QUEUE_TIMEOUT="60")
    stub = Client(address_of(server)).channel.unary_unary(f"/{SERVICE}/ModelInfer")
    content = slow_input().SerializeToString()

    def in_flight() -> float:
        """Without the request that asks for it."""
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("millrace_http_in_flight")).split()[-1]) - 1

    calls: list[Any] = []
    while in_flight() < 8:
        if all(call.done() for call in calls):
            calls = [stub.future(content, timeout=60) for _ in range(8)]
    server.terminate(signal.SIGTERM)
    assert {call.code() for call in calls} == {grpc.StatusCode.OK}
    assert server.exit_code() == 0


@pytest.mark.slow
def test_a_crash_takes_grpc_down_and_up_with_the_model(serve, slow_quotient):
    """It starts in the process that serves, which is a fork, and again in the next one."""
    server = serve(slow_quotient, MILLRACE_GRPC_PORT=str(free_port()), MILLRACE_QUEUE_TIMEOUT="60")

    def divided(a: int, b: int) -> Any:
        made = MESSAGES["ModelInferRequest"](model_name="m")
        for name, value in (("a", a), ("b", b)):
            made.inputs.add(name=name, datatype="INT32", shape=[1]).contents.int_contents.append(value)
        return made

    client = Client(address_of(server))
    assert client.refused("ModelInfer", divided(-(2**31), -1))[0] == grpc.StatusCode.UNAVAILABLE
    answer, _ = client.call("ModelInfer", divided(6, 3), wait_for_ready=True)
    assert list(answer.outputs[0].contents.fp32_contents) == [2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_port_in_use_is_said_in_one_line(start_service, server, models):
    port = address_of(server).rsplit(":", 1)[1]
    started = start_service(
        "-m",
        "millrace_services.inference",
        "serve",
        listening=False,
        MILLRACE_MODEL_NAME="m",
        MILLRACE_MODEL_PATH=str(models["sum"]),
        MILLRACE_GRPC_PORT=port,
    )
    assert started.exit_code() == 2
    (said,) = [line for line in started.log().splitlines() if not line.startswith("{")]
    assert said.endswith("Stop what listens there, or set MILLRACE_GRPC_PORT to a free port")
    assert f"cannot listen on 127.0.0.1:{port}" in said


def test_every_datatype_goes_through_the_model(serve, models):
    server = serve(models["every"], MILLRACE_GRPC_PORT="0")
    values = {
        "b": ("BOOL", "bool_contents", [True, False]),
        "s": ("BYTES", "bytes_contents", ["ä".encode(), b""]),
        **{f"u{n}": (f"UINT{8 * n}", "uint_contents", [1, 2 ** (8 * n) - 1]) for n in (1, 2, 4)},
        **{f"i{n}": (f"INT{8 * n}", "int_contents", [1, -(2 ** (8 * n - 1))]) for n in (1, 2, 4)},
        "u8": ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        "i8": ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        "f4": ("FP32", "fp32_contents", [0.5, float("inf")]),
        "f8": ("FP64", "fp64_contents", [0.1, 1e300]),
    }
    asked = MESSAGES["ModelInferRequest"](model_name="m")
    for name, (datatype, field, data) in values.items():
        tensor = asked.inputs.add(name=name, datatype=datatype, shape=[1, 2])
        getattr(tensor.contents, field).extend(data)
    answer, _ = Client(address_of(server)).call("ModelInfer", asked)
    found = {
        output.name.removesuffix("_out"): list(getattr(output.contents, values[output.name.removesuffix("_out")][1]))
        for output in answer.outputs
    }
    assert found == {name: data for name, (_, _, data) in values.items()}


def test_many_callers_at_once_each_get_their_own_rows(client):
    answers: dict[int, list[float]] = {}

    def ask(number: int) -> None:
        for at in range(20):
            answer, _ = client.call("ModelInfer", rows([number, at, 0]))
            answers.setdefault(number, []).append(answer.outputs[0].contents.fp32_contents[0])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {number: np.subtract(got, range(20)).tolist() for number, got in answers.items()} == {
        number: [number] * 20 for number in range(8)
    }
