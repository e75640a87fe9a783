"""A client may go away at any stage of its request: nothing of it stays in the server, and others are answered."""

from __future__ import annotations

import re
import socket
import struct
import time
from pathlib import Path

import httpx
import pytest

from tests.running_service import RunningService
from tests.services.web.raw_client import answer, connected, request

TOY = str(Path(__file__).with_name("toy_service.py"))

BODY = b"x" * 500
# What the client sends before it goes, and how the request counts; the empty text: it never became a request.
STAGES = {
    "within the head": (request(BODY)[:30], ""),
    "within the body": (request(BODY)[:-100], 'code="499",route="/echo"'),
    "within the body, a query": (request(BODY, path="/echo?x=1")[:-100], 'code="499",route="/echo"'),
    "within the body, behind a gate": (request(BODY, path="/gated")[:-100], 'code="499",route="/gated"'),
    "within the body, control": (request(BODY, path="/double")[:-100], 'code="499",route="/double"'),
    "during the work": (request(BODY, path="/wait"), 'code="499",route="/wait"'),
    "during the work, a query": (request(BODY, path="/wait?x=1"), 'code="499",route="/wait"'),
    "during the work, behind a gate": (request(BODY, path="/gated-wait"), 'code="499",route="/gated-wait"'),
    "within the answer": (request(BODY, path="/large"), 'code="200",route="/large"'),
    "within the answer, behind a gate": (request(BODY, path="/gated-large"), 'code="200",route="/gated-large"'),
    "within the answer, with another behind it": (
        request(BODY, path="/large") + request(BODY, path="/wait"),
        'code="200",route="/large"',
    ),
}


@pytest.fixture(scope="module")
def toy(start_service) -> RunningService:
    return start_service(TOY)


def metrics(toy: RunningService) -> str:
    return httpx.get(f"{toy.url}/metrics").text


def count(text: str, labels: str) -> float:
    found = re.search(rf"millrace_http_request_seconds_count{{{re.escape(labels)}}} (\S+)", text)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_client_that_goes_leaves_nothing_behind(toy: RunningService, stage: str, how: str) -> None:
    sent, labels = STAGES[stage]
    before = count(metrics(toy), labels)
    with connected(toy) as other, connected(toy) as leaving:
        leaving.sendall(sent)
        until = time.monotonic() + 60
        if "work" in stage:
            while "millrace_http_in_flight 2.0" not in metrics(toy):
                assert time.monotonic() < until, metrics(toy)
        if "answer" in stage:
            leaving.recv(1)
        if how == "resets":
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.close()
        while True:
            text = metrics(toy)
            settled = "millrace_http_in_flight 1.0" in text and "toy_gate_bytes 0.0" in text
            if settled and count(text, labels) == before + bool(labels):
                break
            assert time.monotonic() < until, text
            time.sleep(0.02)
        other.sendall(request(b"still here"))
        assert answer(other)[1] == b"still here"
    assert "Traceback" not in toy.log()
