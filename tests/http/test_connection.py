"""One connection by a clock of the test's: deadlines, sizes, and the order of answers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from millrace_http.guard import Guard
from millrace_http.limits import Limits
from millrace_http.protocol import GuardedProtocol
from tests.services.web.test_keep_alive import Clock

LIMITS = Limits(body_bytes=100_000, head_seconds=10, body_seconds=10, body_rate=1000, write_seconds=30)
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Line(asyncio.Transport):
    """Keeps what is written; ``unsent`` bytes of it the client has not taken."""

    def __init__(self, address: str = "") -> None:
        super().__init__({"peername": (address, 1)} if address else None)
        self.written = b""
        self.unsent = 0
        self.ended = self.closed = self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Served:
    """A connection to an application that reads the body, waits for ``go``, and answers with what came."""

    def __init__(
        self, limits: Limits = LIMITS, address: str = "", *, reads: bool = True, guard: Guard | None = None
    ) -> None:
        self.reads = reads
        self.gone = 0
        self.go = asyncio.Event()
        self.go.set()
        self.clock = Clock()
        self.line = Line(address)
        self.refused: list[int] = []
        self.bodies: list[bytes] = []
        self.scopes: list[Any] = []
        config = uvicorn.Config(
            self._application, interface="asgi3", timeout_keep_alive=100, access_log=False, log_config=None
        )
        config.load()
        loop: Any = self.clock
        self.guard = guard or Guard(limits, refused=self.refused.append)
        self.protocol = GuardedProtocol(self.guard, config=config, server_state=ServerState(), app_state={}, _loop=loop)
        self.protocol.connection_made(self.line)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", self.reads
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        self.scopes.append(scope)
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.protocol.data_received(part)
        for _ in range(300):
            await asyncio.sleep(0)

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d\d\d) ", self.line.written)]


async def test_a_connection_on_which_nothing_comes_ends_without_a_word() -> None:
    one = Served()
    one.clock.until(9.9)
    assert not one.line.closed
    one.clock.until(10.0)
    assert (one.line.closed, one.line.written) == (True, b"")


@pytest.mark.parametrize("pieces", [[HEAD], [b"G", b"E", b"T"], [b"\r\n", HEAD]])
async def test_a_head_that_does_not_come_to_its_end_gets_408(pieces: list[bytes]) -> None:
    one = Served()
    for piece in pieces:
        await one.send(piece)
        one.clock.until(one.clock.now + 1)
    one.clock.until(11.0)
    assert (one.statuses, one.line.ended, one.line.closed) == ([408], True, False)
    one.clock.until(14.0)
    assert one.line.aborted, "nobody reads on for ever"


async def test_a_body_slower_than_the_rate_gets_408_and_one_that_keeps_it_does_not() -> None:
    for rate, statuses in ((500, [408]), (1100, [])):
        one = Served()
        await one.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        for second in range(90):
            one.clock.until(second + 1)
            await one.send(b"x" * rate)
            if one.line.ended:
                break
        assert one.statuses == one.refused == statuses


async def test_a_request_that_takes_long_has_no_deadline_here() -> None:
    one = Served()
    one.go.clear()
    await one.send(HEAD + b"\r\n")
    one.clock.until(1000.0)
    assert not one.line.closed
    one.go.set()
    await one.send()
    assert one.statuses == [200]
    one.clock.until(1099.0)
    assert not one.line.closed
    one.clock.until(1101.0)
    assert one.line.closed


async def test_a_client_that_takes_nothing_of_an_answer_loses_its_connection() -> None:
    one = Served()
    one.line.unsent = 200_000
    one.protocol.pause_writing()
    one.clock.until(29.0)
    one.line.unsent = 100_000
    one.clock.until(58.0)
    assert not one.line.aborted, "it took something"
    one.clock.until(62.0)
    assert one.line.aborted


@pytest.mark.parametrize(
    ("before", "byte", "status"),
    [(b"GET /", b"a", 414), (HEAD + b"A: ", b"b", 431), (HEAD, b"c", 431), (HEAD, b"a:b\r\n", 431)],
)
@pytest.mark.parametrize("piece", [1, 256 * 1024])
async def test_a_head_of_ten_megabytes_is_refused_before_much_of_it_was_taken(
    before: bytes, byte: bytes, status: int, piece: int
) -> None:
    one = Served()
    one.protocol.data_received(before)
    taken = 0
    while not one.line.ended and taken < 10_000_000:
        part = (byte * piece)[: max(piece, len(byte))]
        one.protocol.data_received(part)
        taken += len(part)
    assert one.statuses == [status]
    assert taken <= LIMITS.head_bytes + LIMITS.target_bytes + 2 * piece + 10


@pytest.mark.parametrize("unit", [b"1;" + b"e" * 50_000, b"0\r\nT: " + b"t" * 50_000])
async def test_what_stands_beside_the_bytes_of_a_body_is_limited(unit: bytes) -> None:
    one = Served()
    await one.send(CHUNKED, *(unit[at : at + 1000] for at in range(0, len(unit), 1000)))
    assert one.statuses == [400]
    assert one.bodies == []


async def test_a_body_of_chunks_that_are_mostly_heads_is_too_large() -> None:
    one = Served()
    chunk = b"1;" + b"e" * 1000 + b"\r\nx\r\n"
    one.protocol.data_received(CHUNKED)
    for _ in range(1000):
        one.protocol.data_received(chunk)
    await one.send()
    assert one.statuses == [413]


async def test_trailers_are_no_headers() -> None:
    one = Served()
    await one.send(CHUNKED + b"2\r\nhi\r\n0\r\nHost: evil\r\nX-A: b\r\n\r\n")
    assert one.bodies == [b"hi"]
    assert [name for name, _ in one.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    one = Served()
    one.go.clear()
    await one.send((HEAD + b"\r\n") * 2 + b"nonsense\x00")
    assert one.statuses == []
    one.go.set()
    await one.send()
    assert one.statuses == [200, 200, 400]


async def test_a_bad_chunk_behind_other_requests_is_refused_in_its_turn() -> None:
    one = Served()
    one.go.clear()
    await one.send(HEAD + b"\r\n" + CHUNKED + b"zz\r\n")
    one.go.set()
    await one.send()
    assert (one.statuses, one.bodies) == ([200, 400], [b""])


async def test_so_many_requests_wait_on_a_connection_and_no_more() -> None:
    one = Served()
    one.go.clear()
    await one.send((HEAD + b"\r\n") * 1000)
    one.go.set()
    for _ in range(10):
        await one.send()
    assert one.statuses == [200] * 65
    assert one.line.ended


async def test_behind_a_refusal_so_much_is_dropped_and_then_the_connection_ends() -> None:
    one = Served()
    await one.send(b"nonsense\x00")
    for _ in range(40):
        assert one.statuses == [400]
        one.protocol.data_received(b"x" * 256 * 1024)
    assert one.line.aborted


async def test_a_connection_that_ends_leaves_no_timer() -> None:
    one = Served()
    await one.send(HEAD)
    one.protocol.connection_lost(None)
    assert one.clock.rings == []


async def test_a_refusal_over_tls_is_sent_and_closed_for_it_has_no_half_of_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_eof(_: Line) -> None:
        raise NotImplementedError

    monkeypatch.setattr(Line, "write_eof", write_eof)
    one = Served()
    await one.send(b"nonsense\x00")
    assert (one.statuses, one.line.closed, one.line.aborted) == ([400], True, False)


async def test_a_small_head_in_pieces_is_served_and_the_sum_of_large_ones_is_refused() -> None:
    for size, statuses in ((1000, [200]), (LIMITS.head_bytes // 4, [431])):
        one = Served()
        headers = [b"A%d: " % number + b"b" * size + b"\r\n" for number in range(4)]
        await one.send(HEAD, *headers, b"\r\n")
        assert one.statuses == statuses


async def test_a_large_head_in_one_piece_is_refused_also_behind_others() -> None:
    large = HEAD + (b"A: " + b"b" * 9000 + b"\r\n") * 4 + b"\r\n"
    for before in (b"", HEAD + b"\r\n"):
        one = Served()
        await one.send(before + large)
        assert one.statuses[-1] == 431


async def test_a_body_that_comes_apart_from_its_head_has_its_deadline_from_then_on() -> None:
    one = Served()
    await one.send(HEAD + b"\r\n")
    one.clock.until(50.0)
    await one.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    one.clock.until(59.9)
    assert one.statuses == [200]
    one.clock.until(60.1)
    assert one.statuses == [200, 408]


async def test_who_asks_for_another_protocol_is_served_as_if_not_and_so_is_what_comes_behind() -> None:
    one = Served()
    upgrade = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi"
    await one.send(upgrade + HEAD + b"\r\n")
    assert (one.statuses, one.bodies) == ([200, 200], [b"hi", b""])


async def test_behind_the_last_request_of_a_connection_nothing_is_read() -> None:
    one = Served()
    one.go.clear()
    last = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"  # which uvicorn closes all the same
    await one.send(last + HEAD + b"\r\n", HEAD + b"\r\n")
    assert one.protocol.running == 1
    one.go.set()
    await one.send()
    assert (one.statuses, one.bodies) == ([200], [b""])


async def test_without_a_place_probes_alone_are_answered() -> None:
    for target, status in ((b"/health/live", 200), (b"/", 429)):
        one = Served()
        one.protocol.reserved = True
        await one.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.statuses == [status]


ASKING = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"


async def test_whoever_asks_before_its_body_keeps_its_connection_once_that_came() -> None:
    one = Served()
    await one.send(ASKING)
    assert one.statuses == [100]
    await one.send(b"hi")
    assert (one.statuses, one.line.closed) == ([100, 200], False)
    await one.send(HEAD + b"\r\n")
    assert (one.statuses, one.bodies) == ([100, 200, 200], [b"hi", b""])


async def test_whoever_asks_and_is_answered_before_its_body_loses_its_connection() -> None:
    one = Served(reads=False)
    await one.send(ASKING)
    assert (one.statuses, one.line.closed) == ([200], True)
    assert b"connection: close" in one.line.written
    # Who does not ask has sent its body, or will.
    one = Served(reads=False)
    await one.send(ASKING.replace(b"Expect: 100-continue\r\n", b""))
    assert (one.statuses, one.line.closed) == ([200], False)


async def test_without_a_place_a_probe_that_asks_before_its_body_loses_its_connection_all_the_same() -> None:
    one = Served()
    one.protocol.reserved = True
    await one.send(ASKING.replace(b" / ", b" /health/live "), b"hi")
    assert (one.statuses, one.line.closed) == ([100, 200], True)


async def test_an_application_whose_client_was_refused_is_told_that_it_has_gone() -> None:
    one = Served()
    await one.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x")
    one.clock.until(50.0)
    await one.send()
    assert (one.statuses, one.gone, one.bodies) == ([408], 1, [])


async def test_behind_a_proxy_each_client_has_its_own_places() -> None:
    limits = replace(LIMITS, connections_per_client=2, proxies=(ip_network("127.0.0.0/8"),))
    one = Served(limits, "127.0.0.1")
    other = Served(limits, "127.0.0.1", guard=one.guard)
    of = {name: HEAD + b"X-Forwarded-For: 6.6.6.6, " + name + b"\r\n\r\n" for name in (b"1.1.1.1", b"2.2.2.2")}
    for each in (one, other):
        each.go.clear()
    await one.send(of[b"1.1.1.1"], of[b"1.1.1.1"], of[b"2.2.2.2"])
    await other.send(of[b"2.2.2.2"], HEAD.replace(b" / ", b" /health/live ") + b"X-Forwarded-For: 1.1.1.1\r\n\r\n")
    assert (other.protocol.running, other.statuses) == (2, [])
    one.go.set()
    await one.send()
    assert one.statuses == [200] * 3
    await one.send(of[b"1.1.1.1"])
    assert one.statuses == [200] * 4
    other.go.set()
    await other.send()
    assert other.statuses == [200, 200]


async def test_a_client_behind_a_proxy_is_told_to_come_again_and_a_lost_connection_frees_its_places() -> None:
    limits = replace(LIMITS, connections_per_client=2, proxies=(ip_network("127.0.0.0/8"),))
    request = HEAD + b"X-Forwarded-For: 1.1.1.1\r\n\r\n"
    one = Served(limits, "127.0.0.1")
    other = Served(limits, "127.0.0.1", guard=one.guard)
    one.go.clear()
    await one.send(request, request)
    await other.send(request)
    assert (other.statuses, one.statuses) == ([429], [])
    assert b"2 requests of this client are under way" in other.line.written
    assert b"retry-after: 1" in other.line.written.lower()
    one.protocol.connection_lost(None)
    again = Served(limits, "127.0.0.1", guard=one.guard)
    await again.send(request)
    assert again.statuses == [200]


async def test_of_others_than_proxies_nothing_is_believed() -> None:
    limits = replace(LIMITS, connections_per_client=1, proxies=(ip_network("10.0.0.0/8"),))
    one = Served(limits, "127.0.0.1")
    one.go.clear()
    await one.send(*[HEAD + b"X-Forwarded-For: 1.1.1.1\r\n\r\n"] * 3)
    assert (one.protocol.running, one.refused) == (3, [])
