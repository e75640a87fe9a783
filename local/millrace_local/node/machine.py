"""What all pods of a node share: settings, clock, processes, probes, events, GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import aiohttp

from millrace_core.base.errors import RetryError
from millrace_core.base.quantities import quantity
from millrace_kube.client import Client
from millrace_kube.events import Recorder
from millrace_kube.resources import Object
from millrace_local.node.processes import Processes, gives_users
from millrace_local.node.security import User
from millrace_local.node.settings import NodeSettings

HOST_ADDRESS = "127.0.0.1"
GPU = "nvidia.com/gpu"


def search_path() -> str:
    """The PATH of containers: programs of the agent's environment first."""
    return f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Machine:
    """What all pods of a node share.

    Attributes:
        settings: the node's settings.
        client: a client of the API server.
        processes: starts processes.
        session: the HTTP session of probes.
        recorder: writes Events.
        now: the clock.
        allocatable: what the node offers, as quantities.
        user: whom all processes belong to.
        inherited: variables of the agent's environment that containers need to find libraries and certificates.
    """

    settings: NodeSettings
    client: Client
    processes: Processes
    session: aiohttp.ClientSession
    recorder: Recorder
    now: Callable[[], datetime]
    allocatable: Mapping[str, str]
    inherited: Mapping[str, str] = field(default_factory=dict)
    user: User = field(default_factory=lambda: User(os.geteuid(), os.getegid()))
    _gpus: dict[int, str] = field(default_factory=dict)

    def gpus(self, pod: Object) -> Mapping[str, str]:
        """Reserves GPUs for a pod; returns variables that show it these and no others. Empty on a machine without GPUs.

        Raises:
            RetryError: fewer are free than the pod requests (another pod is still ending).
        """
        present = int(self.allocatable.get(GPU, "0"))
        if not present:
            return {}
        uid, wanted = pod["metadata"]["uid"], _wanted_gpus(pod)
        mine = [number for number, owner in self._gpus.items() if owner == uid]
        free = [number for number in range(present) if number not in self._gpus]
        if wanted > len(mine) + len(free):
            raise RetryError(f"{wanted} GPUs wanted, {len(free)} of {present} free", reason="GPUBusy")
        for number in free[: max(0, wanted - len(mine))]:
            self._gpus[number] = uid
            mine.append(number)
        shown = ",".join(str(number) for number in sorted(mine))
        return {"CUDA_VISIBLE_DEVICES": shown or "-1", "NVIDIA_VISIBLE_DEVICES": shown or "void"}

    @cached_property
    def gives_users(self) -> bool:
        """Whether containers can have other uids."""
        return gives_users()

    def release(self, pod: Object) -> None:
        """Frees the pod's GPUs."""
        uid = pod["metadata"]["uid"]
        self._gpus = {number: owner for number, owner in self._gpus.items() if owner != uid}


def _wanted_gpus(pod: Object) -> int:
    containers = pod["spec"]["containers"]
    return sum(int(quantity(((c.get("resources") or {}).get("limits") or {}).get(GPU, 0))) for c in containers)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the agent's environment that containers get."""
    return {name: environ[name] for name in ("LD_LIBRARY_PATH", "SSL_CERT_FILE", "TZ") if environ.get(name)}


def oom_kills() -> int:
    """How many processes this machine's kernel has killed because memory ran out."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except OSError:
        return 0
    return 0


def is_gpu_device(name: str) -> bool:
    """Whether a name in ``/dev`` is an NVIDIA GPU."""
    return name.startswith("nvidia") and name.removeprefix("nvidia").isdigit()


def count_gpus() -> int:
    """The number of NVIDIA GPUs of this machine."""
    return sum(is_gpu_device(name) for name in os.listdir("/dev"))  # noqa: PTH208 - names alone are needed
