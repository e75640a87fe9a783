"""The mesh's settings; agent and stack build them from the same root folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


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
    """

    directory: Path
    ingress_host: str = "127.0.0.1"
    ingress_port: int = 18080
    secret: str = field(default="", repr=False)
    debounce: float = 0.03
    head_seconds: float = 20.0

    @property
    def xds(self) -> Path:
        """The folder that Envoy watches."""
        return self.directory / "xds"
