"""Features are read once per request, laid out as the model takes them, and every failure has its own answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from millrace_core.base.errors import NotFoundError, RejectError, ReportError, TooLargeError
from millrace_services.inference import feature_join
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.feature_layout import layout, prove
from millrace_services.inference.note import Note
from millrace_services.inference.settings import FeatureSettings
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import TensorSpec
from millrace_services.web.errors import DependencyError

MATRIX = Signature([TensorSpec("x", "FP32", (-1, 2))], [])
REFS = ["u:age", "v:height"]
TABLE = {1: [30, 1.5], 2: [40, None], 3: [50, 1.75]}


class Gateway:
    """An HTTP server that answers like the gateway, from a table by ``user``."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.hang_ups = 0
        # By full name; None: it knows nothing of types.
        self.types: dict[str, str] | None = None
        self.unknown = 0
        self.answer: Callable[[dict[str, Any]], tuple[int, bytes]] = self.rows
        self.url = ""

    def metadata(self) -> tuple[int, bytes]:
        if self.types is None:
            return 503, b'{"error": "no definitions"}'
        if self.unknown:
            self.unknown -= 1
            return 404, b'{"error": "no view u"}'
        features = [{"name": name, "type": kind} for name, kind in self.types.items()]
        return 200, json.dumps({"features": features}).encode()

    def rows(self, request: dict[str, Any]) -> tuple[int, bytes]:
        users = request["entities"]["user"]
        names = ["user", *(ref.replace(":", "__") for ref in request["features"])]
        columns = [users]
        columns += [[TABLE.get(user, [None, None])[n] for user in users] for n in range(len(request["features"]))]
        status = [
            [
                "PRESENT" if v is not None else "NULL_VALUE" if user in TABLE else "NOT_FOUND"
                for v, user in zip(c, users, strict=True)
            ]
            for c in columns
        ]
        results = [
            {"values": values, "statuses": statuses, "event_timestamps": [0] * len(users)}
            for values, statuses in zip(columns, status, strict=True)
        ]
        return 200, json.dumps({"metadata": {"feature_names": names}, "results": results}).encode()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    state = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path.endswith(feature_join.METADATA):
                self.reply(*state.metadata())
                return
            state.requests.append(body)
            state.paths.append(self.path)
            if state.hang_ups:
                state.hang_ups -= 1
                self.close_connection = True
                return
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.reply(*state.answer(body))

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


async def feeds(
    gateway: Gateway, users: list[Any], signature: Signature = MATRIX, note: Note | None = None, **options: Any
):
    settings = FeatureSettings(refs=REFS, **options)
    join = FeatureJoin(settings, signature, gateway_url=gateway.url, project="shop")
    try:
        return await join.feeds({"user": users}, note=note)
    finally:
        await join.aclose()


async def test_all_rows_come_in_one_read_in_the_order_of_the_refs(gateway):
    joined = await feeds(gateway, [3, 1, 3])
    np.testing.assert_array_equal(joined["x"], np.array([[50, 1.75], [30, 1.5], [50, 1.75]], np.float32))
    assert joined["x"].dtype == np.float32
    assert joined["x"].flags.c_contiguous
    assert gateway.requests == [
        {"features": REFS, "full_feature_names": True, "project": "shop", "entities": {"user": [3, 1, 3]}}
    ]
    assert gateway.headers[0]["traceparent"].startswith("00-")


@pytest.mark.parametrize(
    ("datatype", "default"), [("FP32", np.nan), ("FP64", np.nan), ("INT64", 0)], ids=["FP32", "FP64", "INT64"]
)
async def test_a_missing_value_is_what_the_inputs_type_has_for_it(gateway, datatype, default):
    joined = await feeds(gateway, [9], Signature([TensorSpec("x", datatype, (-1, 2))], []))
    np.testing.assert_array_equal(joined["x"], np.array([[default, default]]))


async def test_values_that_the_gateway_does_not_have_are_counted(gateway):
    for users, missing in (([1, 3], 0), ([1, 2], 1), ([9, 1], 2)):
        note = Note(None)
        await feeds(gateway, users, note=note)
        assert note.missing == missing, users


