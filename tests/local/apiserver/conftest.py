"""A running API server, and the clients that tests talk to it with."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of
from tests.api_server import start

REPOSITORY = Path(__file__).parents[3]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests that keep to a namespace of their own."""
    data = tmp_path_factory.mktemp("apiserver")
    running = start(data, kubeconfig=data / "kubeconfig", pods=data / "pods")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server with ``/faults`` for all tests."""
    data = tmp_path_factory.mktemp("faulty")
    running = start(data, kubeconfig=data / "kubeconfig", faults=True)
    yield running
    running.stop()


@pytest.fixture
def faulty(faulty_server: RunningServer) -> Iterator[RunningServer]:
    """The server with ``/faults``, without rules and ConfigMaps before and after."""
    yield faulty_server
    with client_of(faulty_server) as client:
        client.delete("/faults")
        client.delete("/api/v1/namespaces/default/configmaps")


@pytest.fixture(scope="session")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    """A plain HTTP client of the shared server."""
    with client_of(server) as client:
        yield client


@pytest.fixture
def namespace(http: httpx.Client) -> Iterator[str]:
    """A fresh namespace."""
    name = f"test-{next(_numbers)}"
    created = http.post("/api/v1/namespaces", json={"metadata": {"name": name}})
    assert created.status_code == 201, created.text
    yield name
    http.delete(f"/api/v1/namespaces/{name}")


@dataclass
class KubectlProcess:
    """The real kubectl, in one namespace of one server."""

    kubeconfig: Path
    namespace: str
    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig), **more}

    def __call__(self, *arguments: str, stdin: str = "", fails: bool = False, **environment: str) -> str:
        """Runs kubectl; returns its output, with errors if it is expected to fail."""
        done = subprocess.run(
            ["kubectl", "-n", self.namespace, *arguments],
            input=stdin,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr if fails else done.stdout

    def json(self, *arguments: str) -> Any:
        """What ``get`` prints as JSON."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts kubectl and leaves it running."""
        return subprocess.Popen(
            ["kubectl", "-n", self.namespace, *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def kubectl(server: RunningServer, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> KubectlProcess:
    """kubectl in the test's namespace; skips where there is none."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    home = tmp_path_factory.getbasetemp() / "kubectl-home"
    home.mkdir(exist_ok=True)
    return KubectlProcess(server.kubeconfig, namespace, home)


def eventually(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true result of ``check``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually
