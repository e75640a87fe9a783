"""The HTTP protocol of all servers, with one packet per response and a transport that the application can cut."""

from __future__ import annotations

import asyncio
from typing import Any

from millrace_http.guard import Guard
from millrace_http.limits import Limits
from millrace_http.protocol import GuardedProtocol

# As kube-apiserver has it.
BODY_LIMIT = 3 * 1024 * 1024
KEEP_ALIVE_SECONDS = 600
# All its clients are of one machine, and each watch is a connection.
CONNECTIONS = 2048


def guard() -> Guard:
    """The limits of this server; targets hold selectors, so they may be as long as a head."""
    limits = Limits(
        target_bytes=32 * 1024,
        body_bytes=BODY_LIMIT,
        idle_seconds=KEEP_ALIVE_SECONDS,
        connections=CONNECTIONS,
        connections_per_client=CONNECTIONS,
    )
    made = Guard(limits, frozenset({b"/livez", b"/readyz", b"/healthz"}))
    made.fit_files()
    return made


class _JoinedWrites:
    """A transport that sends the head of a response together with its body: one packet instead of two.

    What is held back is sent before anything else, and at the latest in the next turn of the event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def _flush(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def get_write_buffer_size(self) -> int:
        return len(self._held) + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(GuardedProtocol):
    """One connection; gives the application the transport, so that a fault can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = _JoinedWrites(transport, self.loop)  # type: ignore[assignment]
        self.app_state = {**self.app_state, "transport": transport}
