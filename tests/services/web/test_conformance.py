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
from millrace_local.apiserver import process
from millrace_operators.operator import health
from tests.onnx_models import write_linear
from tests.running_service import StartService
from tests.services.web.conformance import CASES, Server, exchange, get, post

TOY = str(Path(__file__).with_name("toy_service.py"))
SERVERS = ("toy", "registry", "gateway", "inference", "operator", "API server")
# The API server serves no host but this machine's, so that no web page reaches it.
REFUSED_THERE = ("an empty host", "HTTP/1.0 without a host")


@pytest.fixture(scope="module")
def servers(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Server]]:
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
        with api_server(folder) as kubernetes:
            yield {name: Server(address_of(url)) for name, url in urls.items()} | {"API server": kubernetes}


def address_of(url: str) -> tuple[str, int]:
    at = urlsplit(url)
    return str(at.hostname), at.port or 0


@contextmanager
def api_server(folder: Path) -> Iterator[Server]:
    """The laptop mode's, which speaks TLS and wants a token."""
    running = process.start(folder / "apiserver", kubeconfig=folder / "kubeconfig")
    try:
        connection = running.connection
        token = connection.authorization()["Authorization"].removeprefix("Bearer ")
        yield Server(address_of(running.url), b"/livez", b"127.0.0.1", connection.tls, token.encode())
    finally:
        running.stop()


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
def test_a_raw_request_has_its_answer(servers: Mapping[str, Server], server: str, name: str) -> None:
    case = CASES[name]
    found = exchange(servers[server], case)
    if server == "API server" and name in REFUSED_THERE:
        assert found == [403]
        return
    assert len(found) == len(case.statuses)
    assert all(status in expected for status, expected in zip(found, case.statuses, strict=True)), found


@pytest.mark.parametrize("server", ["toy", "API server"])
@pytest.mark.parametrize("sent", [get(version=b"2.0"), post(b"", b"Content-Length: -1")])
def test_a_client_reads_its_refusal_though_it_sends_on(servers: Mapping[str, Server], server: str, sent: bytes) -> None:
    with servers[server].connect() as connection:
        connection.sendall(servers[server].request(sent) + b"x" * 3_000_000)
        came = connection.makefile("rb").read()
    assert came.startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 400 "))
    assert came.endswith(b"}"), "the whole answer, and then the end"
