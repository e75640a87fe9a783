"""The requests that a proxy sends on one connection, each for a client of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from millrace_http.forwarded import client
from millrace_http.guard import Guard
from millrace_http.refusal import Header, Refusal


class ProxiedRequests:
    """Whom the requests under way are for, in their order, which is that of their answers.

    Args:
        guard: of the server; its door knows how many requests each client has.
    """

    __slots__ = ("_clients", "_guard")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._clients: deque[str] = deque()

    def admit(self, target: bytes, headers: Iterable[Header]) -> None:
        """A request has come; probes are nobody's.

        Raises:
            Refusal: as many of its client are under way as may be.
        """
        guard = self._guard
        whose = "" if target in guard.probes else client(headers, guard.limits.proxies)
        if whose and not guard.door.admit(whose):
            most = guard.limits.connections_per_client
            raise Refusal(429, f"{most} requests of this client are under way; come again", retry_after=1)
        self._clients.append(whose)

    def answered(self) -> None:
        """The first of them has its answer."""
        whose = self._clients.popleft() if self._clients else ""
        if whose:
            self._guard.door.release(whose)

    def lost(self) -> None:
        """The connection has ended, and all of them with it."""
        while self._clients:
            self.answered()
