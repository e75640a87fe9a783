"""Every server of ours answers each raw request of the table as it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from millrace_kube.metrics import KubeMetrics
from millrace_operators.operator import health
from tests.onnx_models import write_linear
from tests.running_service import StartService
from tests.services.web.conformance import CASES, exchange

TOY = str(Path(__file__).with_name("toy_service.py"))
SERVERS = ("toy", "registry", "gateway", "inference", "operator")


@pytest.fixture(scope="module")
def servers(
    start_service: StartService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, tuple[str, bytes]]]:
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
    with operator() as url:
        urls = {name: service.url for name, service in started.items()} | {"operator": url}
        yield {name: (url, b"/health/live") for name, url in urls.items()}


@contextmanager
def operator() -> Iterator[str]:
    """The operator's server of probes and metrics."""
    started: Future[str] = Future()
    ends = asyncio.Event()

    async def serve() -> None:
        async with health.serve("127.0.0.1", 0, dict, KubeMetrics()) as port:
            started.set_result(f"http://127.0.0.1:{port}")
            await ends.wait()

    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    yield started.result(60)
    loop.call_soon_threadsafe(ends.set)
    thread.join(60)
    loop.close()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", CASES)
def test_a_raw_request_has_its_answer(servers: Mapping[str, tuple[str, bytes]], server: str, name: str) -> None:
    url, probe = servers[server]
    at = urlsplit(url)
    case = CASES[name]
    found = exchange((str(at.hostname), at.port or 0), probe, case)
    assert len(found) == len(case.statuses)
    assert all(status in expected for status, expected in zip(found, case.statuses, strict=True)), found
