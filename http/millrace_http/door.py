"""Who gets a connection where there are as many as there may be.

A new one takes the place of one that rests, so that nobody holds the server by connecting alone; where none rests it
comes into the reserve, in which probes are answered and all else is told to come again.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from math import inf
from typing import Final, Protocol

from millrace_http.forwarded import is_proxy
from millrace_http.limits import Limits

# Connections in the reserve; a new one takes the place of the oldest.
_RESERVE: Final = 64
# Connections that are looked at to find one that rests, so that a flood costs the same however many there are.
_LOOKED_AT: Final = 16


class Connection(Protocol):
    """One connection, as the door sees it."""

    @property
    def resting_since(self) -> float | None:
        """When it began to rest, in seconds of the loop's clock; None while a request or its answer is under way."""

    def give_way(self) -> None:
        """Closes it, for a new one."""


class Door:
    """The connections of one server.

    Args:
        limits: how many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # In the order in which they are looked at.
        self._all: dict[Connection, None] = {}
        self._clients: dict[str, dict[Connection, None]] = {}
        self._reserve: dict[Connection, None] = {}
        # Requests under way that proxies sent, by client.
        self._forwarded: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all) + len(self._reserve)

    def enter(self, connection: Connection, address: str) -> bool:
        """Whether it has a place; false: it is in the reserve. Others may be closed for it.

        Args:
            address: the client's IP address; the empty text where it has none.
        """
        client = client_of(address)
        # Behind a proxy clients are told apart by request.
        own = inf if is_proxy(address, self._limits.proxies) else self._limits.connections_per_client
        for places, most in ((self._clients.get(client, {}), own), (self._all, self._limits.connections)):
            if len(places) >= most and not self._make_room(places):
                self._keep_in_reserve(connection)
                return False
        self._all[connection] = None
        self._clients.setdefault(client, {})[connection] = None
        return True

    def leave(self, connection: Connection, address: str) -> None:
        """It has ended."""
        self._reserve.pop(connection, None)
        self._all.pop(connection, None)
        client = client_of(address)
        places = self._clients.get(client, {})
        places.pop(connection, None)
        if not places:
            self._clients.pop(client, None)

    def admit(self, client: str) -> bool:
        """Whether a request that a proxy sends for a client has a place; it holds it until ``release``."""
        whose = client_of(client)
        if self._forwarded[whose] >= self._limits.connections_per_client:
            return False
        self._forwarded[whose] += 1
        return True

    def release(self, client: str) -> None:
        """Such a request has its answer, or lost its connection."""
        whose = client_of(client)
        self._forwarded[whose] -= 1
        if not self._forwarded[whose]:
            del self._forwarded[whose]

    def _make_room(self, places: dict[Connection, None]) -> bool:
        looked_at = list(islice(places, _LOOKED_AT))
        for connection in looked_at:  # others are looked at next time
            del places[connection]
            places[connection] = None
        longest = _longest_resting(looked_at)
        if longest is None:
            return False
        self._all.pop(longest, None)
        places.pop(longest, None)
        longest.give_way()
        return True

    def _keep_in_reserve(self, connection: Connection) -> None:
        if len(self._reserve) >= _RESERVE:
            oldest = next(iter(self._reserve))
            del self._reserve[oldest]
            oldest.give_way()
        self._reserve[connection] = None


def _longest_resting(connections: Iterable[Connection]) -> Connection | None:
    resting = [(since, each) for each in connections if (since := each.resting_since) is not None]
    return min(resting, key=lambda found: found[0])[1] if resting else None


def client_of(address: str) -> str:
    """What counts as one client: an IPv4 address, also a mapped one; of an IPv6 address its first 64 bits."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
