"""The Node object and its Lease: what this machine offers, and its heartbeat."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from millrace_kube.client import Client
from millrace_kube.conditions import with_condition
from millrace_kube.errors import AbsentError, ApiError
from millrace_kube.resources import LEASES, NODES, Object
from millrace_kube.times import micro_stamp, stamp
from millrace_local.node.machine import GPU, HOST_ADDRESS

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
# Annotation of the Lease: which of several nodes of this name renews it.
HOLDER = "node.millrace.dev/holder"
RENEW_SECONDS = 10.0
# The Node's own heartbeat is written with every 30th renewal of the Lease.
HEARTBEAT_RENEWALS = 30
# The agent may start before the API server answers, and pods wait for the node: the first tries come quickly.
FIRST_RETRY_SECONDS = 0.1
RETRY_SECONDS = 1.0
# The default of a kubelet.
MOST_PODS = 110
FINAL_WRITE_SECONDS = 1.0


def machine_resources(cores: int, memory_bytes: int, gpus: int, *, overcommit: float = 1.0) -> dict[str, str]:
    """The machine's resources as quantities, times ``overcommit``; GPUs are never offered twice."""
    amounts = {
        "cpu": f"{int(cores * overcommit * 1000)}m" if overcommit != 1 else str(cores),
        "memory": f"{int(memory_bytes * overcommit) // 1024}Ki",
        "pods": str(MOST_PODS),
    }
    return {**amounts, GPU: str(gpus)} if gpus else amounts


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def holder(root: Path) -> str:
    """Tells nodes of one name apart: the machine and the folder."""
    return f"{platform.node()}:{root}"


def node_object(name: str) -> Object:
    """The Node to register."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
        "millrace.dev/embedded-node": "true",
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": {}}


def node_status(
    present: Object, *, ready: bool, capacity: Mapping[str, str], allocatable: Mapping[str, str], now: datetime
) -> Object:
    """The Node's status: addresses, capacity, and conditions with a new heartbeat."""
    conditions = present.get("conditions")
    wanted = (
        ("MemoryPressure", False, "KubeletHasSufficientMemory", "the node does not limit memory"),
        ("DiskPressure", False, "KubeletHasNoDiskPressure", "the node does not limit disk"),
        ("PIDPressure", False, "KubeletHasSufficientPID", "the node does not limit processes"),
        (
            "Ready",
            ready,
            "KubeletReady" if ready else "KubeletNotReady",
            "the embedded node runs" if ready else "ended",
        ),
    )
    for kind, holds, reason, message in wanted:
        conditions = with_condition(conditions, kind, holds, reason, message, now=now, lastHeartbeatTime=stamp(now))
    return {
        "capacity": dict(capacity),
        "allocatable": dict(allocatable),
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": HOST_ADDRESS},
            {"type": "Hostname", "address": platform.node()},
        ],
        "nodeInfo": {
            "architecture": _architecture(),
            "operatingSystem": "linux",
            "kernelVersion": platform.release(),
            "osImage": _os_image(),
            "containerRuntimeVersion": f"millrace://{version('millrace')}",
            "kubeletVersion": f"v{version('millrace')}-millrace",
            "kubeProxyVersion": "",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _os_image() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


class Registration:
    """Creates and renews the Node and its Lease.

    Args:
        client: a client of the API server.
        name: the node's name.
        holder: tells nodes of one name apart.
        capacity: what the machine has.
        allocatable: what it offers to the scheduler.
        now: the clock.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        holder: str,
        capacity: Mapping[str, str],
        allocatable: Mapping[str, str],
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._name = name
        self._holder = holder
        self._capacity = capacity
        self._allocatable = allocatable
        self._now = now

    async def run(self, stop: asyncio.Event) -> None:
        """Registers and renews until ``stop`` is set; then marks the node as not ready, if the API server answers."""
        renewals, retry = 0, FIRST_RETRY_SECONDS
        while not stop.is_set():
            try:
                if renewals % HEARTBEAT_RENEWALS == 0:
                    await self._heartbeat(ready=True)
                await self._renew()
            except ApiError as error:
                log.log(logging.WARNING if error.status else logging.DEBUG, "node %s: %s", self._name, error)
                renewals = 0
                wait, retry = retry, min(retry * 2, RETRY_SECONDS)
            else:
                retry = FIRST_RETRY_SECONDS
                renewals += 1
                wait = RENEW_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)
        with suppress(ApiError, TimeoutError):
            await asyncio.wait_for(self._heartbeat(ready=False), FINAL_WRITE_SECONDS)

    async def _heartbeat(self, *, ready: bool) -> None:
        node = await self._client.get(NODES, "", self._name)
        if node is None:
            if not ready:
                return
            node = await self._client.create(NODES, node_object(self._name))
        status = node_status(
            node.get("status") or {},
            ready=ready,
            capacity=self._capacity,
            allocatable=self._allocatable,
            now=self._now(),
        )
        await self._client.patch(NODES, "", self._name, {"status": status}, subresource="status")

    async def _renew(self) -> None:
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": micro_stamp(self._now()),
        }
        metadata = {"annotations": {HOLDER: self._holder}}
        try:
            await self._client.patch(LEASES, LEASE_NAMESPACE, self._name, {"metadata": metadata, "spec": spec})
        except AbsentError:
            lease = {"metadata": {**metadata, "name": self._name, "namespace": LEASE_NAMESPACE}, "spec": spec}
            await self._client.create(LEASES, lease)
