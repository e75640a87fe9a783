"""What the operators' children need to know of the platform around them; made from the operator's settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Platform:
    """Constants of one installation.

    Args:
        image: container image of Jobs, init containers and inference pods.
        namespace: the operator's own namespace.
        registry_url: base URL of the registry, as pods reach it; empty: there is none.
        gateway_url: base URL of the online-store gateway, as pods reach it; empty: there is none.
        store_url: URL of the online store, as pods reach it; empty: there is none.
        prometheus_url: base URL of Prometheus, as KEDA reaches it; empty: there is none.
    """

    image: str
    namespace: str
    registry_url: str = ""
    gateway_url: str = ""
    store_url: str = ""
    prometheus_url: str = ""
