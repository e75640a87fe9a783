"""A stack attached to a foreign cluster: an API server with controllers and without a node."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace_core.base.errors import RejectError, ReportError
from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.resources import DEFINITIONS, DEPLOYMENTS, LEASES, MODEL_DEPLOYMENTS, NODES, PODS, Object, Resource
from millrace_local.stack import LocalStack, attach, processes
from millrace_local.stack.launch import packaged_crds, packaged_third_party
from tests import api_server, warm_process
from tests.builders import model_deployment
from tests.e2e.kubectl import eventually
from tests.e2e.mesh import ServiceClient
from tests.onnx_models import write_linear


@dataclass
class Foreign:
    """A cluster that is not the stack's."""

    kubeconfig: Path

    def get(self, resource: Resource, name: str) -> Object:
        return self._request(lambda client: client.get(resource, "", name))

    def create(self, resource: Resource, namespace: str, item: Object) -> None:
        typed = {**item, "metadata": {**item["metadata"], "namespace": namespace}}
        self._request(lambda client: client.create(resource, typed))

    def list(self, resource: Resource, namespace: str = "") -> dict[str, Object]:
        items, _ = self._request(lambda client: client.list(resource, namespace))
        return {one["metadata"]["name"]: one for one in items}

    def apply(self, *paths: Path) -> None:
        asyncio.run(attach.apply(self.kubeconfig, paths))

    def _request(self, question: Callable[[Client], Awaitable[Any]]) -> Any:
        async def response() -> Any:
            async with Client(load(self.kubeconfig), field_manager="kubectl") as client:
                return await question(client)

        return asyncio.run(response())


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Foreign]:
    server = api_server.start(tmp_path / "cluster", kubeconfig=tmp_path / "their-kubeconfig")
    words = ["--kubeconfig", str(server.kubeconfig), "--root", str(tmp_path / "agent"), "--only", "controllers"]
    controllers = warm_process.start(("-m", "millrace_local.agent", *words), os.environ, tmp_path, tmp_path / "log")
    try:
        yield Foreign(server.kubeconfig)
    finally:
        controllers.send_signal(signal.SIGTERM)
        controllers.wait(60)
        server.stop()


@pytest.mark.slow
def test_an_attached_stack_serves_a_model_and_leaves_the_cluster_as_it_is(foreign: Foreign, tmp_path: Path) -> None:
    built = model_deployment("fraud", f"file://{write_linear(tmp_path / 'model.onnx')}").build()
    root = tmp_path / "stack"
    stack = LocalStack(root, ports="random", kubeconfig=foreign.kubeconfig, pod_cidr="127.201.0.0/16", detach=False)
    try:
        stack.up(120)
        assert stack.kubeconfig == LocalStack(root).kubeconfig == foreign.kubeconfig
        assert stack.api_url == load(foreign.kubeconfig).server
        assert "apiserver" not in stack.status().components
        assert not stack.paths.kubeconfig.exists()
        foreign.create(MODEL_DEPLOYMENTS, "default", built)
        service = ServiceClient(stack.ingress_url, "fraud", "default")
        eventually(lambda: service.infer().status_code == 200, 60)
        assert service.output() == 3.0
        assert all(pod["status"]["podIP"].startswith("127.201.") for pod in foreign.list(PODS, "default").values())
        assert list(foreign.list(NODES)) == ["millrace"]
        with pytest.raises(ReportError, match=rf"another stack is attached to this cluster already: .*:{root}"):
            LocalStack(tmp_path / "second", ports="random", kubeconfig=foreign.kubeconfig, detach=False).up(60)
        assert list(foreign.list(NODES)) == ["millrace"]
    finally:
        LocalStack(root).down()
    assert processes.marked(root) == []
    assert foreign.list(NODES) == foreign.list(LEASES, "kube-node-lease") == {}
    assert list(foreign.list(MODEL_DEPLOYMENTS)) == ["fraud"]
    assert foreign.list(DEPLOYMENTS, "millrace-system").keys() == {"millrace-registry", "millrace-gateway"}


def changed(path: Path, folder: Path, note: str) -> tuple[Path, Object]:
    """The first object of a YAML file with one more annotation, in a file of its own."""
    item: dict[str, Any] = next(iter(yaml.load_all(path.read_text(), yaml.CSafeLoader)))
    item["metadata"]["annotations"] = {**(item["metadata"].get("annotations") or {}), "note": note}
    file = folder / f"{note}.yaml"
    file.write_text(yaml.safe_dump(item))
    return file, item


def test_crds_are_brought_up_to_date_but_those_of_others_are_left_alone(foreign: Foreign, tmp_path: Path) -> None:
    ours, istio = packaged_crds() / "experiments.yaml", packaged_third_party() / "istio.yaml"
    for _ in range(2):
        foreign.apply(packaged_crds(), packaged_third_party())
    newer, mine = changed(ours, tmp_path, "newer")
    other, theirs = changed(istio, tmp_path, "other")
    foreign.apply(newer, other)
    updated = foreign.get(DEFINITIONS, mine["metadata"]["name"])
    kept = foreign.get(DEFINITIONS, theirs["metadata"]["name"])
    assert updated["metadata"]["annotations"]["note"] == "newer"
    assert "note" not in (kept["metadata"].get("annotations") or {})


def test_what_cannot_be_attached_to_is_said(foreign: Foreign, tmp_path: Path) -> None:
    with pytest.raises(RejectError, match=f"cannot read the kubeconfig {tmp_path}/none"):
        LocalStack(tmp_path / "a", ports="random", kubeconfig=tmp_path / "none").up(10)
    with pytest.raises(RejectError, match=r"--pod-cidr: the addresses of 192.0.2.0/24 are not this machine's"):
        LocalStack(tmp_path / "a", ports="random", kubeconfig=foreign.kubeconfig, pod_cidr="192.0.2.0/24").up(10)
    (tmp_path / "odd.yaml").write_text("{apiVersion: v1, kind: Pod, metadata: {name: p}}")
    with pytest.raises(RejectError, match=r"odd.yaml has a Pod"):
        foreign.apply(tmp_path / "odd.yaml")
    dead = tmp_path / "dead"
    dead.write_text(foreign.kubeconfig.read_text().replace(load(foreign.kubeconfig).server, "http://127.0.0.1:1"))
    with pytest.raises(ReportError, match=r"the supervisor ended with exit code 2: .*127.0.0.1:1"):
        LocalStack(tmp_path / "b", ports="random", kubeconfig=dead, detach=False).up(60)
