"""Fixtures that the packages here share; each one's conftest imports what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import millrace_local.apiserver
from millrace_local.apiserver.process import RunningServer
from tests.api_server import start
from tests.operators.golden import CRDS
from tests.operators.harness import Api, start_server
from tests.operators.rights import granted


def start_faulty(data: Path) -> RunningServer:
    """A server with ``/faults`` and the real third-party CRDs where they are at hand."""
    own = Path(__file__).parents[2] / "crds"
    [package] = millrace_local.apiserver.__path__
    others = CRDS if CRDS.is_dir() else Path(package) / "thirdparty"
    return start(data, kubeconfig=data / "kubeconfig", crds=[own, others], faults=True)


@pytest.fixture(scope="session")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests here, on which the operator has the chart's rights."""
    running = start_faulty(tmp_path_factory.mktemp("operators"))
    with granted(running):
        yield running
    running.stop()


@pytest.fixture
def server(faulty_server: RunningServer) -> RunningServer:
    """The one server for all tests that leave no fault behind and keep to a namespace of their own."""
    return faulty_server


@pytest.fixture
def api(server: RunningServer) -> Iterator[Api]:
    """That server from outside."""
    seen = Api(server)
    yield seen
    seen.no_faults()
    seen.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of the test's own."""
    running = start_server(tmp_path)
    with granted(running):
        yield running
    running.stop()