async def test_a_missing_value_is_an_error_where_the_deployment_says_so(gateway):
    with pytest.raises(NotFoundError) as caught:
        await feeds(gateway, [1, 2], onMissing="fail")
    assert "feature v:height of user=2 has no value (NULL_VALUE)" in str(caught.value)
    with pytest.raises(NotFoundError, match=r"feature u:age of user=9 has no value \(NOT_FOUND\)"):
        await feeds(gateway, [9], onMissing="fail")


async def test_a_row_older_than_the_ttl_of_its_view_counts_as_missing(gateway):
    results = [
        {"values": [None], "statuses": ["OUTSIDE_MAX_AGE"], "event_timestamps": ["2026-01-01T00:00:00Z"]},
        {"values": [1.5], "statuses": ["PRESENT"], "event_timestamps": ["2026-01-02T00:00:00Z"]},
    ]
    body = json.dumps({"metadata": {"feature_names": ["u__age", "v__height"]}, "results": results}).encode()
    gateway.answer = lambda _: (200, body)
    note = Note(None)
    np.testing.assert_array_equal((await feeds(gateway, [1], note=note))["x"], np.array([[np.nan, 1.5]], np.float32))
    assert note.missing == 1
    assert note.features.statuses == {"u": ["OUTSIDE_MAX_AGE"], "v": ["PRESENT"]}
    with pytest.raises(NotFoundError, match=r"feature u:age of user=1 has no value \(OUTSIDE_MAX_AGE\)"):
        await feeds(gateway, [1], onMissing="fail")


async def test_an_aggregate_that_no_row_tells_of_has_the_value_that_training_has(gateway):
    def answer(request):
        results = [{"values": [0], "statuses": ["NOT_FOUND"]}, {"values": [None], "statuses": ["NOT_FOUND"]}]
        return 200, json.dumps({"metadata": {"feature_names": ["u__age", "v__height"]}, "results": results}).encode()

    gateway.answer = answer
    joined = await feeds(gateway, [9])
    np.testing.assert_array_equal(joined["x"], np.array([[0, np.nan]], np.float32))


async def test_a_model_with_an_input_per_feature_gets_columns(gateway):
    signature = Signature([TensorSpec("age", "INT64", (-1, 1)), TensorSpec("v__height", "FP32", (-1,))], [])
    joined = await feeds(gateway, [1, 3], signature)
    assert joined["age"].tolist() == [[30], [50]]
    assert joined["v__height"].tolist() == [1.5, 1.75]


async def test_floats_that_are_not_finite_come_through_as_they_are(gateway):
    def answer(request):
        columns = [["NaN", 1.5, "Infinity"], [2.5, "-Infinity", None]]
        statuses = [["PRESENT"] * 3, ["PRESENT", "PRESENT", "NULL_VALUE"]]
        results = [{"values": v, "statuses": s} for v, s in zip(columns, statuses, strict=True)]
        return 200, json.dumps({"metadata": {"feature_names": ["u__age", "v__height"]}, "results": results}).encode()

    gateway.answer = answer
    joined = await feeds(gateway, [1, 2, 3])
    expected = np.array([[np.nan, 2.5], [1.5, -np.inf], [np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(joined["x"], expected)


@pytest.mark.parametrize("values", [["tall"], [1.5]], ids=["text", "fraction"])
async def test_values_that_do_not_fit_the_model_are_reported_not_converted(gateway, values):
    def answer(request):
        columns = [{"values": [1], "statuses": ["PRESENT"]}, {"values": values, "statuses": ["PRESENT"]}]
        return 200, json.dumps({"metadata": {"feature_names": ["u__age", "v__height"]}, "results": columns}).encode()

    gateway.answer = answer
    with pytest.raises(ReportError, match=r"features u:age, v:height do not fit the model: input 'x'"):
        await feeds(gateway, [1], Signature([TensorSpec("x", "INT64", (-1, 2))], []))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFoundError),
        (400, RejectError),
        (413, TooLargeError),
        (503, DependencyError),
        (500, DependencyError),
        (429, DependencyError),
    ],
)
async def test_what_the_gateway_refuses_is_passed_on_with_its_reason(gateway, status, error):
    gateway.answer = lambda _: (status, b'{"error": "no view u"}')
    with pytest.raises(error, match="no view u"):
        await feeds(gateway, [1])


