"""What a server takes of its clients, and how long it waits for them."""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace
from typing import Final, Self

from millrace_http.forwarded import Network

# Of a process's open files, those that are no client's connections: stores, logs, models, the door's reserve.
_OTHER_FILES: Final = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    Attributes:
        target_bytes: of a request's target; a longer one gets 414.
        head_bytes: of a request's headers, names and values; more get 431. As much may stand between two pieces of a
            body: extensions of chunks, trailers.
        headers: of one request; more get 431.
        body_bytes: of a request. A body takes at most four times as many on the wire, and of one that was refused as
            many are read on, so that its client comes to read the answer.
        head_seconds: from the first byte of a head, or from the connection, until the head has come; then 408.
        body_seconds: that a body may take, whatever its size; then 408.
        body_rate: bytes per second of a body that lengthen that time.
        idle_seconds: that a connection may rest between two requests.
        write_seconds: within which a client takes anything at all of an answer.
        connections: at once; beyond them one that rests is closed for the new one, and where none does, probes alone
            are answered.
        connections_per_client: the same for one address, of IPv6 for its first 64 bits. Behind a proxy requests under
            way, beyond which a client gets 429.
        proxies: addresses of proxies, which say for whom a request is (``X-Forwarded-For``).
    """

    target_bytes: int = 8 * 1024
    head_bytes: int = 32 * 1024
    headers: int = 100
    body_bytes: int = 16 * 1024 * 1024
    head_seconds: float = 20.0
    body_seconds: float = 20.0
    body_rate: int = 1024
    idle_seconds: float = 3660.0
    write_seconds: float = 60.0
    connections: int = 4096
    connections_per_client: int = 1024
    proxies: tuple[Network, ...] = ()

    def within_files(self) -> Self:
        """With no more connections than this process may have files; it is allowed as many as need be, if it can."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.connections + _OTHER_FILES
        if soft < wanted:
            soft = min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return replace(self, connections=max(1, min(self.connections, soft - _OTHER_FILES)))
