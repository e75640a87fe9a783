"""One connection that many share: questions go out at once, answers come back in their order.

The client library spends several times on an MGET what the store does, and a request of the gateway is little more than
an MGET. Format: https://redis.io/docs/latest/develop/reference/protocol-spec/ (version 2).
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

# Texts and numbers are bytes; an array holds any of these.
Reply = list[Any] | bytes | None

_ARRAY: Final = ord("*")
_BULK: Final = ord("$")
_CHARS: Final = tuple(bytes([char]) for char in range(256))
# How many items of an array are looked at together at first, which grows while they are alike, and taken at once.
_WINDOW: Final = 64
# The line between two arguments: it ends one, and tells the size of the next; made before for most.
_SIZE: Final = b"\r\n$%d\r\n"
_SIZES: Final = tuple(_SIZE % size for size in range(1024))


class Command(NamedTuple):
    """Bytes for the wire, how many rows they write, and on a cluster the slot of their keys."""

    wire: bytes
    rows: int
    slot: int = 0


class Keys(NamedTuple):
    """Keys that all begin with a prefix, by their ends."""

    prefix: bytes
    ends: Sequence[bytes]


class StoreError(Exception):
    """The store's own error answer, or what broke the connection.

    ``code`` is the first word of the store's answer, such as MOVED; empty where the connection broke.
    """

    def __init__(self, said: str, code: str = "") -> None:
        super().__init__(said)
        self.code = code


def packed(command: bytes, arguments: Sequence[bytes]) -> bytes:
    """A command as it goes over the wire."""
    return packed_keys(command, [Keys(b"", arguments)])


def packed_keys(command: bytes, keys: Sequence[Keys]) -> bytes:
    """A command whose arguments are keys, as it goes over the wire; they are not put together before."""
    pieces = []
    count = 1
    for prefix, ends in keys:
        count += len(ends)
        # Of each argument its size, the prefix and the end.
        own = [prefix] * (3 * len(ends))
        before = len(prefix)
        try:
            own[::3] = [_SIZES[before + len(end)] for end in ends]
        except IndexError:
            own[::3] = [_SIZE % (before + len(end)) for end in ends]
        own[2::3] = ends
        pieces += own
    return b"".join([b"*%d\r\n$%d\r\n%b" % (count, len(command), command), *pieces, b"\r\n"])


def about(command: bytes, key: bytes, arguments: Sequence[bytes]) -> bytes:
    """A command about one key, packed; EVAL, whose first argument is the script, has it after the number of keys."""
    if command == b"EVAL":
        script, *rest = arguments
        return packed(command, [script, b"1", key, *rest])
    return packed(command, [key, *arguments])


def heard(answer: asyncio.Future[Any]) -> None:
    """A callback of futures that nobody waits for, so that a failure of theirs is not told as forgotten."""
    if not answer.cancelled():
        answer.exception()


class Wire(asyncio.Protocol):
    """Answers are matched to questions by their order.

    Args:
        timeout: seconds that an answer may take; then the connection ends.
    """

    def __init__(self, timeout: float) -> None:
        self.broken = False
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._parts: list[bytes] = []
        self._size = self._needed = 0
        # The array that is under way; what came of it is not looked at again, however many pieces it comes in.
        self._items: list[Any] | None = None
        self._count = 0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(str(exc or "the store closed the connection"))

    def send(self, wire: bytes) -> asyncio.Future[Reply]:
        """Sends a packed command; a future of its answer, which fails with ``StoreError``."""
        answer: asyncio.Future[Reply] = self._loop.create_future()
        if self.broken or self._transport is None:
            answer.set_exception(StoreError("the connection is broken"))
            return answer
        self._waiting.append((answer, self._loop.time() + self._timeout))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._check_time)
        self._transport.write(wire)
        return answer

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        position = needed = 0
        while position < len(buffer) and self._waiting:
            if self._items is None and buffer[position] == _ARRAY:
                end = buffer.find(b"\r\n", position)
                if end < 0:
                    break
                self._items, self._count = [], int(buffer[position + 1 : end])
                position = end + 2
            reply: Reply | StoreError
            if self._items is None:
                found = _reply(buffer, position)
                if isinstance(found, int):
                    needed = found - position
                    break
                reply, position = found
            else:
                position, end = _fill(self._items, self._count, buffer, position)
                if end:
                    needed = end - position
                    break
                reply, self._items = self._items, None
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
    if kind == b"$":
        length = int(line)
        last = end + 2 + length
        if length < 0:
            return None, end + 2
        return last + 2 if last + 2 > len(buffer) else (buffer[end + 2 : last], last + 2)
    if kind == b"-":
        said = line.decode(errors="replace")
        return StoreError(said, said.partition(" ")[0]), end + 2
    return line, end + 2


def _array(buffer: bytes, position: int, count: int) -> tuple[Reply | StoreError, int] | int:
    items: list[Any] = []
    position, end = _fill(items, count, buffer, position)
    return end or (items, position)


def _fill(items: list[Any], count: int, buffer: bytes, position: int) -> tuple[int, int]:
    """Adds the items of an array that begin at a position, up to ``count`` of them.

    Returns:
        Where those that were added end, and 0; if the array is not whole, up to where at least the next one goes.
    """
    window = _WINDOW
    while len(items) < count:
        end = buffer.find(b"\r\n", position)
        if end < 0:
            return position, len(buffer) + 1
        if buffer[position] != _BULK:
            found = _reply(buffer, position)
            if isinstance(found, int):
                return position, found
            item, position = found
            items.append(item)
            continue
        length = int(buffer[position + 1 : end])
        if length < 0:
            items.append(None)
            position = end + 2
            continue
        start = end + 2
        stride = start - position + length + 2
        if position + stride > len(buffer):
            return position, position + stride
        head = buffer[position:start]
        most = min(count - len(items), (len(buffer) - position) // stride, window)
        if most == 1 or not buffer.startswith(head, position + stride):
            items.append(buffer[start : start + length])
            position += stride
            continue
        # Rows of one view are of one length as a rule, so as many as follow are taken apart at once.
        alike = _alike(buffer, head, position, position + most * stride, stride)
        for first in range(0, alike, _WINDOW):
            form = _form(len(head), length, min(alike - first, _WINDOW))
            items += form.unpack_from(buffer, position + first * stride)
        position += alike * stride
        window = 2 * window if alike == window else _WINDOW
    return position, 0


def _alike(buffer: bytes, head: bytes, begin: int, end: int, stride: int) -> int:
    """How many pieces of a length begin with a head, one after another, from ``begin`` on."""
    alike = (end - begin) // stride
    for at, char in enumerate(head, begin):
        found = buffer[at:end:stride]
        alike = min(alike, len(found) - len(found.lstrip(_CHARS[char])))
    return alike


@lru_cache(maxsize=1000)
def _form(head: int, length: int, count: int) -> struct.Struct:
    return struct.Struct(f"{head}x{length}s2x" * count)


def pairs(reply: Any) -> dict[bytes, bytes]:
    """The answer of HGETALL as a dictionary."""
    return dict(zip(reply[::2], reply[1::2], strict=True))
