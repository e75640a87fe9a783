"""One connection: uvicorn's protocol with limits, deadlines, and answers to what is no request that it serves.

What is refused while earlier requests are still being answered waits for them, so that answers keep the order of
requests. After its refusal a connection is read on for a moment: to close one that holds unread bytes resets it, and
its client would lose the answer.

uvicorn's private names are used here, in ``timed`` and in subclasses; pyproject.toml bounds its version for their sake,
and ``tests/services/web/test_uvicorn.py`` tells when they move.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from millrace_http import head
from millrace_http.arrival import BODY, HEAD, NEXT, Arrival
from millrace_http.forwarded import is_proxy
from millrace_http.guard import Guard
from millrace_http.proxied import ProxiedRequests
from millrace_http.refusal import Refusal
from millrace_http.timed import LINGER_SECONDS, TimedProtocol

logger = logging.getLogger(__name__)

# Requests that wait on one connection for those before them.
PIPELINED: Final = 64
# How much a connection is read on after its refusal.
LINGER_BYTES: Final = 8 << 20


class _Ignored(Exception):  # noqa: N818 nothing of it is told to anybody
    """Came behind a request that was the last one of its connection."""


class _Nowhere(list[Any]):
    """Where trailers go: nothing here asked for them, and headers they are not."""

    def append(self, _: Any) -> None:
        """Keeps nothing."""


_NOWHERE: Final = _Nowhere()


class GuardedProtocol(TimedProtocol):
    """One connection; made by uvicorn, or by a loop's ``create_server``.

    Args:
        guard: of its server.
    """

    __slots__ = (
        "_common",
        "_held",
        "_left",
        "_proxied",
        "_refusal",
        "_small",
        "_upgrade",
        "announced",
        "came",
        "guard",
        "last",
        "reserved",
        "version",
    )
    scope: Any
    _common: dict[str, Any]

    def __init__(self, guard: Guard, **given: Any) -> None:
        super().__init__(guard.limits, **given)
        self.guard = guard
        self.version = ""
        self.announced = 0  # bytes of the body, as its head has it
        self.came = False  # a piece of a body
        self.last = False  # behind the present request nothing is read
        self.reserved = False  # for want of a place, probes alone are answered
        self._small = True  # all that came were small pieces, each one with the whole of its heads
        self._upgrade = self._held = False
        self._proxied: ProxiedRequests | None = None  # of a proxy's connection
        self._refusal: Refusal | None = None
        self._left = LINGER_BYTES

    # What uvicorn's loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._common = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
        }
        self._rests_since = self.loop.time()
        self.reserved = not self.guard.door.enter(self, self._address())
        if self.limits.proxies and is_proxy(self._address(), self.limits.proxies):
            self._proxied = ProxiedRequests(self.guard)
        self._ring_by(self._rests_since + self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.door.leave(self, self._address())
        if self._proxied is not None:
            self._proxied.lost()
        super().connection_lost(exc)
        self.deaf = True
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            self._drop(len(data))
            return
        size = len(data)
        if size > self.limits.head_bytes:
            self._small = False
        end = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            end = upgrade.args[0]
        except httptools.HttpParserError as error:
            self._fail(error)
        if end:  # not while an exception is handled, which would be the context of all others
            self._feed_plain(data, end)
        if self._due and not self.deaf:
            self._wait(size)

    def shutdown(self) -> None:
        if self.deaf and not self.running:
            self.transport.abort()
        else:
            super().shutdown()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._due = HEAD
        self._arrival = None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.last:
            raise _Ignored
        parser = self.parser
        self.version = version = parser.get_http_version()
        self.announced, self.expect_100_continue = head.checked(
            version, self.url, self.headers, self.limits, small=self._small
        )
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise Refusal(501, "this is no proxy, CONNECT is not served")
            self._upgrade = True
            return
        if self.reserved and self.url not in self.guard.probes:
            raise Refusal(429, "too many connections are open; close those that rest, or come again", retry_after=1)
        if len(self.pipeline) >= PIPELINED:
            raise _Ignored
        if self._proxied is not None:
            self._proxied.admit(self.url, self.headers)
        self.begin_request()  # which may still fail of the target
        self._due = BODY
        self.running += 1
        self.headers = _NOWHERE

    def on_body(self, body: bytes) -> None:
        self.came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._due = NEXT
        self.end_request()

    # A request's way through its application; for subclasses.

    def begin_request(self) -> None:
        """Hands on the request whose head has come."""
        if self.url == b"*":
            self.url = b"/*"  # the server itself, of which no application knows
        self.scope = {**self._common, "headers": self.headers, "state": self.app_state.copy()}
        super().on_headers_complete()
        cycle = self.cycle
        self.last = not cycle.keep_alive
        # Answered before its body, such a request ends the connection: nobody can know whether the body comes.
        self._held = self.expect_100_continue and cycle.keep_alive
        if self._held or self.reserved:
            cycle.keep_alive = False

    def end_request(self) -> None:
        """The request has come to its end."""
        if self._held and not self.reserved:
            self.cycle.keep_alive = True
        self._held = False
        super().on_message_complete()

    def abandon_request(self, _: Refusal) -> bool:
        """Ends the request whose body is still coming; whether its refusal is yet to be sent."""
        cycle = self.cycle
        if cycle.response_complete:
            return False
        started = cycle.response_started
        if started:
            self.transport.abort()
        self.running -= 1
        cycle.waiting_for_100_continue = False
        cycle.disconnected = True
        cycle.message_event.set()
        self.pipeline = type(self.pipeline)(each for each in self.pipeline if each[0] is not cycle)
        return not started

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self.running -= 1
        if self._proxied is not None:
            self._proxied.answered()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.flow.resume_reading()
        self._rests_since = self.loop.time()
        if self.deaf:
            self._say()
        elif self._rings > self._rests_since + self.timeout_keep_alive:
            self._ring_by(self._rests_since + self.timeout_keep_alive)

    # What comes.

    def _feed_plain(self, data: bytes, end: int) -> None:
        """Has read a head that asks for another protocol, up to the byte ``end``.

        RFC 9110 7.8: who does not know the protocol serves the request as if it had not asked. llhttp would take its
        body for the other protocol, so it reads the head again without that header.
        """
        while end:
            method, version = self.parser.get_method(), self.parser.get_http_version()
            data, end = head.without_upgrade(method, self.url, version, self.headers) + data[end:], 0
            self._upgrade = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                end = upgrade.args[0]
            except httptools.HttpParserError as error:
                self._fail(error)

    def _wait(self, size: int) -> None:
        """More is to come of the message of which ``size`` bytes came, perhaps together with others before it."""
        due, arrival = self._due, self._arrival
        if due == HEAD:
            self._small = False
        if arrival is None or arrival.due != due:
            self._arrival = arrival = Arrival(due, self.loop.time(), self.limits)
        else:
            arrival.add(size, body=self.came)
        self.came = False
        # Of many clients a body comes as one piece behind its head: it costs no call that is not needed.
        refusal = arrival.excess(self.url) if due == HEAD or arrival.wire else None
        if refusal is not None:
            self.refuse(refusal)
        elif self._rings > arrival.deadline:
            self._ring_by(arrival.deadline)

    def _drop(self, size: int) -> None:
        self._left -= size
        if self._left < 0 and not self.running:
            self.transport.abort()

    def _fail(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if isinstance(cause, _Ignored):
            self.deaf = True
            if not self.running:
                self._say()
        else:
            self.refuse(cause if isinstance(cause, Refusal) else Refusal(400, f"this is no HTTP/1.1 request: {error}"))

    # What is refused.

    def refuse(self, refusal: Refusal) -> None:
        """Answers so, in its turn, and reads no more requests."""
        self.deaf = True
        self.guard.refused(refusal.status)
        logger.debug("refused with %d: %s", refusal.status, refusal)
        if self._due != BODY or self.abandon_request(refusal):
            self._refusal = refusal
        self._due = NEXT
        if not self.running:
            self._say()

    def _say(self) -> None:
        refusal, self._refusal = self._refusal, None
        if self.transport.is_closing():
            return
        if refusal is not None:
            answer = refusal.response(STATUS_LINE[refusal.status], self.server_state.default_headers)
            self.transport.write(answer)
        self._lingers_since = self.loop.time()
        try:
            self.transport.write_eof()
        except NotImplementedError:  # TLS has no half of a connection
            self.transport.close()
        self.flow.resume_reading()
        self._ring_by(self._lingers_since + LINGER_SECONDS)

    def _address(self) -> str:
        return self.client[0] if self.client else ""
