"""kubectl for the e2e tests: one process for each call that does something, and one for all that only look.

Tests look again and again until something is so. A process for each look took more of the machine than what was waited
for, so they look through ``kubectl proxy``, which logs in to any cluster as kubectl does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

POLL_SECONDS = 0.05


def program() -> str:
    """Where kubectl is; skips the test where it is not installed."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed")
    return found


class _Kind(NamedTuple):
    path: str
    plural: str
    namespaced: bool


class Proxy:
    """Reads objects of a cluster by the names of kinds that kubectl takes."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._kinds: dict[str, _Kind] = {}

    def close(self) -> None:
        self._http.close()

    def read(self, kind: str, namespace: str, name: str = "", selector: str = "") -> dict[str, Any]:
        """An object, or the list of all; what there is not fails the test."""
        found = self._kind(kind)
        within = f"/namespaces/{namespace}" if found.namespaced else ""
        path = f"{found.path}{within}/{found.plural}{f'/{name}' if name else ''}"
        return self._get(path, **({"labelSelector": selector} if selector else {}))

    def _kind(self, name: str) -> _Kind:
        if name not in self._kinds:
            paths = ["/api/v1"]
            paths += [f"/apis/{each['preferredVersion']['groupVersion']}" for each in self._get("/apis")["groups"]]
            for path in paths:
                answer = self._http.get(path)
                # A group may be served by somebody who is away, as kubectl takes it, too.
                for each in answer.json()["resources"] if answer.is_success else ():
                    if "/" not in each["name"]:
                        made = _Kind(path, each["name"], each["namespaced"])
                        for called in (each["name"], each.get("singularName"), *each.get("shortNames", ())):
                            self._kinds.setdefault(called or each["kind"].lower(), made)
        return self._kinds[name]

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        answer = self._http.get(path, params=query)
        if not answer.is_success:
            pytest.fail(f"GET {path}: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def proxy(kubeconfig: Path) -> Iterator[Proxy]:
    """One ``kubectl proxy``, which ends with the block."""
    command = [program(), "--kubeconfig", str(kubeconfig), "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said.startswith("Starting to serve on "), said
            made = Proxy(f"http://{said.split()[-1]}")
            yield made
            made.close()
        finally:
            process.terminate()


class Kubectl:
    """kubectl bound to one kubeconfig and one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str, looking: Proxy) -> None:
        self.namespace = namespace
        self.kubeconfig = kubeconfig
        self._program = program()
        self._looking = looking

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs kubectl; with ``check`` a failure fails the test with kubectl's own message."""
        finished = subprocess.run(
            [self._program, "--namespace", self.namespace, *arguments],
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
        return self._looking.read(kind, self.namespace, name)

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of one kind, by label selector."""
        found: list[dict[str, Any]] = self._looking.read(kind, self.namespace, selector=selector)["items"]
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
