"""GPU or CPU: what a pod of a deployment gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from millrace_core.api.modeldeployment_inference import Gpu, Inference

GPU: Final = "gpu"
CPU: Final = "cpu"

# Node label that NVIDIA's GPU feature discovery sets.
PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
# The taint that keeps other pods off GPU nodes, by custom.
TAINT: Final = "nvidia.com/gpu"


def choose(inference: Inference, nodes: Iterable[Mapping[str, Any]], *, gpu_serves: bool) -> str:
    """``gpu`` or ``cpu``.

    Args:
        nodes: Node objects of the cluster.
        gpu_serves: whether ready pods serve on GPUs now. They do not move to CPUs because a node's device plugin
            restarts and offers nothing for a moment.
    """
    if inference.device != "auto":
        return inference.device
    return GPU if gpu_serves or any(offers(node, inference.gpu) for node in nodes) else CPU


def offers(node: Mapping[str, Any], gpu: Gpu) -> bool:
    """Whether a node has enough of the resource for one pod, and the product asked for."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    labels = node["metadata"].get("labels") or {}
    count = str(allocatable.get(gpu.resource, "0"))
    return count.isdigit() and int(count) >= gpu.count and gpu.product in (None, labels.get(PRODUCT_LABEL))
