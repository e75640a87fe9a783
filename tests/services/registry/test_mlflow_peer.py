"""MLflow's own clients see of the registry what they see of MLflow's own server, field by field.

Needs MLflow in environments of its own, which ``make mlflow-env`` makes from PyPI.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.mlflow_env import REQUIREMENTS, folder
from tests.running_service import StartService

PEER = Path(__file__).with_name("mlflow_peer.py")
TUTORIAL = Path(__file__).with_name("mlflow_tutorial.py")
NEWEST = max(REQUIREMENTS, key=lambda version: [int(part) for part in version.split(".")])
SECONDS = 150

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        not all((folder(version) / "bin" / "mlflow").exists() for version in REQUIREMENTS),
        reason="needs MLflow; make mlflow-env installs it",
    ),
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of MLflow's own."""
    home = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [folder(NEWEST) / "bin" / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{home}/m.db", "--artifacts-destination", str(home)]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=home, start_new_session=True)
    try:
        until = time.monotonic() + SECONDS
        while not _healthy(f"http://127.0.0.1:{port}"):
            assert time.monotonic() < until, (home / "log").read_text()
            assert server.poll() is None, (home / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(60)


@pytest.fixture(scope="module")
def registry(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("registry") / "r.db"
    return start_service("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{path}").url


@pytest.mark.parametrize("version", REQUIREMENTS)
def test_a_client_sees_of_the_registry_what_it_sees_of_mlflows_server(version: str, registry: str, stock: str) -> None:
    assert seen_by(version, PEER, registry) == seen_by(version, PEER, stock)


@pytest.mark.timeout(2 * 400)
@pytest.mark.parametrize("version", REQUIREMENTS)
def test_training_code_sees_the_same_with_nothing_changed_but_its_tracking_uri(
    version: str, registry: str, stock: str
) -> None:
    assert seen_by(version, TUTORIAL, registry) == seen_by(version, TUTORIAL, stock)


def seen_by(version: str, script: Path, url: str) -> dict[str, Any]:
    environ = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # Otherwise it runs another Python for each model, to find out what the model imports.
    environ |= {"MLFLOW_TRACKING_URI": url, "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1"}
    command = [folder(version) / "bin" / "python", script, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.HTTPError:
        return False
