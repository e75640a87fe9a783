"""The whole platform, once for all tests here, which one worker runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millrace_local.stack import LocalStack, processes


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """It runs; at the end nothing of it is left that had to be killed."""
    root = tmp_path_factory.mktemp("whole") / "stack"
    running = LocalStack(root, ports="random", detach=False)
    try:
        running.up(120)
        yield running
    finally:
        killed = running.down()
    assert killed == []
    assert processes.marked(root) == []