async def test_the_place_that_the_gateway_names_is_not_named_again(gateway):
    gateway.answer = lambda _: (404, b'{"error": "features: no view u"}')
    with pytest.raises(NotFoundError) as caught:
        await feeds(gateway, [1])
    assert str(caught.value) == "features: no view u"


async def test_a_gateway_that_takes_too_long_is_a_dependency_that_fails(gateway):
    def late(request):
        time.sleep(0.3)
        return gateway.rows(request)

    gateway.answer = late
    with pytest.raises(DependencyError, match=r"no features within 0\.05 s"):
        await feeds(gateway, [1], timeout="50ms")


async def test_a_gateway_that_is_not_there_may_be_tried_again(gateway):
    settings = FeatureSettings(refs=REFS)
    join = FeatureJoin(settings, MATRIX, gateway_url="http://127.0.0.1:1", project="shop")
    with pytest.raises(DependencyError, match=r"the gateway http://127\.0\.0\.1:1/\S+ cannot be reached"):
        await join.feeds({"user": [1]})
    await join.aclose()


@pytest.mark.parametrize(
    "content", [b"<html>", b"", b"{}", b"[]", b'{"metadata": {"feature_names": ["u__age"]}, "results": []}']
)
async def test_an_answer_that_is_none_is_reported(gateway, content):
    gateway.answer = lambda _: (200, content)
    with pytest.raises(ReportError, match="the gateway's answer cannot be read"):
        await feeds(gateway, [1])


async def test_a_read_that_the_gateway_hangs_up_on_is_repeated_once(gateway):
    join = FeatureJoin(FeatureSettings(refs=REFS), MATRIX, gateway_url=gateway.url, project="shop")
    gateway.hang_ups = 1
    assert (await join.feeds({"user": [1]}))["x"].tolist() == [[30.0, 1.5]]
    gateway.hang_ups = 2
    with pytest.raises(DependencyError, match="cannot be reached"):
        await join.feeds({"user": [1]})
    assert len(gateway.requests) == 4
    await join.aclose()


async def test_the_proxy_of_the_environment_is_asked_where_there_is_one(gateway, monkeypatch):
    monkeypatch.setenv("http_proxy", gateway.url)
    address = "http://millrace-gateway.millrace-system.svc"
    join = FeatureJoin(FeatureSettings(refs=REFS), MATRIX, gateway_url=address, project="shop")
    await join.feeds({"user": [1]})
    assert gateway.headers[0]["host"] == "millrace-gateway.millrace-system.svc"
    assert gateway.paths == [f"{address}/get-online-features"]
    await join.aclose()


@pytest.mark.parametrize(
    ("options", "inputs", "sentence"),
    [
        ({"input": "y"}, [("x", (-1, 2))], "the model has no input 'y', it has x"),
        ({}, [("x", (-1, 1))], "2 features make rows of at least 2 values, the model's input 'x' takes [-1, 1]"),
        ({}, [("x", (-1,))], "2 features make rows of at least 2 values, the model's input 'x' takes [-1]"),
        ({}, [("age", (-1,)), ("b", (-1,))], "the model has no input 'height' for v:height, it has age, b"),
        ({}, [("age", (-1, 4, 2)), ("height", (-1,))], "input 'age' takes [-1, 4, 2], one value or one array per row"),
    ],
)
def test_features_that_do_not_fit_the_model_are_found_at_the_start(options, inputs, sentence):
    signature = Signature([TensorSpec(name, "FP32", shape) for name, shape in inputs], [])
    with pytest.raises(RejectError) as caught:
        layout(FeatureSettings(refs=REFS, **options), signature)
    assert sentence in str(caught.value)


def test_two_features_never_fill_one_input():
    signature = Signature([TensorSpec("age", "FP32", (-1,)), TensorSpec("b", "FP32", (-1,))], [])
    with pytest.raises(RejectError, match="u:age and v:age would both fill the model's input 'age'"):
        layout(FeatureSettings(refs=["u:age", "v:age"]), signature)


