"""An API server with faults on demand, and a world of one namespace on it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from millrace_kube.client import Client
from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of
from tests.operators.fixtures import faulty_server
from tests.operators.world import START, World

__all__ = ["faulty_server"]

_numbers = itertools.count(1)


class Faults:
    """The server's faults, for the operator's own calls."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def put(self, *rules: dict[str, Any]) -> None:
        """Sets the rules, in place of those before."""
        stated = [{"userAgent": "millrace-operator", **rule} for rule in rules]
        answer = self._http.put("/faults", json=stated)
        assert answer.status_code == 200, answer.text

    def fired(self) -> int:
        """How many faults there were since the rules were set."""
        return sum(int(rule["fired"]) for rule in self._http.get("/faults").json()["rules"])


@pytest.fixture(scope="session")
def http(faulty_server: RunningServer) -> Iterator[httpx.Client]:
    """A plain client of the server."""
    with client_of(faulty_server) as client:
        yield client


@pytest.fixture
def faults(http: httpx.Client) -> Iterator[Faults]:
    """No fault until a test puts one."""
    found = Faults(http)
    found.put()
    yield found
    found.put()


@pytest.fixture
async def new_world(faulty_server: RunningServer, http: httpx.Client) -> AsyncIterator[Callable[[], World]]:
    """Makes worlds, each a namespace of its own."""
    async with Client(faulty_server.connection) as client:

        def make() -> World:
            namespace = f"world-{next(_numbers)}"
            assert http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).status_code == 201
            return World(client, http, namespace, START)

        yield make


@pytest.fixture
async def world(new_world: Callable[[], World]) -> World:
    """A fresh namespace with an operator."""
    return new_world()
