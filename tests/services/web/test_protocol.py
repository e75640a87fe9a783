"""Hot routes over the wire, byte by byte: what a client may do with a connection."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.web.raw_client import answer, connected, received, request

TOY = str(Path(__file__).with_name("toy_service.py"))


@pytest.fixture(scope="module")
def toy(start_service):
    return start_service(TOY, MILLRACE_MAX_BODY_BYTES="1000")


@given(st.binary(max_size=999), st.lists(st.integers(0, 1100), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_in_any_pieces_is_one_request(toy, body: bytes, cuts: list[int]) -> None:
    whole = request(b"x" + body)
    with connected(toy) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = 0
        for cut in sorted({min(cut, len(whole)) for cut in cuts} | {len(whole)}):
            connection.sendall(whole[begin:cut])
            begin = cut
        head, came, rest = answer(connection)
        assert (came, rest) == (whole.partition(b"\r\n\r\n")[2], b"")
        assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
        connection.sendall(request(b"again"))
        assert answer(connection)[1] == b"again", "the connection stays open"


def test_requests_that_come_before_the_answer_are_answered_in_their_order(toy) -> None:
    with connected(toy) as connection:
        connection.sendall(request(b"slow") + request(b"second") + request(b"reject") + request(b"fourth"))
        rest = b""
        found = []
        for _ in range(4):
            head, body, rest = answer(connection, rest)
            found.append((head.split()[1], body))
    assert [found[0], found[1], found[3]] == [(b"200", b"slow"), (b"200", b"second"), (b"200", b"fourth")]
    assert found[2][0] == b"400"


def test_what_is_refused_unread_has_one_answer_each_keeps_its_connection_and_counts(toy) -> None:
    with connected(toy) as connection:
        full = request(b"reject", "x-request-id: mine", path="/full")
        connection.sendall(full + request(b"between"))
        first, body, rest = answer(connection)
        _, between, _ = answer(connection, rest)
        connection.sendall(full)
        last, again, _ = answer(connection)
        assert (body, between, again) == (b'{"error":"queue full","reason":"Overloaded"}', b"between", body)
        for head in (first, last):
            assert head.startswith(b"HTTP/1.1 429 ")
            assert b"\r\nretry-after: 1\r\n" in head
            assert b"\r\nx-request-id: mine" in head
        connection.sendall(request(b"bye", path="/full", version="1.0"))
        head, _, _ = answer(connection)
        assert b"\r\nconnection: close" in head
        assert connection.recv(1) == b""
    metrics = httpx.get(f"{toy.url}/metrics").text
    assert 'millrace_http_request_seconds_count{code="429",route="/full"} 3.0' in metrics


@pytest.mark.parametrize(("version", "header"), [("1.0", "accept: */*"), ("1.1", "connection: close")])
def test_a_client_that_wants_one_answer_has_the_connection_closed(toy, version: str, header: str) -> None:
    with connected(toy) as connection:
        connection.sendall(request(b"bye", header, version=version))
        head, body, _ = answer(connection)
        assert body == b"bye"
        assert b"\r\nconnection: close" in head
        assert connection.recv(1) == b""


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(toy) -> None:
    with connected(toy) as connection:
        whole = request(b"body", "expect: 100-continue")
        connection.sendall(whole[:-4])
        assert received(connection) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        assert answer(connection)[1] == b"body"


def test_a_body_over_the_limit_is_refused_while_it_still_comes_and_counts_as_its_routes(toy) -> None:
    with connected(toy) as connection:
        connection.sendall(request(b"x" * 1_000_000)[:5000])
        head, body, _ = answer(connection)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"MILLRACE_MAX_BODY_BYTES" in body
    metrics = httpx.get(f"{toy.url}/metrics").text
    assert 'millrace_http_request_seconds_count{code="413",route="/echo"}' in metrics


def test_a_query_or_an_escaped_path_reaches_the_same_handler(toy) -> None:
    assert httpx.post(f"{toy.url}/echo?x=1", content=b"a").content == b"a"
    with connected(toy) as connection:
        connection.sendall(request(b"b", path="/ech%6f"))
        assert answer(connection)[1] == b"b"


def test_a_handler_learns_that_its_client_has_gone(toy) -> None:
    with connected(toy) as connection:
        connection.sendall(request(b"me", path="/wait"))
        time.sleep(0.1)
    until = time.monotonic() + 60
    while httpx.get(f"{toy.url}/left").content != b"me":
        assert time.monotonic() < until
        time.sleep(0.02)
    metrics = httpx.get(f"{toy.url}/metrics").text
    assert 'millrace_http_request_seconds_count{code="499",route="/wait"} 1.0' in metrics
    assert "millrace_http_in_flight 1.0" in metrics, "the scrape itself"


def test_a_client_that_goes_before_its_body_has_come_counts_as_one_that_went(toy) -> None:
    with connected(toy) as connection:
        connection.sendall(request(b"x" * 500)[:-100])
        time.sleep(0.1)
    until = time.monotonic() + 60
    while 'code="499",route="/echo"' not in httpx.get(f"{toy.url}/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.02)
