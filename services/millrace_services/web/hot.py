"""Hot routes: a handler takes a ``Call`` (its body already read, within the limit) and returns an ``Answer``.

They skip FastAPI's routing, dependency and validation layers, which cost several times what a small prediction costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from starlette.types import Message, Receive, Scope

from millrace_core.base.errors import TooLargeError
from millrace_services.web.errors import Header

JSON: Header = (b"content-type", b"application/json")


@dataclass(slots=True)
class Call:
    """One request to a hot route; ``scope`` is ASGI's. ``gone`` says whether the client went away meanwhile."""

    scope: Scope
    body: bytes
    gone: Callable[[], Awaitable[bool]]

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        return next((value for key, value in self.scope["headers"] if key == name), None)


class Answer(NamedTuple):
    """A hot route's response; ``headers`` beside ``content-length``, which is added."""

    status: int
    body: bytes
    headers: tuple[Header, ...] | list[Header] = (JSON,)


Handler = Callable[[Call], Awaitable[Answer]]


class Gate(Protocol):
    """Decides, before a body is read, whether there is room for the request."""

    def enter(self, size: int) -> None:
        """Takes room for a body of at most so many bytes. Raises ``OverloadedError`` where there is none."""

    def leave(self, size: int) -> None:
        """Gives the room back, once the request is answered."""


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


async def read_body(first: Message, scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, of which ``first`` came already.

    Raises:
        TooLargeError: it is longer than ``limit`` bytes.
        ClientGoneError: the client went away before its end.
    """
    if first.get("more_body", False) and size_of(scope, 0) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    message = first
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def size_of(scope: Scope, unknown: int) -> int:
    """The length of a request's body in bytes as its head has it; ``unknown`` where it has none."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else unknown


def too_large(limit: int) -> TooLargeError:
    """The error of a body of more than ``limit`` bytes."""
    return TooLargeError(
        f"the request is larger than {limit} bytes",
        hint="Send less at once, or raise MILLRACE_MAX_BODY_BYTES",
    )
