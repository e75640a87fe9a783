"""What the node is told."""

from __future__ import annotations

from dataclasses import dataclass
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
        pod_cidr: the addresses that pods get; all must be this machine's.
        overcommit: how many times its cores and memory the node offers to the scheduler.
        settle: between a pod with a readiness probe becoming unready for good and its SIGTERM, so that endpoints and
            routes drop it first.
        restart_delay: before the second restart of a container, doubled for each one more, up to ``longest_delay``.
        retry: before a container that lacks a Secret, ConfigMap or volume is tried again.
        refresh: how often volumes from Secrets and ConfigMaps are brought up to date.
    """

    name: str
    root: Path
    proxy: str = ""
    run_images: frozenset[str] = frozenset()
    pod_cidr: IPv4Network = RANGE
    overcommit: float = 4.0
    settle: float = 0.3
    restart_delay: float = 10.0
    longest_delay: float = 300.0
    retry: float = 2.0
    refresh: float = 60.0

    @property
    def pods(self) -> Path:
        """The folder of all pods."""
        return self.root / "pods"
