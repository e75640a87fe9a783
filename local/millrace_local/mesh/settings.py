"""The mesh's settings; agent and stack build them from the same root folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MOST_CONNECTIONS: Final = 4096
# What Envoy has open beside connections.
_OTHER_FILES: Final = 128


def connections_within(files: int) -> int:
    """How many connections clients may have where Envoy may have so many files: a request takes two, one to its pod."""
    return max(1, min(MOST_CONNECTIONS, (files - _OTHER_FILES) // 2))


@dataclass(frozen=True)
class MeshSettings:
    """Where the mesh writes and which address it serves.

    Attributes:
        directory: the mesh's folder (``<root>/mesh``): Envoy runs in it, reads ``xds/`` and answers on ``admin.sock``.
        ingress_host: address Envoy listens on.
        ingress_port: port Envoy listens on; a Host header may carry it for any host.
        secret: what Envoy adds to each request to a service, so that pods know it as checked; "" for nothing.
        debounce: seconds to wait after a change for those that follow it, before Envoy's files are written.
        head_seconds: how long the head of a request may take, from its first byte; longer gets 408.
        idle_seconds: how long a connection may rest, before its first request and between two.
        connections: most of clients at once; a further one is closed as it comes.
        arm_seconds: how long a request waits for the arm of its unit, before it goes by the weights.
    """

    directory: Path
    ingress_host: str = "127.0.0.1"
    ingress_port: int = 18080
    secret: str = field(default="", repr=False)
    debounce: float = 0.03
    head_seconds: float = 20.0
    idle_seconds: float = 300.0
    connections: int = MOST_CONNECTIONS
    arm_seconds: float = 0.005

    @property
    def xds(self) -> Path:
        """The folder that Envoy watches."""
        return self.directory / "xds"
