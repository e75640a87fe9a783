"""Applies YAML and waits: by kubectl if it is installed, otherwise by the official Python client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from millrace_core.api.group import API_VERSION
from millrace_core.base import yaml_text
from millrace_core.base.errors import ReportError

INSTALL_KUBECTL = (
    "kubectl is not installed; install it (https://kubernetes.io/docs/tasks/tools/) to look around afterwards. "
    "Going on with the Python client."
)
POLL_SECONDS = 0.2


class Applier:
    """Applies files and waits for conditions in the namespace ``default`` of one kubeconfig."""

    def __init__(self, kubeconfig: Path, say: Callable[[str], None]) -> None:
        self._kubeconfig = kubeconfig
        self._say = say
        self._kubectl = shutil.which("kubectl")
        if self._kubectl is None:
            say(INSTALL_KUBECTL)

    def apply(self, path: Path) -> None:
        """Applies every object of a YAML file.

        Raises:
            ReportError: the API server refused an object; has its message.
        """
        if self._kubectl:
            self._say(self._run("apply", "-f", str(path)))
            return
        client = _dynamic_client(self._kubeconfig)
        for document in yaml_text.values(path.read_text(encoding="utf-8")):
            resource = client.resources.get(api_version=document["apiVersion"], kind=document["kind"])
            client.server_side_apply(
                resource, body=document, namespace="default", field_manager="demo", force_conflicts=True
            )
            self._say(f"{document['kind'].lower()}/{document['metadata']['name']} applied")

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """The status of an object of Millrace's; empty where there is none.

        Raises:
            ReportError: the API server does not answer.
        """
        if self._kubectl:
            text = self._run("get", kind, name, "--ignore-not-found", "--output=json")
            found = json.loads(text) if text else {}
        else:
            client = _dynamic_client(self._kubeconfig)
            resource = client.resources.get(api_version=API_VERSION, singular_name=kind)
            [*listed] = resource.get(namespace="default", field_selector=f"metadata.name={name}").to_dict()["items"]
            found = listed[0] if listed else {}
        return found.get("status") or {}

    def wait_ready(self, kind: str, names: list[str], timeout: float) -> None:
        """Waits until every named object has the condition Ready.

        Raises:
            ReportError: one is not ready in ``timeout`` seconds; names it and its status.
        """
        if self._kubectl:
            objects = [f"{kind}/{name}" for name in names]
            self._say(self._run("wait", "--for=condition=Ready", f"--timeout={timeout:.0f}s", *objects))
            return
        client = _dynamic_client(self._kubeconfig)
        resource = client.resources.get(api_version=API_VERSION, singular_name=kind)
        deadline = time.monotonic() + timeout
        for name in names:
            while not _is_ready(found := resource.get(name=name, namespace="default").to_dict()):
                if time.monotonic() > deadline:
                    raise ReportError(f"{kind}/{name} is not Ready after {timeout:.0f}s: {found.get('status')}")
                time.sleep(POLL_SECONDS)
            self._say(f"{kind}/{name} condition met")

    def _run(self, *arguments: str) -> str:
        finished = subprocess.run(
            ["kubectl", *arguments],
            env={**os.environ, "KUBECONFIG": str(self._kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise ReportError(f"kubectl {' '.join(arguments)} failed: {finished.stderr.strip()}")
        return finished.stdout.strip()


def _is_ready(found: dict[str, Any]) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _dynamic_client(kubeconfig: Path) -> Any:
    kubernetes: Any = import_module("kubernetes")  # slow to import, needed only where kubectl is missing
    dynamic: Any = import_module("kubernetes.dynamic")
    return dynamic.DynamicClient(kubernetes.config.new_client_from_config(config_file=str(kubeconfig)))
