"""GPU or CPU."""

from __future__ import annotations

from typing import Any

from millrace_core.api.modeldeployment_inference import Gpu, Inference
from millrace_operators.modeldeployment.device import choose


def node(offers: dict[str, str] | None = None, product: str = "") -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": product} if product else {}
    return {"metadata": {"name": "n", "labels": labels}, "status": {"allocatable": {"cpu": "8", **(offers or {})}}}


GPUS = {"nvidia.com/gpu": "2"}


def test_auto_takes_a_gpu_where_a_node_offers_one_and_a_cpu_elsewhere() -> None:
    assert choose(Inference(), [node(), node(GPUS)], gpu_serves=False) == "gpu"
    assert choose(Inference(), [node()], gpu_serves=False) == "cpu"
    assert choose(Inference(), [], gpu_serves=False) == "cpu"


def test_auto_needs_as_many_as_one_pod_asks_for_on_one_node() -> None:
    assert choose(Inference(gpu=Gpu(count=4)), [node(GPUS), node(GPUS)], gpu_serves=False) == "cpu"


def test_auto_needs_the_product_and_the_resource_that_are_asked_for() -> None:
    asked = Inference(gpu=Gpu(product="NVIDIA-L4"))
    assert choose(asked, [node(GPUS, "NVIDIA-T4")], gpu_serves=False) == "cpu"
    assert choose(asked, [node(GPUS, "NVIDIA-L4")], gpu_serves=False) == "gpu"
    slices = Inference(gpu=Gpu(resource="nvidia.com/mig-1g.10gb"))
    assert choose(slices, [node(GPUS)], gpu_serves=False) == "cpu"
    assert choose(slices, [node({"nvidia.com/mig-1g.10gb": "7"})], gpu_serves=False) == "gpu"


def test_pods_that_serve_on_gpus_do_not_move_when_a_device_plugin_restarts() -> None:
    assert choose(Inference(), [node({"nvidia.com/gpu": "0"})], gpu_serves=True) == "gpu"


def test_what_the_spec_says_is_so_whatever_the_nodes_offer() -> None:
    assert choose(Inference(device="gpu"), [node()], gpu_serves=False) == "gpu"
    assert choose(Inference(device="cpu"), [node(GPUS)], gpu_serves=True) == "cpu"
