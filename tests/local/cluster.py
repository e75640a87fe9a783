"""The real API server, and a node in this process, with or without controllers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.informer import Informers
from millrace_kube.resources import EVENTS, NAMESPACES, PODS, Resource
from millrace_kube.stopping import until
from millrace_local.agent.__main__ import NAME
from millrace_local.apiserver.process import RunningServer
from millrace_local.controllers.run import ControllerSettings
from millrace_local.controllers.run import run as run_controllers
from millrace_local.node.run import run as run_node
from millrace_local.node.settings import NodeSettings
from tests.api_server import start

Obj = dict[str, Any]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("apiserver")
    running = start(folder, kubeconfig=folder / "kubeconfig", pods=folder / "node" / "pods", faults=True)
    yield running
    running.stop()


@dataclass
class EmbeddedCluster:
    """A client for the test, one for the code under test, and a namespace of its own."""

    client: Client
    agent: Client
    namespace: str
    root: Path
    node: str
    more: Obj = field(default_factory=dict)

    @property
    def settings(self) -> NodeSettings:
        quick = {"restart_delay": 0.2, "retry": 0.1, "refresh": 0.3, "settle": 0.05}
        return NodeSettings(self.node, self.root, **{**quick, **self.more})

    @asynccontextmanager
    async def running(self, *, controllers: bool = False) -> AsyncIterator[None]:
        """Runs the node, and the controllers if wanted."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_node(self.agent, self.settings, stop))
            if controllers:
                informers = Informers(self.agent)
                tasks.create_task(until(stop, informers.run()))
                settings = ControllerSettings(job_backoff=0.1)
                tasks.create_task(run_controllers(self.agent, settings, stop, informers=informers))
            try:
                yield
            finally:
                stop.set()

    async def create(self, resource: Resource, name: str, **body: Any) -> Obj:
        metadata = {"name": name, "namespace": self.namespace, **body.pop("metadata", {})}
        return await self.client.create(resource, {"metadata": metadata, **body})

    async def pod(self, script: str = "true", name: str = "p", *, container: Obj | None = None, **spec: Any) -> Obj:
        """A pod of one container that runs a shell script, bound to the node."""
        main = {"name": "main", "image": "millrace/materialize:1", "command": ["sh", "-c", script], **(container or {})}
        body = {"nodeName": self.node, "restartPolicy": "Never", "containers": [main], **spec}
        return await self.create(PODS, name, spec=body)

    async def until(self, holds: Callable[[Obj], Any], name: str = "p", resource: Resource = PODS) -> Obj:
        """Waits until ``holds`` is true of the object; returns it."""
        obj: Obj = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    obj = await self.client.get(resource, self.namespace, name) or {}
                    if obj and holds(obj):
                        return obj
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"never came true; the last status was {obj.get('status')}") from None

    async def phase(self, phase: str, name: str = "p") -> Obj:
        """Waits until the pod is in this phase; returns it."""
        return await self.until(lambda pod: pod["status"].get("phase") == phase, name)

    async def until_gone(self, name: str = "p", resource: Resource = PODS) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                if await self.client.get(resource, self.namespace, name) is None:
                    return
                await asyncio.sleep(0.02)

    async def event(self, reason: str) -> Obj:
        """The first event of this reason in the namespace."""
        async with asyncio.timeout(PATIENCE):
            while True:
                events, _ = await self.client.list(EVENTS, self.namespace)
                if found := [event for event in events if event["reason"] == reason]:
                    return found[0]
                await asyncio.sleep(0.02)

    async def log(self, name: str = "p", query: str = "") -> str:
        """The pod's log, as kubectl gets it."""
        path = f"{self.client.connection.server}{PODS.path(self.namespace, name, 'log')}{query}"
        async with self.client._session.get(path, headers=self.client.connection.authorization()) as response:
            return await response.text()


@pytest.fixture
async def cluster(server: RunningServer) -> AsyncIterator[EmbeddedCluster]:
    connection = load(server.kubeconfig)
    test, agents = {"user_agent": "test", "field_manager": "test"}, {"user_agent": NAME, "field_manager": NAME}
    async with Client(connection, **test) as client, Client(connection, **agents) as agent:
        namespace = f"t-{uuid4().hex[:8]}"
        await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        yield EmbeddedCluster(client, agent, namespace, server.kubeconfig.parent / "node", f"node-{namespace}")
