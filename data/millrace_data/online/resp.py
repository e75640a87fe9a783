"""RESP, the protocol of Redis and Valkey: commands as bytes, and one connection on which many callers wait for replies.

The client library spends several times on an MGET what the store does, and a request of the gateway is little more than
an MGET. So commands are packed here and replies are matched to callers here; hiredis parses the replies.
Format: https://redis.io/docs/latest/develop/reference/protocol-spec/ (version 2).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

import hiredis

from millrace_data.online.store_errors import (
    CLOSED,
    FOREIGN,
    READONLY,
    TIMEOUT,
    StoreError,
    connection_error,
    error_reply,
)

# Simple and bulk strings are bytes, integers are int, null is None; an array holds any of these.
Reply = list[Any] | bytes | int | None

# The line between two arguments: it ends one, and tells the size of the next; made before for most.
_SIZE: Final = b"\r\n$%d\r\n"
_SIZES: Final = tuple(_SIZE % size for size in range(1024))
_INCOMPLETE: Final = object()


class Command(NamedTuple):
    """A packed command: its bytes, how many rows it writes, and on a cluster the slot of its keys."""

    wire: bytes
    rows: int
    slot: int = 0


class KeyGroup(NamedTuple):
    """Keys that all begin with a prefix, by their ends."""

    prefix: bytes
    ends: Sequence[bytes]


class ProtocolError(Exception):
    """The bytes that came are no RESP."""


def pack(command: bytes, arguments: Sequence[bytes]) -> bytes:
    """The bytes of a command."""
    return pack_keys(command, [KeyGroup(b"", arguments)])


def pack_keys(command: bytes, groups: Sequence[KeyGroup]) -> bytes:
    """The bytes of a command whose arguments are keys; prefix and end of a key are not put together before."""
    pieces = []
    count = 1
    for prefix, ends in groups:
        count += len(ends)
        # Three pieces per argument: its size, the prefix and the end.
        arguments = [prefix] * (3 * len(ends))
        before = len(prefix)
        try:
            arguments[::3] = [_SIZES[before + len(end)] for end in ends]
        except IndexError:
            arguments[::3] = [_SIZE % (before + len(end)) for end in ends]
        arguments[2::3] = ends
        pieces += arguments
    return b"".join([b"*%d\r\n$%d\r\n%b" % (count, len(command), command), *pieces, b"\r\n"])


def pack_for_key(command: bytes, key: bytes, arguments: Sequence[bytes]) -> bytes:
    """The bytes of a command on one key; of EVAL the first argument is the script, and the key stands behind it.

    So it is of EVALSHA.
    """
    if command in (b"EVAL", b"EVALSHA"):
        script, *rest = arguments
        return pack(command, [script, b"1", key, *rest])
    return pack(command, [key, *arguments])


def ignore_failure(reply: asyncio.Future[Any]) -> None:
    """A callback of futures that nobody waits for: asyncio logs a failure that nobody has looked at."""
    if not reply.cancelled():
        reply.exception()


def hash_reply(reply: Any) -> dict[bytes, bytes]:
    """The reply to HGETALL as a dictionary."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


class RespProtocol(asyncio.Protocol):
    """One connection. Commands go out at once; replies come in the order of the commands.

    Args:
        timeout: seconds that a reply may take; after that the connection ends.

    Attributes:
        broken: why the connection has ended; None while it has not.
        replica: whether the server has refused a write because it is a replica. After a failover the name that led to
            it leads to another server, so no further command belongs here; the connection ends with its last reply.
    """

    def __init__(self, timeout: float) -> None:
        self.broken: StoreError | None = None
        self.replica = False
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._reader = hiredis.Reader(protocolError=ProtocolError, replyError=error_reply, notEnoughData=_INCOMPLETE)
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        lost = exc if isinstance(exc, OSError) else ConnectionResetError("the store closed the connection")
        self.fail(connection_error(lost, CLOSED))

    def send(self, wire: bytes) -> asyncio.Future[Reply]:
        """Sends a packed command; a future of its reply, which fails with ``StoreError``."""
        reply: asyncio.Future[Reply] = self._loop.create_future()
        if self.broken is not None or self._transport is None:
            reply.set_exception(self.broken or StoreError("the connection is not open", CLOSED))
            return reply
        self._waiting.append((reply, self._loop.time() + self._timeout))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._check_time)
        self._transport.write(wire)
        return reply

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        try:
            while waiting:
                reply = reader.gets()
                if reply is _INCOMPLETE:
                    return
                future, _ = waiting.popleft()
                failed = isinstance(reply, StoreError)
                self.replica = self.replica or (failed and reply.code == READONLY)
                if future.done():  # its caller was cancelled; the reply is dropped so that the next one gets its own
                    continue
                if failed:
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
            if self.replica:
                self.fail(StoreError("the server has become a replica", READONLY))
            elif reader.has_data():
                # Whatever it is, with it replies would no longer match commands. Servers that turn a client away say
                # so before any command comes.
                reply = reader.gets()
                refusal = reply if isinstance(reply, StoreError) else None
                self.fail(refusal or StoreError("the store sent a reply that nobody asked for", FOREIGN))
        except ProtocolError as error:
            self.fail(StoreError(f"what came is not the Redis protocol: {error}", FOREIGN))

    def fail(self, error: StoreError) -> None:
        """Ends the connection; every caller that waits gets the error."""
        self.broken = self.broken or error
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            reply, _ = self._waiting.popleft()
            if not reply.done():
                reply.set_exception(error)

    def _check_time(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][1] - self._loop.time()
        if left <= 0:
            self.fail(StoreError(f"no answer within {self._timeout:g} s", TIMEOUT))
        else:
            self._watch = self._loop.call_later(left, self._check_time)
