"""kopf, unchanged: peering, handlers, finalizers, status and events."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_local.apiserver.process import RunningServer

pytestmark = pytest.mark.slow

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = {"content-type": "application/merge-patch+json"}
OPEN = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}


def definition(group: str, kind: str, plural: str, *, status: bool) -> dict[str, Any]:
    """A CRD that takes any object."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": OPEN,
        **({"subresources": {"status": {}}} if status else {}),
    }
    names = {"kind": kind, "plural": plural}
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture
def widgets(server: RunningServer, http: httpx.Client, namespace: str, tmp_path: Path) -> Iterator[str]:
    """The path of the widgets that a running operator looks after."""
    http.post(CRDS, json=definition("kopf.example.dev", "Widget", "widgets", status=True)).raise_for_status()
    http.post(CRDS, json=definition("kopf.dev", "KopfPeering", "kopfpeerings", status=False)).raise_for_status()
    peerings = f"/apis/kopf.dev/v1/namespaces/{namespace}/kopfpeerings"
    http.post(peerings, json={"metadata": {"name": "default"}}).raise_for_status()
    log = (tmp_path / "operator.log").open("wb")
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    operator = Path(__file__).with_name("kopf_operator.py")
    command = [sys.executable, "-m", "kopf", "run", "-n", namespace, "--peering=default", str(operator)]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    yield f"/apis/kopf.example.dev/v1/namespaces/{namespace}/widgets"
    process.terminate()
    process.wait(20)
    log.close()
    http.delete(f"{CRDS}/widgets.kopf.example.dev")


def test_an_operator_does_its_whole_work(
    widgets: str, http: httpx.Client, namespace: str, eventually: Callable[..., Any]
) -> None:
    http.post(widgets, json={"metadata": {"name": "w"}, "spec": {"size": 1}}).raise_for_status()

    def status() -> Any:
        return http.get(f"{widgets}/w").json().get("status") or {}

    eventually(lambda: status().get("create") == {"said": "hello"}, 30)
    assert http.get(f"{widgets}/w").json()["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
    peering = http.get(f"/apis/kopf.dev/v1/namespaces/{namespace}/kopfpeerings/default").json()
    assert len(peering["status"]) == 1
    http.patch(f"{widgets}/w", json={"spec": {"size": 5}}, headers=MERGE).raise_for_status()
    eventually(lambda: status().get("size") == 5)
    http.delete(f"{widgets}/w").raise_for_status()
    eventually(lambda: http.get(f"{widgets}/w").status_code == 404)

    def reasons() -> set[str]:
        items = http.get(f"/api/v1/namespaces/{namespace}/events").json()["items"]
        return {item["reason"] for item in items}

    eventually(lambda: {"Made", "Unmade"} <= reasons())