def of_columns(*columns: list[Any]) -> Callable[[dict[str, Any]], tuple[int, bytes]]:
    """Answers with these values; a null is missing."""
    results = [
        {"values": values, "statuses": ["PRESENT" if value is not None else "NULL_VALUE" for value in values]}
        for values in columns
    ]
    body = {"metadata": {"feature_names": ["u__age", "v__height"]}, "results": results}
    return lambda request: (200, json.dumps(body).encode())


NAN = np.nan


@pytest.mark.parametrize(
    ("columns", "width", "expected"),
    [
        (([[1, 2], None], [5, 6]), 3, [[1, 2, 5], [NAN, NAN, 6]]),
        (([5, 6], [[1, None], ["NaN", "Infinity"]]), -1, [[5, 1, NAN], [6, NAN, np.inf]]),
        (([5, 6], [None, None]), 4, [[5, NAN, NAN, NAN], [6, NAN, NAN, NAN]]),
    ],
    ids=["an array before a scalar", "an array after it", "no array at all"],
)
async def test_arrays_stand_beside_scalars_in_the_row_that_the_model_takes(gateway, columns, width, expected):
    gateway.answer = of_columns(*columns)
    joined = await feeds(gateway, [1, 2], Signature([TensorSpec("x", "FP32", (-1, width))], []))
    np.testing.assert_array_equal(joined["x"], np.array(expected, np.float32))


async def test_an_embedding_fills_an_input_of_its_own(gateway):
    gateway.answer = of_columns([[1.5, 2.5], [3.5, 4.5]], [1, 2])
    signature = Signature([TensorSpec("age", "FP64", (-1, 2)), TensorSpec("height", "INT64", (-1,))], [])
    joined = await feeds(gateway, [1, 2], signature)
    assert joined["age"].tolist() == [[1.5, 2.5], [3.5, 4.5]]
    assert joined["height"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (([[1, 2], [3]], [5, 6]), "features u:age do not fit the model: its arrays have different lengths: 1, 2"),
        (([[1, 2], [3, 4]], [5, 6]), "they make rows of 3 values, input 'x' takes 4"),
        (([None, None], [None, None]), "they make rows of 2 values, input 'x' takes 4"),
    ],
    ids=["ragged", "too short", "nothing known"],
)
async def test_arrays_that_do_not_fit_the_model_are_reported(gateway, columns, sentence):
    gateway.answer = of_columns(*columns)
    with pytest.raises(ReportError, match="do not fit the model") as caught:
        await feeds(gateway, [1, 2], Signature([TensorSpec("x", "FP32", (-1, 4))], []))
    assert sentence in str(caught.value)


async def test_request_fields_go_to_the_gateway_beside_the_join_keys(gateway):
    join = FeatureJoin(FeatureSettings(refs=REFS), MATRIX, gateway_url=gateway.url, project="shop")
    await join.feeds({"user": [1]}, {"cart": [3.0]}, {"hour": [7]})
    await join.aclose()
    assert gateway.requests[0]["entities"] == {"user": [1], "cart": [3.0]}
    assert gateway.requests[0]["request"] == {"hour": [7]}


def test_a_model_of_bf16_joins_no_features():
    with pytest.raises(RejectError, match="input 'x' takes BF16"):
        layout(FeatureSettings(refs=REFS), Signature([TensorSpec("x", "BF16", (-1, 2))], []))


def test_predict_joins_computes_and_answers(gateway, serve, classifiers):
    path, rows, expected = classifiers["tensor"]
    refs = [f"fv:f{n}" for n in range(30)]

    def answer(request):
        picked = [rows[patient].tolist() for patient in request["entities"]["patient"]]
        present = {"statuses": ["PRESENT"] * len(picked), "event_timestamps": [None] * len(picked)}
        columns = [{"values": [row[n] for row in picked], **present} for n in range(30)]
        names = [ref.replace(":", "__") for ref in request["features"]]
        return 200, json.dumps({"metadata": {"feature_names": names}, "results": columns}).encode()

    gateway.answer = answer
    server = serve(path, MILLRACE_GATEWAY_URL=gateway.url, MILLRACE_FEATURES=json.dumps({"refs": refs}))
    response = httpx.post(f"{server.url}/predict", json={"entities": {"patient": [2, 0]}})
    assert response.json()["features"] == {"missing": 0}
    assert "x-millrace-cache" not in response.headers
    np.testing.assert_allclose(response.json()["outputs"]["probabilities"], expected[[2, 0]], atol=1e-6)
    assert response.headers["x-millrace-deployment"] == "m-v7"
    assert gateway.requests[0]["project"] == "default"
    missing = httpx.post(f"{server.url}/predict", json={"entities": []})
    assert (missing.status_code, missing.json()["field"]) == (400, "entities")
    metrics = httpx.get(f"{server.url}/metrics").text
    version = response.headers["x-millrace-model-version"]
    labels = f'{{deployment="m-v7",model="m",version="{version}"}}'
    assert f"millrace_inference_feature_join_seconds_count{labels} 1.0" in metrics


