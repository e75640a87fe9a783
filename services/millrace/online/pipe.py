"""One connection to the store that many readers share: requests go out at once, answers come back in their order.

The client library spends several times on an MGET what the store does, and a request of the gateway is little more than
an MGET. Only what the gateway asks is spoken here: commands whose answers are texts, errors, or arrays of bulk strings.
Format: https://redis.io/docs/latest/develop/reference/protocol-spec/ (version 2).
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qs, unquote, urlsplit

from millrace.base.errors import RejectError

Reply = list[bytes | None] | bytes

_SCHEMES: Final = ("redis", "rediss", "unix")
_PORT: Final = 6379


class StoreError(Exception):
    """The store's own error answer, or what broke the connection."""


class Address(NamedTuple):
    """Where the store is and how one enters; ``hello`` are the commands that a connection begins with."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    hello: tuple[tuple[bytes, ...], ...]


def address(url: str) -> Address:
    """Takes a store's URL apart: ``redis://[user][:password@]host[:port][/db]``, ``rediss://``, ``unix://path[?db=n]``.

    Raises:
        RejectError: it is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise RejectError(
            f"{parts.scheme!r} is no scheme of an online store",
            hint="Write it as redis://host:6379/0",
            field="MILLRACE_STORE_URL",
        )
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    database = query.get("db", "" if parts.scheme == "unix" else parts.path.strip("/"))
    hello: list[tuple[bytes, ...]] = []
    if parts.password:
        user = (unquote(parts.username).encode(),) if parts.username else ()
        hello.append((b"AUTH", *user, unquote(parts.password).encode()))
    if database not in ("", "0"):
        hello.append((b"SELECT", database.encode()))
    path = parts.path if parts.scheme == "unix" else ""
    return Address(parts.hostname or "localhost", parts.port or _PORT, path, _tls(parts.scheme, query), tuple(hello))


def _tls(scheme: str, query: dict[str, str]) -> ssl.SSLContext | None:
    if scheme != "rediss":
        return None
    context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
    if query.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl_certfile" in query:
        context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
    return context


class Pipe:
    """Connects on first use, and again after the connection broke.

    Args:
        url: of the store.
        timeout: seconds that an answer, or a connection, may take.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._address = address(url)
        self._timeout = timeout
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None

    async def ask(self, command: bytes, arguments: Sequence[bytes]) -> Reply:
        """The answer to a command.

        Raises:
            StoreError: the store's error, a broken connection, or no answer in time.
        """
        wire = self._wire
        if wire is None or wire.broken:
            wire = await self._connected()
        return await wire.ask(command, arguments)

    def close(self) -> None:
        """Closes the connection; what still waits for an answer fails."""
        if self._wire is not None:
            self._wire.fail("the connection was closed")

    async def _connected(self) -> _Wire:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        try:
            # All that come meanwhile wait for the same attempt, and one that goes away does not end it.
            self._wire = await asyncio.shield(self._connecting)
        finally:
            if self._connecting is not None and self._connecting.done():
                self._connecting = None
        return self._wire

    async def _connect(self) -> _Wire:
        where = self._address
        loop = asyncio.get_running_loop()
        wire = None
        try:
            async with asyncio.timeout(self._timeout):
                if where.path:
                    _, wire = await loop.create_unix_connection(lambda: _Wire(self._timeout), where.path)
                else:
                    _, wire = await loop.create_connection(
                        lambda: _Wire(self._timeout), where.host, where.port, ssl=where.tls
                    )
                for command, *arguments in where.hello:
                    await wire.ask(command, arguments)
        except (OSError, TimeoutError, StoreError) as error:
            if wire is not None:
                wire.fail("the connection could not be set up")
            raise StoreError(str(error) or f"no connection within {self._timeout:g} s") from error
        return wire


class _Wire(asyncio.Protocol):
    """One connection: answers are matched to questions by their order."""

    def __init__(self, timeout: float) -> None:
        self.broken = False
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._parts: list[bytes] = []
        self._size = self._needed = 0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(str(exc or "the store closed the connection"))

    def ask(self, command: bytes, arguments: Sequence[bytes]) -> asyncio.Future[Reply]:
        """A future of the answer; fails with ``StoreError``."""
        answer: asyncio.Future[Reply] = self._loop.create_future()
        if self.broken or self._transport is None:
            answer.set_exception(StoreError("the connection is broken"))
            return answer
        self._waiting.append((answer, self._loop.time() + self._timeout))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._check_time)
        parts = [b"*%d\r\n$%d\r\n%b\r\n" % (len(arguments) + 1, len(command), command)]
        parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
        self._transport.write(b"".join(parts))
        return answer

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        position = needed = 0
        while position < len(buffer) and self._waiting:
            found = _reply(buffer, position)
            if isinstance(found, int):
                needed = found - position
                break
            reply, position = found
            answer, _ = self._waiting.popleft()
            if answer.done():  # whoever asked has gone
                continue
            if isinstance(reply, StoreError):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)
        self._parts = [buffer[position:]] if position < len(buffer) else []
        self._size, self._needed = len(buffer) - position, needed

    def fail(self, why: str) -> None:
        """Ends the connection and every question on it."""
        self.broken = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            answer, _ = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(StoreError(why))

    def _check_time(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][1] - self._loop.time()
        if left <= 0:
            self.fail(f"no answer within {self._timeout:g} s")
        else:
            self._watch = self._loop.call_later(left, self._check_time)


def _reply(buffer: bytes, position: int) -> tuple[Reply | StoreError, int] | int:
    """The reply that begins at a position and where it ends; up to where at least it goes, if it is not whole."""
    end = buffer.find(b"\r\n", position)
    if end < 0:
        return len(buffer) + 1
    kind, line = buffer[position : position + 1], buffer[position + 1 : end]
    if kind == b"*":
        return _array(buffer, end + 2, int(line))
    if kind == b"-":
        return StoreError(line.decode(errors="replace")), end + 2
    return line, end + 2


def _array(buffer: bytes, position: int, count: int) -> tuple[Reply, int] | int:
    items: list[bytes | None] = []
    while len(items) < count:
        end = buffer.find(b"\r\n", position)
        if end < 0:
            return len(buffer) + 1
        length = int(buffer[position + 1 : end])
        if length < 0:
            items.append(None)
            position = end + 2
            continue
        start = end + 2
        stride = start - position + length + 2
        if position + stride > len(buffer):
            return position + stride
        # Rows of one view are of one length as a rule, so as many as follow are taken apart at once.
        alike = min(count - len(items), (len(buffer) - position) // stride)
        if alike == 1:
            items.append(buffer[start : start + length])
            position += stride
            continue
        head = buffer[position:start]
        whole = memoryview(buffer)[position : position + alike * stride]
        for each, item in _form(len(head), length).iter_unpack(whole):
            if each != head:
                break
            items.append(item)
            position += stride
    return items, position


@lru_cache(maxsize=1000)
def _form(head: int, length: int) -> struct.Struct:
    return struct.Struct(f"{head}s{length}s2x")


def pairs(reply: Any) -> dict[bytes, bytes]:
    """The answer of HGETALL as a dictionary."""
    return dict(zip(reply[::2], reply[1::2], strict=True))
