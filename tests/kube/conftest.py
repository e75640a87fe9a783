"""A real API server with faults on demand, and the operators' client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from millrace_kube import connection
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_local.apiserver.process import RunningServer
from tests.operators.fixtures import api, server, start_faulty
from tests.operators.harness import start_server

__all__ = ["api", "server"]


@pytest.fixture(scope="session")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests here. Nobody's rights are limited, for these are not the operators' calls."""
    running = start_faulty(tmp_path_factory.mktemp("kube"))
    yield running
    running.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of the test's own."""
    running = start_server(tmp_path)
    yield running
    running.stop()


@pytest.fixture
async def cluster(server: RunningServer) -> AsyncIterator[CachedClient]:
    found = await connection.connect({"KUBECONFIG": str(server.kubeconfig)})
    async with Client(found) as client:
        yield CachedClient(client, Cache())