async def test_the_log_gets_the_values_times_and_statuses_of_what_was_read_also_where_one_is_missing(gateway):
    note = Note(None)
    join = FeatureJoin(FeatureSettings(refs=REFS, onMissing="fail"), MATRIX, gateway_url=gateway.url, project="shop")
    try:
        with pytest.raises(NotFoundError):
            await join.feeds({"user": [1, 9]}, note=note)
    finally:
        await join.aclose()
    assert note.features is not None
    assert list(note.features.values) == [ref.replace(":", "__") for ref in REFS]
    assert [len(values) for values in note.features.values.values()] == [2] * len(REFS)
    views = list(dict.fromkeys(ref.partition(":")[0] for ref in REFS))
    assert list(note.features.times) == views
    assert [statuses[1] for statuses in note.features.statuses.values()] == ["NOT_FOUND"] * len(views)


FITTING = {"u__age": "int64", "v__height": "float64"}


@pytest.mark.parametrize(
    ("types", "inputs"),
    [
        ({}, [("x", "FP32", (-1, 2))]),
        ({"u__age": "bool"}, [("x", "FP16", (-1, -1))]),
        ({"u__age": "array<float32>"}, [("x", "FP32", (-1, 9))]),
        ({"v__height": "int32"}, [("x", "INT8", (-1, 2))]),
        ({"u__age": "string", "v__height": "timestamp"}, [("x", "BYTES", (-1, 2))]),
        ({"v__height": "array<int64>"}, [("age", "UINT8", (-1,)), ("height", "FP64", (-1, 4))]),
    ],
)
def test_features_whose_types_the_inputs_take_are_proven(types, inputs):
    signature = Signature([TensorSpec(*spec) for spec in inputs], [])
    prove(layout(FeatureSettings(refs=REFS), signature), FITTING | types)


@pytest.mark.parametrize(
    ("types", "inputs", "sentence"),
    [
        (
            {"u__age": "string"},
            [("x", "FP32", (-1, 2))],
            "feature u:age is of type string, the model's input 'x' takes FP",
        ),
        ({"u__age": "timestamp"}, [("x", "FP32", (-1, 2))], "u:age is of type timestamp"),
        ({"v__height": "array<string>"}, [("x", "FP32", (-1, 9))], "v:height is of type array<string>"),
        ({}, [("x", "INT64", (-1, 2))], "v:height is of type float64, the model's input 'x' takes INT64"),
        ({}, [("x", "BYTES", (-1, 2))], "u:age is of type int64, the model's input 'x' takes BYTES"),
        ({"u__age": "int32"}, [("age", "BOOL", (-1,)), ("height", "FP32", (-1,))], "u:age is of type int32"),
        (
            {},
            [("x", "FP32", (-1, 30))],
            "2 features of one value each are named, the model's input 'x' takes rows of 30",
        ),
        (
            {},
            [("age", "FP32", (-1, 1)), ("height", "FP32", (-1, 3))],
            "1 features of one value each are named, the model",
        ),
    ],
)
def test_features_whose_types_or_number_the_inputs_do_not_take_are_refused(types, inputs, sentence):
    signature = Signature([TensorSpec(*spec) for spec in inputs], [])
    with pytest.raises(RejectError) as caught:
        prove(layout(FeatureSettings(refs=REFS), signature), FITTING | types)
    assert sentence in str(caught.value)
    assert (caught.value.field, caught.value.reason) == ("spec.features.refs", "BadFeatures")


async def proven(url: str, signature: Signature = MATRIX) -> None:
    join = FeatureJoin(FeatureSettings(refs=REFS), signature, gateway_url=url, project="shop")
    try:
        await join.prove()
    finally:
        await join.aclose()


