"""The server over real sockets: protocol, predictions, overload, drain and refusals to start."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from millrace_core.base.errors import RejectError
from millrace_services.inference.app import InferenceServer
from millrace_services.inference.settings import InferenceSettings
from millrace_services.inference.tensors import NUMPY


@pytest.fixture(scope="module")
def total(serve, models):
    return serve(models["sum"])


@pytest.fixture(scope="module")
def version(models):
    """The version of the model that adds up: the first digits of its file's digest."""
    return version_of(models["sum"])


def version_of(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def infer(server, *inputs, path="/v2/models/m/infer", **more) -> httpx.Response:
    return httpx.post(server.url + path, json={"inputs": list(inputs), **more}, timeout=30)


def features(*rows) -> dict[str, object]:
    return {"name": "features", "datatype": "FP32", "shape": [len(rows), 3], "data": list(rows)}


def slow_input() -> dict[str, object]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.0]}


def test_metadata_says_what_the_model_takes_and_where_it_runs(total, version):
    assert httpx.get(f"{total.url}/v2").json()["name"] == "millrace"
    for path in ("/v2/models/m", f"/v2/models/m/versions/{version}"):
        metadata = httpx.get(total.url + path).json()
        assert metadata["versions"] == [version]
        assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}]
        assert metadata["outputs"] == [{"name": "total", "datatype": "FP32", "shape": [-1, 1]}]
        assert metadata["parameters"]["device"] == "cpu"
        assert metadata["parameters"]["digest"].startswith(f"sha256:{version}")


def test_health_bodies_carry_both_forms(total, version):
    versioned = f"/v2/models/m/versions/{version}/ready"
    for path in ("/v2/health/ready", "/health/ready", "/v2/models/m/ready", versioned):
        response = httpx.get(total.url + path)
        assert (response.status_code, response.json()["ready"]) == (200, True)
    assert httpx.get(f"{total.url}/v2/health/live").json() == {"live": True}


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/models/m/versions/{version}/infer"])
def test_infer_answers_with_model_version_and_deployment(total, version, path):
    response = infer(total, features([1, 2, 3], [4, 5, 6]), path=path.format(version=version), id="r1")
    assert response.json() == {
        "model_name": "m",
        "model_version": version,
        "id": "r1",
        "outputs": [{"name": "total", "datatype": "FP32", "shape": [2, 1], "data": [6.0, 15.0]}],
    }
    assert response.headers["x-millrace-deployment"] == "m-v7"
    assert response.headers["x-millrace-model-version"] == version


@pytest.mark.parametrize(
    "path",
    ["/v2/models/other", "/v2/models/other/ready", "/v2/models/m/versions/8", "/v2/models/m/versions/8/ready"],
)
def test_an_unknown_model_or_version_is_404(total, path):
    response = httpx.get(total.url + path)
    assert response.status_code == 404
    assert "This server serves" in response.json()["error"]
    if not path.endswith("ready"):
        assert httpx.post(f"{total.url}{path}/infer", json={}).status_code == 404


def test_a_bad_tensor_is_400_with_the_headers_of_the_deployment(total):
    response = infer(total, features([1, 2]))
    assert response.status_code == 400
    assert response.json()["error"].startswith("input 'features': lists nested as [1, 2] came")
    assert response.headers["x-millrace-deployment"] == "m-v7"


def test_every_datatype_comes_back_as_it_went_in(serve, models):
    server = serve(models["every"])
    values = {
        "b": [True, False],
        "s": ["ä", ""],
        **{f"{kind}{size}": [1, 2] for kind in "ui" for size in (1, 2, 4, 8)},
        "u8": [0, 2**64 - 1],
        "i8": [-(2**63), 2**63 - 1],
        "f4": [0.1, None],
        "f8": [0.1, 1e300],
    }
    datatypes = {dtype.str[1:]: name for name, dtype in NUMPY.items()} | {"b": "BOOL", "s": "BYTES"}
    inputs = [
        {"name": name, "datatype": datatypes[name], "shape": [1, 2], "data": data} for name, data in values.items()
    ]
    answer = infer(server, *inputs).json()
    assert {output["name"].removesuffix("_out"): output["data"] for output in answer["outputs"]} == values


