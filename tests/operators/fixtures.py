"""Fixtures that the packages here share; each one's conftest imports what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace_local.apiserver.process import RunningServer
from tests.operators.harness import Api, start_server


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
    yield running
    running.stop()
