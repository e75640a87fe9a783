"""A service answers health, metrics and every error in one form, over real sockets."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

TOY = str(Path(__file__).with_name("toy_service.py"))
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def toy(start_service):
    return start_service(TOY, MILLRACE_MAX_BODY_BYTES="1000")


@pytest.mark.parametrize(
    ("body", "status", "answer", "retry_after"),
    [
        (
            "reject",
            400,
            {"error": "inputs[0].shape: wrong shape", "reason": "Invalid", "field": "inputs[0].shape"},
            None,
        ),
        ("missing", 404, {"error": "no such view", "reason": "NotFound"}, None),
        ("retry", 503, {"error": "store down", "reason": "Unavailable"}, "3"),
        ("overload", 429, {"error": "queue full", "reason": "Overloaded"}, "1"),
        ("deadline", 408, {"error": "took longer than 20 ms", "reason": "DeadlineExceeded"}, "5"),
        ("dependency", 424, {"error": "the gateway is away", "reason": "FailedDependency"}, "1"),
        ("report", 500, {"error": "a person has to look", "reason": "Internal"}, None),
    ],
)
def test_every_kind_of_error_has_its_status_and_the_one_body(toy, body, status, answer, retry_after):
    response = httpx.post(f"{toy.url}/echo", content=body)
    assert response.status_code == status
    assert response.json() == answer
    assert response.headers["content-type"] == "application/json"
    assert response.headers.get("retry-after") == retry_after


@pytest.mark.parametrize("path", ["/echo", "/bug"])
def test_a_bug_is_a_500_that_shows_a_trace_id_and_no_secret(toy, path):
    seen = len(toy.log_lines())
    response = httpx.request(
        "POST" if path == "/echo" else "GET",
        f"{toy.url}{path}",
        content="bug",
        headers={"traceparent": TRACEPARENT},
    )
    assert response.status_code == 500
    assert "hunter2" not in response.text
    assert "0af7651916cd43dd8448eb211c80319c" in response.json()["error"]
    logged = [line for line in toy.log_lines()[seen:] if line["message"] == "unexpected error"]
    assert [line["trace_id"] for line in logged] == ["0af7651916cd43dd8448eb211c80319c"]
    assert "hunter2" in str(logged[0]["exception"])


def test_validation_errors_are_400_in_the_one_form_and_never_422(toy):
    missing = httpx.post(f"{toy.url}/double", json={})
    assert (missing.status_code, missing.json()) == (
        400,
        {"error": "number: Field required", "reason": "Invalid", "field": "number"},
    )
    broken = httpx.post(f"{toy.url}/double", content="{", headers={"content-type": "application/json"})
    assert broken.status_code == 400
    assert broken.json()["error"].startswith("the body is not JSON")


@pytest.mark.parametrize(
    ("path", "method", "allowed"), [("/echo", "GET", "POST"), ("/health/live", "POST", "GET, HEAD")]
)
def test_another_method_on_a_path_that_there_is_gets_405_with_those_that_there_are(toy, path, method, allowed):
    response = httpx.request(method, f"{toy.url}{path}")
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json() == {"error": f"{path} takes {allowed}, {method} came", "reason": "MethodNotAllowed"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/bug/"), ("GET", "/health/"), ("POST", "/echo/")])
def test_a_slash_too_many_is_another_path_and_sends_nobody_elsewhere(toy, method, path):
    response = httpx.request(method, f"{toy.url}{path}", headers={"host": "elsewhere.example"})
    assert (response.status_code, response.headers.get("location")) == (404, None)


def test_the_root_says_where_to_go(toy):
    answer = httpx.get(f"{toy.url}/")
    assert (answer.status_code, answer.json()["service"]) == (200, "toy")
    assert {"POST /echo", "GET /health/ready", "GET /metrics", "GET /docs"} <= set(answer.json()["routes"])


def test_an_unknown_route_is_a_404_that_names_it(toy):
    response = httpx.get(f"{toy.url}/nowhere")
    assert (response.status_code, response.json()["error"]) == (404, "no route GET /nowhere")


@pytest.mark.parametrize("path", ["/echo", "/double"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_not(toy, path, chunked):
    def body(size):
        return iter([b" " * size]) if chunked else b" " * size

    headers = {"content-type": "application/json"}
    assert httpx.post(toy.url + path, content=body(1001), headers=headers).status_code == 413
    assert httpx.post(toy.url + path, content=body(1000), headers=headers).status_code != 413


def test_readiness_names_the_check_that_fails_while_liveness_holds(start_service):
    toy = start_service(TOY, "--store-down")
    ready = httpx.get(f"{toy.url}/health/ready")
    assert (ready.status_code, ready.json()) == (
        503,
        {"ready": False, "checks": {"store": "cannot reach the store"}},
    )
    assert httpx.get(f"{toy.url}/health/live").json() == {"live": True}


def test_metrics_count_requests_by_route_and_code(start_service):
    toy = start_service(TOY)
    for body in ("hi", "hi", "reject"):
        httpx.post(f"{toy.url}/echo", content=body)
    metrics = httpx.get(f"{toy.url}/metrics").text
    assert 'millrace_http_request_seconds_count{code="200",route="/echo"} 2.0' in metrics
    assert 'millrace_http_request_seconds_count{code="400",route="/echo"} 1.0' in metrics
    assert "millrace_http_in_flight 1.0" in metrics


@pytest.mark.parametrize(
    "accept",
    [
        b"application/openmetrics-text;version=\xb9",
        b"application/openmetrics-text;version=one",
        b"text/plain;version=1.a;escaping=",
        b"application/openmetrics-text;version=1.0.0;q=much",
        b";;,=,",
    ],
)
def test_a_scraper_that_asks_for_no_known_format_gets_metrics_all_the_same(toy, accept):
    answer = httpx.get(f"{toy.url}/metrics", headers={b"accept": accept})
    assert (answer.status_code, answer.text.startswith("# HELP")) == (200, True)


def test_the_callers_trace_goes_on_to_the_next_service(toy):
    headers = {"traceparent": TRACEPARENT, "tracestate": "a=b", "x-request-id": "r-1"}
    response = httpx.get(f"{toy.url}/trace", headers=headers)
    sent = dict(line.split(": ") for line in response.text.splitlines())
    version, trace_id, span_id, flags = sent["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span_id != "b7ad6b7169203331"
    assert (sent["tracestate"], sent["x-request-id"]) == ("a=b", "r-1")
    assert response.headers["x-request-id"] == "r-1"


@pytest.mark.parametrize(
    "header",
    ["", "nonsense", f"ff{TRACEPARENT[2:]}", TRACEPARENT + "-more", "00-" + "0" * 32 + "-b7ad6b7169203331-01"],
)
def test_a_broken_traceparent_starts_a_new_trace(toy, header):
    sent = httpx.get(f"{toy.url}/trace", headers={"traceparent": header}).text
    assert "0af7651916cd43dd8448eb211c80319c" not in sent
    assert sent.startswith("traceparent: 00-")


def test_a_client_that_goes_away_mid_body_harms_nobody(toy):
    seen = len(toy.log_lines())
    host, port = toy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
    assert httpx.post(f"{toy.url}/echo", content="hi").text == "hi"
    assert not [line for line in toy.log_lines()[seen:] if line["level"] == "ERROR"]


def test_a_path_that_leads_nowhere_is_not_repeated_in_whole(toy):
    response = httpx.get(f"{toy.url}/{'x' * 7000}")
    assert response.status_code == 404
    assert len(response.json()["error"]) < 250
