"""``kubectl rollout``, ``wait`` and ``scale`` against the controllers."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from millrace_kube.resources import DEPLOYMENTS
from millrace_local.apiserver.process import RunningServer
from tests.local.cluster import EmbeddedCluster

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


async def kubectl(server: RunningServer, cluster: EmbeddedCluster, *words: str) -> str:
    command = ["kubectl", "--kubeconfig", str(server.kubeconfig), "--namespace", cluster.namespace, *words]
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-2)
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_kubectl_rolls_out_restarts_and_goes_back(cluster: EmbeddedCluster, server: RunningServer) -> None:
    container = {"name": "main", "image": "millrace/materialize:1", "command": ["sleep", "1000"]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    async with cluster.running(controllers=True):
        await cluster.create(DEPLOYMENTS, "web", spec=spec)
        assert "successfully rolled out" in await kubectl(server, cluster, "rollout", "status", "deploy/web")
        await kubectl(server, cluster, "set", "image", "deploy/web", "main=millrace/materialize:2")
        await kubectl(server, cluster, "rollout", "status", "deploy/web")
        await kubectl(server, cluster, "rollout", "restart", "deploy/web")
        await kubectl(server, cluster, "rollout", "status", "deploy/web")
        history = await kubectl(server, cluster, "rollout", "history", "deploy/web")
        assert [line.split()[0] for line in history.splitlines()[2:5]] == ["1", "2", "3"]
        await kubectl(server, cluster, "rollout", "undo", "deploy/web", "--to-revision=1")
        await kubectl(server, cluster, "rollout", "status", "deploy/web")
        images = await kubectl(server, cluster, "get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
        assert "millrace/materialize:1" in images
        await kubectl(server, cluster, "scale", "deploy/web", "--replicas=0")
        await kubectl(server, cluster, "wait", "deploy/web", "--for=jsonpath={.spec.replicas}=0", "--timeout=30s")
        said = await kubectl(server, cluster, "describe", "deploy", "web")
        assert "Scaled down replica set" in said
