"""An API server with faults on demand, and a world of one namespace on it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import millrace.local.apiserver
from millrace.local.apiserver.process import RunningServer, start
from tests.operators.golden import CRDS
from tests.operators.world import START, World

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests here, with ``/faults`` and the real third-party CRDs where they are at hand."""
    data = tmp_path_factory.mktemp("operators")
    own = Path(__file__).parents[2] / "crds"
    [package] = millrace.local.apiserver.__path__
    others = CRDS if CRDS.is_dir() else Path(package) / "thirdparty"
    running = start(data, kubeconfig=data / "kubeconfig", crds=[own, others], faults=True)
    yield running
    running.stop()


class Faults:
    """The server's faults, for the operator's own calls."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/faults"

    def put(self, *rules: dict[str, Any]) -> None:
        """Sets the rules, in place of those before."""
        stated = [{"userAgent": "millrace-operator", **rule} for rule in rules]
        answer = httpx.put(self._url, json=stated, trust_env=False)
        assert answer.status_code == 200, answer.text

    def fired(self) -> int:
        """How many faults there were since the rules were set."""
        return sum(int(rule["fired"]) for rule in httpx.get(self._url, trust_env=False).json()["rules"])


@pytest.fixture
def faults(faulty_server: RunningServer) -> Iterator[Faults]:
    """No fault until a test puts one."""
    found = Faults(faulty_server.url)
    found.put()
    yield found
    found.put()


@pytest.fixture
async def new_world(faulty_server: RunningServer) -> AsyncIterator[Callable[[], World]]:
    """Makes worlds, each a namespace of its own."""
    made: list[World] = []
    with httpx.Client(base_url=faulty_server.url, timeout=10, trust_env=False) as http:

        def make() -> World:
            namespace = f"world-{next(_numbers)}"
            assert http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).status_code == 201
            made.append(World(faulty_server.url, http, namespace, START))
            return made[-1]

        yield make
        for world in made:
            await world.close()


@pytest.fixture
async def world(new_world: Callable[[], World]) -> World:
    """A fresh namespace with an operator."""
    return new_world()
