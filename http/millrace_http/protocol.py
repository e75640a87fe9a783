"""One connection: uvicorn's protocol with limits, deadlines, and answers to what is no request that it serves.

One timer per connection rings at the earliest moment at which something may be due, and then looks; a request that
comes in one piece starts and stops none. What is refused while earlier requests are still being answered waits for
them, so that answers keep the order of requests. After its refusal a connection is read on for a moment: to close one
that holds unread bytes resets it, and its client would lose the answer.

uvicorn's private names are used here and in subclasses; pyproject.toml bounds its version for their sake, and
``tests/services/web/test_uvicorn.py`` tells when they move.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from math import inf
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from millrace_http import head
from millrace_http.forwarded import client, is_proxy
from millrace_http.guard import Guard
from millrace_http.head import Refusal

logger = logging.getLogger(__name__)

# Requests that wait on one connection for those before them.
PIPELINED: Final = 64
# How long, and how much, a connection is read on after its refusal.
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 8 << 20
# Of a body, what may come on the wire for each byte that is allowed: chunks have heads.
WIRE_FACTOR: Final = 4

# What of a message is due next.
_NEXT: Final = 0
_HEAD: Final = 1
_BODY: Final = 2


class _Ignored(Exception):  # noqa: N818 nothing of it is told to anybody
    """Came behind a request that was the last one of its connection."""


class _Nowhere(list[Any]):
    """Where trailers go: nothing here asked for them, and headers they are not."""

    def append(self, _: Any) -> None:
        """Keeps nothing."""


_NOWHERE: Final = _Nowhere()


class GuardedProtocol(HttpToolsProtocol):
    """One connection; made by uvicorn, or by a loop's ``create_server``.

    Args:
        guard: of its server.
    """

    # Of an object with more than 30 attributes beside its slots Python looks each one up slowly; uvicorn has some 27.
    __slots__ = (
        "_common",
        "_due",
        "_forwarded",
        "_gap",
        "_held",
        "_left",
        "_refusal",
        "_rests_since",
        "_rings",
        "_since",
        "_small",
        "_stalled_since",
        "_timed",
        "_unsent",
        "_upgrade",
        "_wire",
        "announced",
        "came",
        "deaf",
        "guard",
        "last",
        "limits",
        "reserved",
        "running",
        "version",
    )
    cycle: Any
    scope: Any
    _common: dict[str, Any]

    def __init__(self, guard: Guard, **given: Any) -> None:
        super().__init__(**given)
        self.guard = guard
        self.limits = guard.limits
        self.version = ""
        self.announced = 0  # bytes of the body, as its head has it
        self.came = False  # a piece of a body
        self.running = 0  # requests that are begun and not yet answered
        self.last = False  # behind the present request nothing is read
        self.deaf = False  # what still comes is not read any more
        self.reserved = False  # for want of a place, probes alone are answered
        self._due = _NEXT
        self._timed = _NEXT  # what of it the times and sizes below are
        self._since = self._rests_since = 0.0
        self._wire = self._gap = 0
        self._small = True  # all that came were small pieces, each one with the whole of its heads
        self._upgrade = self._held = False
        self._forwarded: deque[str] | None = None  # whom its proxy sent the requests under way for, in their order
        self._refusal: Refusal | None = None
        self._left = LINGER_BYTES
        self._rings = inf
        self._unsent = 0
        self._stalled_since = 0.0

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
            self._forwarded = deque()
        self._ring_by(self._rests_since + self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.door.leave(self, self._address())
        while self._forwarded:
            self._release(self._forwarded.popleft())
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

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._stalled_since = self.loop.time()
        self._ring_by(self._stalled_since + self.limits.write_seconds)

    def shutdown(self) -> None:
        if self.deaf and not self.running:
            self.transport.abort()
        else:
            super().shutdown()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._due = _HEAD
        self._timed = _NEXT

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
            raise Refusal(503, "too many connections are open; close those that rest, or come again", retry_after=1)
        if len(self.pipeline) >= PIPELINED:
            raise _Ignored
        if self._forwarded is not None:
            self._admit(self._forwarded)
        self.begin_request()  # which may still fail of the target
        self._due = _BODY
        self.running += 1
        self.headers = _NOWHERE

    def _admit(self, forwarded: deque[str]) -> None:
        whose = "" if self.url in self.guard.probes else client(self.headers, self.limits.proxies)
        if whose and not self.guard.door.admit(whose):
            most = self.limits.connections_per_client
            raise Refusal(503, f"{most} requests of this client are under way; come again", retry_after=1)
        forwarded.append(whose)

    def _release(self, whose: str) -> None:
        if whose:
            self.guard.door.release(whose)

    def on_body(self, body: bytes) -> None:
        self.came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._due = _NEXT
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
        if self._forwarded:
            self._release(self._forwarded.popleft())
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

    # The door's view.

    @property
    def resting_since(self) -> float | None:
        """When it began to rest; None while a request or its answer is under way, or what was refused is read on."""
        if self._due or self.deaf or self.running or self.transport.get_write_buffer_size():
            return None
        return self._rests_since

    def give_way(self) -> None:
        """Closes it, for a new one."""
        if self._due or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # What is due.

    def timeout_keep_alive_handler(self) -> None:
        """Looks whether something is overdue."""
        self.timeout_keep_alive_task = None
        self._rings = inf
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        due = self._deadline()
        if due > self.loop.time():
            self._ring_by(due)
        elif self.deaf or self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()
        elif self._due:
            self._refuse(Refusal(408, f"the request's {'body' if self._due == _BODY else 'head'} came too slowly"))
        else:
            self.give_way()

    def _deadline(self) -> float:
        now, limits = self.loop.time(), self.limits
        if self.flow.write_paused:
            unsent = self.transport.get_write_buffer_size()
            if unsent < self._unsent:
                self._unsent, self._stalled_since = unsent, now
            return self._stalled_since + limits.write_seconds
        if self.deaf:
            return (now if self.running else self._since) + LINGER_SECONDS
        if self._due == _HEAD:
            return self._since + limits.head_seconds
        if self._due == _BODY and not self.flow.read_paused:
            return self._since + limits.body_seconds + self._wire / limits.body_rate
        if self._due or self.running:
            self._since = now  # nobody waits for the client
            return now + limits.body_seconds
        return self._rests_since + (limits.head_seconds if self.cycle is None else self.timeout_keep_alive)

    def _ring_by(self, moment: float) -> None:
        if self._rings <= moment:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self._rings = moment
        seconds = max(0.0, moment - self.loop.time())
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn would stop the timer at each request; here it looks, when it rings, at what has come."""

    # What comes.

    def _feed_plain(self, data: bytes, end: int) -> None:
        """Has read a head that asks for another protocol, up to the byte ``end``.

        RFC 9110 7.8: who does not know the protocol serves the request as if it had not asked. llhttp would take its
        body for the other protocol, so it reads the head again without that header.
        """
        while end:
            data, end = self._plain_head() + data[end:], 0
            self._upgrade = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                end = upgrade.args[0]
            except httptools.HttpParserError as error:
                self._fail(error)

    def _plain_head(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _wait(self, size: int) -> None:
        """More is to come of the message of which ``size`` bytes came, perhaps together with others before it."""
        due = self._due
        if due == _HEAD:
            self._small = False
        if self._timed != due:
            self._timed = due
            self._since = self.loop.time()
            self._wire = self._gap = 0
        else:
            self._wire += size
            self._gap = 0 if self.came else self._gap + size
        self.came = False
        refusal = self._too_much() if due == _HEAD or self._wire else None
        if refusal is not None:
            self._refuse(refusal)
        else:
            moment = self._since + (self.limits.head_seconds if due == _HEAD else self.limits.body_seconds)
            if self._rings > moment:
                self._ring_by(moment)

    def _too_much(self) -> Refusal | None:
        limits = self.limits
        if self._due == _HEAD:
            if len(self.url) > limits.target_bytes:
                return head.long_target(limits)
            return head.large_head(limits) if self._wire > limits.head_bytes + limits.target_bytes else None
        if self._gap > limits.head_bytes:
            return Refusal(400, "the chunks of the body have too much beside its bytes")
        if self._wire > WIRE_FACTOR * limits.body_bytes + limits.head_bytes:
            return Refusal(413, f"the body takes more than {WIRE_FACTOR} times {limits.body_bytes} bytes")
        return None

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
            self._refuse(cause if isinstance(cause, Refusal) else Refusal(400, f"this is no HTTP/1.1 request: {error}"))

    # What is refused.

    def _refuse(self, refusal: Refusal) -> None:
        self.deaf = True
        self.guard.refused(refusal.status)
        logger.debug("refused with %d: %s", refusal.status, refusal)
        if self._due != _BODY or self.abandon_request(refusal):
            self._refusal = refusal
        self._due = _NEXT
        if not self.running:
            self._say()

    def _say(self) -> None:
        refusal, self._refusal = self._refusal, None
        if self.transport.is_closing():
            return
        if refusal is not None:
            body = refusal.body()
            lines = [STATUS_LINE[refusal.status]]
            for name, value in (*self.server_state.default_headers, *refusal.headers(body)):
                lines += (name, b": ", value, b"\r\n")
            self.transport.write(b"".join([*lines, b"\r\n", body]))
        self._since = self.loop.time()
        try:
            self.transport.write_eof()
        except NotImplementedError:  # TLS has no half of a connection
            self.transport.close()
        self.flow.resume_reading()
        self._ring_by(self._since + LINGER_SECONDS)

    def _address(self) -> str:
        return self.client[0] if self.client else ""
