"""The whole platform on this machine."""

from __future__ import annotations

import json
import urllib.request

import pytest

from millrace_local.stack import LocalStack, processes
from millrace_local.stack.components import COMPONENTS


def ready(stack: LocalStack, service: str) -> bool:
    """Whether a service says through the mesh that it is ready."""
    request = urllib.request.Request(
        f"{stack.ingress_url}/health/ready", headers={"Host": f"{service}.millrace-system"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return bool(json.load(response)["ready"])


@pytest.mark.slow
def test_the_whole_platform_comes_up_and_heals(stack: LocalStack) -> None:
    assert tuple(stack.status().components) == COMPONENTS
    assert ready(stack, "millrace-gateway")
    assert ready(stack, "millrace-registry")
    for name in ("operator", "agent", "apiserver"):
        stack.kill(name)
    stack.wait_ready(120)
    assert ready(stack, "millrace-gateway")
    assert len(processes.marked(stack.paths.root)) > len(COMPONENTS) - 2
