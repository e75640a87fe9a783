"""What each process of ours exposes, read from running ones."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.onnx_models import write_linear
from tests.operators.fixtures import fresh
from tests.running_service import StartService, start_service

__all__ = ["fresh", "start_service"]

Families = Mapping[str, Metric]
_NOWHERE = "127.0.0.1:1"
# No names of ours, but of the client library's and Python's own collectors.
_FOREIGN = ("process_", "python_")


def families(url: str) -> Families:
    """The metrics that a process exposes, by name; a counter's name has its ``_total``."""
    found = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    named = {f"{each.name}_total" if each.type == "counter" else each.name: each for each in found}
    return {name: each for name, each in named.items() if not name.startswith(_FOREIGN)}


@pytest.fixture(scope="module")
def services(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Families]:
    """Of gateway, registry and inference, the latter with all that may be switched on."""
    folder = tmp_path_factory.mktemp("monitored")
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{_NOWHERE}"}
    gateway = start_service(
        "-m",
        "millrace_services.gateway",
        MILLRACE_STORE_URL=f"redis://{_NOWHERE}",
        MILLRACE_REGISTRY_URL=f"http://{_NOWHERE}",
        **traced,
    )
    registry = start_service(
        "-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{folder / 'registry.db'}", **traced
    )
    log = {"uri": f"file://{folder}/lake", "spool": f"{folder}/spool"}
    inference = start_service(
        "-m",
        "millrace_services.inference",
        "serve",
        MILLRACE_MODEL_NAME="m",
        MILLRACE_DEPLOYMENT="m-v7",
        MILLRACE_MODEL_PATH=str(write_linear(folder / "model.onnx", width=3)),
        MILLRACE_DEVICE="cpu",
        MILLRACE_FEATURES=json.dumps({"refs": ["v:a", "v:b", "v:c"]}),
        MILLRACE_GATEWAY_URL=gateway.url,
        MILLRACE_LOG=json.dumps(log),
        MILLRACE_CACHE=json.dumps({"ttl": "1m"}),
        MILLRACE_OUTGOING=json.dumps({"folders": [str(folder)]}),
        **traced,
    )
    until = time.monotonic() + 60
    while not _is_ready(inference.url):
        assert inference.process.poll() is None, inference.log()
        assert time.monotonic() < until, inference.log()
        time.sleep(0.02)
    assert httpx.post(f"{inference.url}/predict", json={"entities": {"u": [1]}}).status_code == 424
    return {
        name: families(process.url)
        for name, process in {"gateway": gateway, "registry": registry, "inference": inference}.items()
    }


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.HTTPError:  # it ends just now
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
