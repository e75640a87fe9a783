"""A real API server with faults on demand, and the operators' client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from millrace_kube import connection
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_local.apiserver.process import RunningServer
from tests.operators.fixtures import api, faulty_server, fresh, server

__all__ = ["api", "cluster", "faulty_server", "fresh", "server"]


@pytest.fixture
async def cluster(server: RunningServer) -> AsyncIterator[CachedClient]:
    found = await connection.connect({"KUBECONFIG": str(server.kubeconfig)})
    async with Client(found) as client:
        yield CachedClient(client, Cache())
