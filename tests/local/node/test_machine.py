"""What the machine has and offers: cores, memory, GPUs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from millrace_core.base.errors import RetryError
from millrace_local.node.machine import Machine, is_gpu_device
from millrace_local.node.registration import machine_resources


def test_the_node_offers_more_than_it_has_but_never_a_gpu_twice() -> None:
    assert machine_resources(2, 4 * 2**30, 1) == {
        "cpu": "2",
        "memory": "4194304Ki",
        "pods": "110",
        "nvidia.com/gpu": "1",
    }
    assert machine_resources(2, 4 * 2**30, 1, overcommit=4) == {
        "cpu": "8000m",
        "memory": "16777216Ki",
        "pods": "110",
        "nvidia.com/gpu": "1",
    }


def test_only_numbered_nvidia_devices_are_gpus() -> None:
    names = ["nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "null"]
    assert [name for name in names if is_gpu_device(name)] == ["nvidia0", "nvidia12"]


def test_each_gpu_belongs_to_one_pod_and_others_see_none() -> None:
    def wants(uid: str, count: int) -> dict[str, Any]:
        limits = {"nvidia.com/gpu": str(count)} if count else {}
        return {"metadata": {"uid": uid}, "spec": {"containers": [{"resources": {"limits": limits}}]}}

    machine = Machine(*[SimpleNamespace()] * 6, allocatable={"nvidia.com/gpu": "2"})  # type: ignore[arg-type]
    assert machine.gpus(wants("a", 1))["CUDA_VISIBLE_DEVICES"] == "0"
    assert machine.gpus(wants("a", 1))["CUDA_VISIBLE_DEVICES"] == "0"
    assert machine.gpus(wants("b", 1))["CUDA_VISIBLE_DEVICES"] == "1"
    assert machine.gpus(wants("c", 0))["CUDA_VISIBLE_DEVICES"] == "-1"
    with pytest.raises(RetryError, match="0 of 2 free"):
        machine.gpus(wants("c", 1))
    machine.release(wants("a", 1))
    assert machine.gpus(wants("c", 1))["CUDA_VISIBLE_DEVICES"] == "0"
