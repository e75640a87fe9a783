"""While a server drains, every answer says that its connection closes, and the server closes it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.running_service import RunningService, StartService
from tests.services.web.raw_client import answer, connected, request

TOY = str(Path(__file__).with_name("toy_service.py"))

REQUESTS = {
    "hot": request(b"hi"),
    "hot, with a query": request(b"hi", path="/echo?x=1"),
    "hot, with a long answer": request(b"x" * 60_000),
    "hot, an error": request(b"reject"),
    "hot, a fault": request(b"bug"),
    "hot, too large": request(b"x" * 200_000),
    "hot, of HTTP 1.0": request(b"hi", "connection: keep-alive", version="1.0"),
    "behind a gate": request(b"hi", path="/gated"),
    "control": request(b"", path="/health/live", method="GET"),
    "control, an error": request(b"{}", path="/double"),
    "control, a fault": request(b"", path="/bug", method="GET"),
    "no route": request(b"", path="/nowhere"),
}
# A client may send its next request before it has read the answer that closes the connection.
PIPELINED = {
    "hot, hot": request(b"hi") + request(b"after hot", path="/note"),
    "hot, behind a gate": request(b"hi") + request(b"gated after hot", path="/gated"),
    "control, hot": request(b"", path="/health/live", method="GET") + request(b"after control", path="/note"),
    "slow hot, hot": request(b"slow") + request(b"after slow", path="/note"),
}


@pytest.fixture(scope="module")
def draining(start_service: StartService) -> Iterator[tuple[RunningService, dict[str, socket.socket]]]:
    """A server that drains, and connections on which it answered before."""
    toy = start_service(TOY, MILLRACE_MAX_BODY_BYTES="100000", MILLRACE_DRAIN_SECONDS="120")
    with ExitStack() as stack:
        kept = {}
        for name in [*REQUESTS, *PIPELINED, "in flight", "control in flight"]:
            kept[name] = stack.enter_context(connected(toy))
            kept[name].sendall(request(b"hi"))
            head, _, _ = answer(kept[name])
            assert b"connection: close" not in head
        kept["in flight"].sendall(request(b"hi", path="/drained"))
        kept["control in flight"].sendall(request(b"", path="/control-drained", method="GET"))
        until = time.monotonic() + 60
        while "millrace_http_in_flight 3.0" not in httpx.get(f"{toy.url}/metrics").text:
            assert time.monotonic() < until
        toy.terminate()
        while httpx.get(f"{toy.url}/health/ready").status_code == 200:
            assert time.monotonic() < until + 10
        yield toy, kept


def closes(connection: socket.socket) -> bool:
    """Whether the one answer that comes says that the connection closes, and it does."""
    head, _, rest = answer(connection)
    told = head.lower().count(b"\r\nconnection: close")
    try:
        return told == 1 and rest == b"" and connection.recv(1) == b""
    except ConnectionResetError:  # closed before all of a request that was too large was read
        return told == 1


@pytest.mark.parametrize("name", REQUESTS)
def test_a_kept_connection_is_closed_with_the_next_answer(draining, name: str) -> None:
    _, kept = draining
    kept[name].sendall(REQUESTS[name])
    assert closes(kept[name])


@pytest.mark.parametrize("name", ["in flight", "control in flight"])
def test_a_request_that_was_in_flight_when_the_drain_began_is_answered_and_its_connection_closed(
    draining, name: str
) -> None:
    _, kept = draining
    assert closes(kept[name])


@pytest.mark.parametrize("name", PIPELINED)
def test_a_request_behind_the_closing_answer_is_neither_answered_nor_worked_on(draining, name: str) -> None:
    toy, kept = draining
    kept[name].sendall(PIPELINED[name])
    assert closes(kept[name])
    assert b"after" not in httpx.get(f"{toy.url}/notes").content


@pytest.mark.parametrize("name", REQUESTS)
def test_a_new_connection_is_answered_once(draining, name: str) -> None:
    toy, _ = draining
    with connected(toy) as connection:
        connection.sendall(REQUESTS[name])
        assert closes(connection)