def test_a_classifiers_probabilities_are_those_of_scikit_learn(serve, classifiers):
    path, rows, expected = classifiers["zipmap"]  # without it: see the feature join
    server = serve(path)
    answer = httpx.post(f"{server.url}/predict", json={"request": {"X": rows.tolist()}}).json()
    label, probabilities = answer["outputs"].values()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert answer["predictions"] == label == expected.argmax(axis=1).tolist()
    digest = answer["model"].pop("digest")
    assert answer["model"] == {"name": "m", "version": version_of(path), "deployment": "m-v7"}
    assert digest.startswith(f"sha256:{version_of(path)}")


def test_what_the_model_refuses_is_400_and_serving_goes_on(serve, models):
    server = serve(models["lookup"])

    def row(number: int) -> dict[str, object]:
        return {"name": "row", "datatype": "INT64", "shape": [1], "data": [number]}

    refused = infer(server, row(99))
    assert refused.status_code == 400
    assert "the model refuses this input" in refused.json()["error"]
    assert infer(server, row(1)).json()["outputs"][0]["data"] == [2.5]


def test_a_long_run_leaves_health_checks_answering_and_overload_is_shed(serve, models):
    server = serve(models["slow"], MILLRACE_THREADS="1", MILLRACE_QUEUE_REQUESTS="2", MILLRACE_QUEUE_TIMEOUT="20s")
    labels = f'{{deployment="m-v7",model="m",version="{version_of(models["slow"])}"}}'
    seen = threading.Event()
    answers: list[httpx.Response] = []

    def client() -> None:
        while not seen.is_set() or len(answers) < 20:
            answers.append(infer(server, slow_input()))

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client) for _ in range(6)]
        for _ in range(500):
            in_flight = f"millrace_inference_in_flight{labels} 0.0" not in httpx.get(f"{server.url}/metrics").text
            if in_flight and httpx.get(f"{server.url}/v2/health/live").status_code == 200:
                break
        seen.set()
        for done in clients:
            done.result()
    assert in_flight
    assert {answer.status_code for answer in answers} == {200, 429}
    shed = next(answer for answer in answers if answer.status_code == 429)
    assert shed.headers["retry-after"] == "1"
    assert "requests are waiting" in shed.json()["error"]
    count = sum(answer.status_code == 429 for answer in answers)
    assert f"millrace_inference_shed_total{labels} {float(count)}" in httpx.get(f"{server.url}/metrics").text


def test_a_busy_server_of_a_model_that_runs_on_the_loop_says_so_at_every_scrape(serve, models):
    server = serve(models["sum"])
    ended = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            while not ended.is_set():
                http.post("/v2/models/m/infer", json={"inputs": [features([1, 2, 3])]})

    with ThreadPoolExecutor(4) as pool, httpx.Client(base_url=server.url, timeout=60) as scraper:
        for _ in range(4):
            pool.submit(client)
        for _ in range(1000):  # until all four ask
            if all(load(scraper)):
                break
        seen = [load(scraper) for _ in range(100)]
        ended.set()
    assert all(in_flight > 0 and waiting > 0 and busy > 0 for in_flight, waiting, busy in seen)
    assert all(waiting < in_flight < 4 for in_flight, waiting, _ in seen)


def load(scraper: httpx.Client) -> list[float]:
    """Of a scrape: in flight, waiting, busy."""
    lines = scraper.get("/metrics").text.splitlines()
    names = ("in_flight{", "queue_depth{", "busy_ratio{")
    return [
        float(line.split()[-1]) for name in names for line in lines if line.startswith(f"millrace_inference_{name}")
    ]


def test_a_request_whose_turn_does_not_come_in_time_is_429_as_one_that_finds_no_place(serve, models):
    server = serve(models["slow"], MILLRACE_QUEUE_TIMEOUT="1ms")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: infer(server, slow_input()), range(6)))
    assert {answer.status_code for answer in answers} == {200, 429}
    assert {answer.headers.get("retry-after") for answer in answers} == {None, "1"}
    assert any("no free turn within 0.001 s" in answer.text for answer in answers)


