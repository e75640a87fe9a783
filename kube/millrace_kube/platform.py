"""What the operators' children need to know of the platform around them; made from the operator's settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Platform:
    """Constants of one installation.

    Args:
        inference_image: container image of inference pods on CPUs.
        gpu_image: container image of inference pods on GPUs.
        materialize_image: container image of Jobs that materialize and purge.
        namespace: the operator's own namespace.
        registry_url: base URL of the registry, as pods reach it; empty: there is none.
        gateway_url: base URL of the online-store gateway, as pods reach it; empty: there is none.
        store_url: URL of the online store, as pods reach it; empty: there is none.
        prometheus_url: base URL of Prometheus, as KEDA reaches it; empty: there is none.
    """

    inference_image: str
    gpu_image: str
    materialize_image: str
    namespace: str
    registry_url: str = ""
    gateway_url: str = ""
    store_url: str = ""
    prometheus_url: str = ""
