"""Hot routes: a handler takes a ``Call`` (its body already read, within the limit) and returns an ``Answer``.

They skip FastAPI's routing, dependency and validation layers, which cost several times what a small prediction costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope

from millrace_core.base.errors import TooLargeError
from millrace_services.web.errors import Header
from millrace_services.web.settings import ServerSettings

JSON: Header = (b"content-type", b"application/json")


@dataclass(slots=True)
class Call:
    """One request to a hot route; of ASGI's ``scope`` it has at least method, path, raw_path, query_string and headers.

    ``gone`` says whether the client went away meanwhile.
    """

    scope: Scope
    body: bytes
    gone: Callable[[], Awaitable[bool]]

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        headers: list[Header] = self.scope["headers"]
        for key, value in headers:  # half of what a generator takes
            if key == name:
                return value
        return None


class Answer(NamedTuple):
    """A hot route's response; ``headers`` beside ``content-length``, which is added."""

    status: int
    body: bytes
    headers: tuple[Header, ...] | list[Header] = (JSON,)


Handler = Callable[[Call], Awaitable[Answer]]


class Gate(Protocol):
    """Decides, while a body comes, whether there is room for more of it.

    It is asked for what has come, never for what was announced, so that nobody takes room without sending.
    """

    def enter(self, size: int, own: int) -> None:
        """Takes room for so many bytes, for a request that has ``own`` already.

        Raises:
            OverloadedError: there is none.
        """

    def leave(self, size: int) -> None:
        """Gives the room back, once the request is answered."""


class Room:
    """What one request has taken of its gate; of none, all that it likes."""

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate
        self._taken = 0

    def take(self, size: int) -> None:
        """Takes more, in bytes. Raises ``OverloadedError``."""
        if self._gate is not None:
            self._gate.enter(size, self._taken)
            self._taken += size

    def leave(self) -> None:
        """Gives all of it back."""
        if self._gate is not None:
            self._gate.leave(self._taken)


class ClientGoneError(Exception):
    """Raised by a handler that found out that nobody waits for its answer any more."""


def disconnect_check(receive: Receive) -> Callable[[], Awaitable[bool]]:
    """A ``Call``'s ``gone``, made of ASGI's ``receive``."""

    async def gone() -> bool:
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)  # a disconnect is there at once; otherwise this would wait for one
        if waiting.done():
            return True
        waiting.cancel()
        return False

    return gone


async def read_body(receive: Receive, settings: ServerSettings, room: Room) -> bytes:
    """The whole body, for which it takes room as it comes.

    Raises:
        TooLargeError: it is longer than ``settings.max_body_bytes``.
        OverloadedError: there is no room for it.
        ClientGoneError: the client went away before its end.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > settings.max_body_bytes:
            raise too_large(settings)
        room.take(len(part))
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def require_small(scope: Scope, settings: ServerSettings) -> None:
    """Looks at a body's announced length, before the client is told to send it.

    Raises:
        TooLargeError: it is longer than ``settings.max_body_bytes``.
    """
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    # As long as a head may be: only its end is a number of 64 bits.
    if int(length.lstrip(b"0") or b"0") > settings.max_body_bytes:
        raise too_large(settings)


def too_large(settings: ServerSettings) -> TooLargeError:
    """The error of a body of more than ``settings.max_body_bytes``."""
    return TooLargeError(
        f"the request is larger than {settings.max_body_bytes} bytes",
        hint=f"Send less at once, or raise {settings.body_limit}",
    )