def test_sigterm_under_load_fails_no_request(serve, models):
    server = serve(models["sum"], MILLRACE_DRAIN_SECONDS="0.5")
    answers: list[httpx.Response] = []
    failures: list[Exception] = []

    def client() -> None:
        body = {"inputs": [features([1, 2, 3])]}
        with httpx.Client(base_url=server.url) as http:
            try:
                while not answers or answers[-1].headers.get("connection") != "close":
                    answers.append(http.post("/v2/models/m/infer", json=body))
            except httpx.HTTPError as error:
                failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(answers) < 40:
        time.sleep(0.01)
    server.terminate(signal.SIGTERM)
    for thread in threads:
        thread.join(10)
    assert server.exit_code() == 0
    assert failures == []
    assert {answer.status_code for answer in answers} == {200}


def test_a_version_is_that_of_the_bytes_whatever_was_noted_wrongly(serve, models, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(models["sum"].read_bytes())
    (tmp_path / "model.onnx.digest").write_text("half a no")
    server = serve(path, MILLRACE_DEPLOYMENT="another")
    assert httpx.get(f"{server.url}/v2/models/m").json()["versions"] == [version_of(path)]


async def test_before_the_model_is_loaded_it_is_live_and_not_ready(models):
    settings = InferenceSettings.load({"MILLRACE_MODEL_NAME": "m", "MILLRACE_MODEL_PATH": str(models["sum"])})
    starting = httpx.ASGITransport(InferenceServer(settings).service)
    async with httpx.AsyncClient(transport=starting, base_url="http://pod") as http:
        assert (await http.get("/v2/health/live")).status_code == 200
        for path in ("/v2/health/ready", "/v2/models/m/ready", "/health/ready", "/v2/models/m"):
            assert (await http.get(path)).status_code == 503
        refused = await http.post("/v2/models/m/infer", json={"inputs": [features([1, 2, 3])]})
        assert (refused.status_code, refused.json()["reason"]) == (503, "NotReady")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"MILLRACE_MODEL_PATH": "/nowhere/model.onnx"}, "there is no model file /nowhere/model.onnx"),
        ({"MILLRACE_FEATURES": '{"refs": ["v:a", "v:b", "v:c", "v:d"]}'}, "the model's input 'features' takes [-1, 3]"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line_and_to_the_operator(
    start_service, models, tmp_path, environment, sentence
):
    log = tmp_path / "termination-log"
    server = start_service(
        "-m",
        "millrace_services.inference",
        "serve",
        listening=False,
        **{
            "MILLRACE_MODEL_NAME": "m",
            "MILLRACE_MODEL_PATH": str(models["sum"]),
            "MILLRACE_TERMINATION_LOG": str(log),
            **environment,
        },
    )
    assert server.exit_code() == 2
    assert "Traceback" not in server.log()
    (line,) = [line for line in server.log().splitlines() if line.startswith("millrace: ")]
    assert sentence in line
    assert sentence in json.loads(log.read_text())["error"]["message"] + json.loads(log.read_text())["error"]["field"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MILLRACE_DEVICE", "tpu", "MILLRACE_DEVICE"),
        ("MILLRACE_FEATURES", "{", "MILLRACE_FEATURES"),
        ("MILLRACE_FEATURES", '{"refs": []}', "MILLRACE_FEATURES"),
        ("MILLRACE_FEATURES", '{"refs": ["v:a"], "timeout": "soon"}', "'soon' is no duration"),
        ("MILLRACE_QUEUE_TIMEOUT", "-1", "MILLRACE_QUEUE_TIMEOUT"),
        ("MILLRACE_QUEUE_TIMEOUT", "soon", "MILLRACE_QUEUE_TIMEOUT: .*'soon' is no duration"),
        ("MILLRACE_THREADS", "0", "MILLRACE_THREADS"),
    ],
)
def test_a_wrong_setting_is_named(name, value, sentence):
    with pytest.raises(RejectError, match=sentence):
        InferenceSettings.load({"MILLRACE_MODEL_NAME": "m", "MILLRACE_MODEL_PATH": "/m.onnx", name: value})


def test_settings_take_what_the_operator_writes():
    features = '{"refs": ["v:a"], "input": null, "onMissing": "fail", "timeout": "20ms"}'
    settings = InferenceSettings.load(
        {"MILLRACE_MODEL_NAME": "m", "MILLRACE_MODEL_PATH": "/m.onnx", "MILLRACE_FEATURES": features}
    )
    assert settings.features is not None
    assert (settings.features.on_missing, settings.features.timeout) == ("fail", 0.02)
