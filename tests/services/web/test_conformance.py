"""Every server of ours answers each raw request of the table as it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.onnx_models import write_linear
from tests.running_service import StartService
from tests.services.web.conformance import CASES, exchange

TOY = str(Path(__file__).with_name("toy_service.py"))
SERVERS = ("toy", "registry", "gateway", "inference")


@pytest.fixture(scope="module")
def servers(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[str, bytes]]:
    """URL and a path that answers 200, per server."""
    folder = tmp_path_factory.mktemp("servers")
    model = write_linear(folder / "model.onnx")
    database = f"sqlite:///{folder / 'registry.db'}"
    registry = start_service("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=database)
    started = {
        "toy": start_service(TOY),
        "registry": registry,
        "gateway": start_service(
            "-m",
            "millrace_services.gateway",
            MILLRACE_REGISTRY_URL=registry.url,
            MILLRACE_STORE_URL="redis://127.0.0.1:9",
        ),
        "inference": start_service(
            "-m",
            "millrace_services.inference",
            "serve",
            MILLRACE_MODEL_NAME="m",
            MILLRACE_MODEL_PATH=str(model),
            MILLRACE_DEVICE="cpu",
        ),
    }
    return {name: (service.url, b"/health/live") for name, service in started.items()}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", CASES)
def test_a_raw_request_has_its_answer(servers: Mapping[str, tuple[str, bytes]], server: str, name: str) -> None:
    url, probe = servers[server]
    at = urlsplit(url)
    case = CASES[name]
    found = exchange((str(at.hostname), at.port or 0), probe, case)
    assert len(found) == len(case.statuses)
    assert all(status in expected for status, expected in zip(found, case.statuses, strict=True)), found
