"""The node's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from millrace_local.node.addresses import RANGE


@dataclass(frozen=True)
class NodeSettings:
    """The node's settings. Times are in seconds.

    Attributes:
        name: name of the Node object.
        root: pods keep their files in ``pods/<uid>`` below it.
        proxy: URL that containers get as ``http_proxy``; "" for none.
        run_images: image repositories, beside Millrace's own (``images``), whose commands run as they are.
        pod_cidr: the addresses for pods; all must be this machine's.
        mesh_secret: what containers know requests of the mesh by; "" for none.
        overcommit: how many times its cores and memory the node offers to the scheduler.
        settle: the time between a pod's last unready state and its SIGTERM, in which endpoints and routes drop it; only
            for pods with a readiness probe.
        restart_delay: the delay before the second restart of a container; doubles up to ``longest_delay``.
        retry: the delay before a container that misses a Secret, ConfigMap or volume is tried again.
        refresh: how often volumes from Secrets and ConfigMaps are updated.
    """

    name: str
    root: Path
    proxy: str = ""
    run_images: frozenset[str] = frozenset()
    pod_cidr: IPv4Network = RANGE
    mesh_secret: str = field(default="", repr=False)
    overcommit: float = 4.0
    settle: float = 0.3
    restart_delay: float = 10.0
    longest_delay: float = 300.0
    retry: float = 2.0
    refresh: float = 60.0

    @property
    def known_hosts(self) -> str:
        """By what names programs of this machine call pods directly; whoever calls through the mesh needs none."""
        return f"localhost,127.0.0.0/8,::1,{self.pod_cidr},*.svc,*.svc.cluster.local"

    @property
    def pods(self) -> Path:
        """The folder of all pods."""
        return self.root / "pods"