async def test_the_types_that_the_gateway_knows_prove_or_refuse_features_before_the_first_request(gateway):
    gateway.types = FITTING
    await proven(gateway.url)
    gateway.types = FITTING | {"u__age": "string"}
    with pytest.raises(RejectError, match="u:age is of type string"):
        await proven(gateway.url)
    assert gateway.requests == []


async def test_a_view_that_was_applied_with_the_model_is_waited_for(gateway, monkeypatch):
    monkeypatch.setattr(feature_join, "_LOOK_AGAIN", (0.0, 0.0))
    gateway.types, gateway.unknown = FITTING | {"u__age": "string"}, 2
    with pytest.raises(RejectError, match="u:age is of type string"):
        await proven(gateway.url)


@pytest.mark.parametrize("unknown", [0, 9], ids=["503", "404"])
async def test_a_gateway_that_knows_no_types_proves_nothing_and_ends_no_start(gateway, monkeypatch, caplog, unknown):
    monkeypatch.setattr(feature_join, "_LOOK_AGAIN", (0.0, 0.0))
    gateway.types, gateway.unknown = (FITTING, unknown) if unknown else (None, 0)
    await proven(gateway.url)
    await proven("http://127.0.0.1:1")
    assert caplog.text.count("whether the features fit the model is not proven") == 2


def test_a_pod_whose_features_are_fewer_than_its_model_takes_never_serves(gateway, start_service, classifiers):
    gateway.types = {"fv__f0": "float64"}
    settings = {
        "MILLRACE_MODEL_NAME": "m",
        "MILLRACE_MODEL_PATH": str(classifiers["tensor"][0]),
        "MILLRACE_DEVICE": "cpu",
    }
    settings |= {"MILLRACE_GATEWAY_URL": gateway.url, "MILLRACE_FEATURES": json.dumps({"refs": ["fv:f0"]})}
    server = start_service("-m", "millrace_services.inference", "serve", listening=False, **settings)
    assert server.exit_code() != 0
    assert "1 features of one value each are named" in server.log()
    assert "takes rows of 30 values" in server.log()


def test_the_same_rows_of_features_have_the_same_answer_and_newer_ones_their_own(gateway, serve, models):
    at = ["2026-01-01T00:00:00Z"]

    def answer(request):
        rows = len(request["entities"]["user"])
        columns = [{"values": [1.5] * rows, "statuses": ["PRESENT"] * rows, "event_timestamps": at * rows}] * 3
        names = [ref.replace(":", "__") for ref in request["features"]]
        return 200, json.dumps({"metadata": {"feature_names": names}, "results": columns}).encode()

    gateway.answer = answer
    features = json.dumps({"refs": ["u:a", "u:b", "u:c"]})
    server = serve(
        models["sum"],
        MILLRACE_GATEWAY_URL=gateway.url,
        MILLRACE_FEATURES=features,
        MILLRACE_CACHE='{"ttl": "1h", "maxBytes": 1048576}',
    )
    said = []
    for at[0] in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"):
        found = httpx.post(f"{server.url}/predict", json={"entities": {"user": [1, 2]}})
        assert (found.json()["predictions"], found.json()["features"]) == ([[4.5], [4.5]], {"missing": 0})
        said.append(found.headers["x-millrace-cache"])
    assert said == ["miss", "hit", "miss"]
    assert len(gateway.requests) == 3
    tensors = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    for told in ("miss", "hit"):
        found = httpx.post(f"{server.url}/v2/models/m/infer", json={"id": told, **tensors})
        assert (found.json()["id"], found.headers["x-millrace-cache"]) == (told, told)
        assert found.json()["outputs"][0]["data"] == [6.0]
    metrics = httpx.get(f"{server.url}/metrics").text
    counted = {
        line.split('result="')[1].split('"')[0]: line.split()[-1]
        for line in metrics.splitlines()
        if "cache_lookups_total{" in line
    }
    assert counted == {"hit": "2.0", "shared": "0.0", "miss": "3.0"}
    assert "millrace_inference_cache_entries{" in metrics
    assert "millrace_inference_compute_seconds_count" in metrics
