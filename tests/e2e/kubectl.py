"""kubectl for the e2e tests: one process per call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

POLL_SECONDS = 0.1


class Kubectl:
    """kubectl bound to one kubeconfig and one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self.kubeconfig = kubeconfig
        self._program = shutil.which("kubectl")
        if self._program is None:
            pytest.skip("kubectl is not installed")

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs kubectl; with ``check`` a failure fails the test with kubectl's own message."""
        finished = subprocess.run(
            [str(self._program), "--namespace", self.namespace, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if check and finished.returncode:
            pytest.fail(f"kubectl {' '.join(arguments)}: {finished.stderr}{finished.stdout}")
        return finished

    def apply(self, *objects: dict[str, Any], check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("apply", "-f", "-", stdin=yaml.safe_dump_all(objects), check=check)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("get", kind, name, "-o", "json").stdout)
        return found

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of one kind, by label selector."""
        arguments = ["get", kind, "-o", "json", *(["-l", selector] if selector else [])]
        found: list[dict[str, Any]] = json.loads(self.run(*arguments).stdout)["items"]
        return found

    def condition(self, kind: str, name: str, condition: str) -> dict[str, Any]:
        """The status of a condition of an object; empty if it has none."""
        found = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((item for item in found if item["type"] == condition), {})

    def wait_ready(self, kind: str, name: str, seconds: int = 60) -> None:
        """Waits for the condition Ready."""
        finished = self.run("wait", f"{kind}/{name}", "--for=condition=Ready", f"--timeout={seconds}s", check=False)
        if finished.returncode:
            pytest.fail(f"{finished.stderr}\n{self.run('describe', kind, name).stdout}")


def eventually(check: Callable[[], Any], seconds: float = 90.0) -> Any:
    """The first truthy answer of ``check``; fails the test with the last answer otherwise."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        if time.monotonic() > deadline:
            pytest.fail(f"still {answer!r} after {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return answer
