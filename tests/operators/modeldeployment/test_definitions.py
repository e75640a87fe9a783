"""CRDs of Istio, KEDA and the Prometheus operator that go and come while the operator runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from millrace_kube import resources as r
from millrace_kube.client import Client
from millrace_kube.resources import Object, Resource
from millrace_local.apiserver import thirdparty
from millrace_local.apiserver.process import RunningServer
from tests import builders
from tests.api_client import client_of
from tests.operators.experiment.test_watching import running
from tests.operators.fixtures import fresh
from tests.operators.harness import Api, eventually
from tests.operators.world import START, World

pytestmark = pytest.mark.slow

__all__ = ["fresh"]

# Of each a child of the deployment ``m`` or of its service.
CHILDREN = {
    r.SCALED_OBJECTS: "m",
    r.SERVICE_MONITORS: "m",
    r.VIRTUAL_SERVICES: "m",
    r.DESTINATION_RULES: "m",
}


@pytest.fixture
async def world(fresh: RunningServer) -> AsyncIterator[World]:
    async with Client(fresh.connection) as client:
        with client_of(fresh) as http:
            assert http.post("/api/v1/namespaces", json={"metadata": {"name": "world-1"}}).status_code == 201
            yield World(client, http, "world-1", START)


def definitions() -> dict[str, Object]:
    found = {}
    for path in Path(thirdparty.__path__[0]).glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            found[document["metadata"]["name"]] = document
    return found


def crd(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}"


def there(world: World, resource: Resource) -> Object | None:
    return world.get(resource, CHILDREN[resource])


async def test_third_party_crds_go_and_come_and_their_objects_with_them(fresh: RunningServer, world: World) -> None:
    api = Api(fresh)
    document = builders.model_deployment("m", "file:///m/m.onnx").having("spec.scaling", {"min": 1, "max": 3})
    requests = {"cpu": "100m", "memory": "128Mi"}
    world.apply(document.having("spec.resources", {"requests": requests}).build())
    async with running(fresh, world):
        await eventually(lambda: all(there(world, resource) for resource in CHILDREN), 60)
        for resource in CHILDREN:
            await asyncio.to_thread(api.delete, r.DEFINITIONS, "", crd(resource))
        await eventually(lambda: not any(api.get(r.DEFINITIONS, "", crd(item)) for item in CHILDREN), 60)
        await eventually(lambda: world.get(r.HORIZONTAL_POD_AUTOSCALERS, "m"), 60)
        for resource in CHILDREN:
            api.create(r.DEFINITIONS, definitions()[crd(resource)])
        await eventually(lambda: all(there(world, resource) for resource in CHILDREN), 60)
        await eventually(lambda: world.get(r.HORIZONTAL_POD_AUTOSCALERS, "m") is None, 60)
        api.merge(r.SCALED_OBJECTS, world.namespace, "m", {"spec": {"maxReplicaCount": 99}})
        await eventually(lambda: (there(world, r.SCALED_OBJECTS) or {})["spec"]["maxReplicaCount"] == 3, 60)
        for resource, name in CHILDREN.items():
            api.delete(resource, world.namespace, name)
            await eventually(lambda resource=resource: there(world, resource), 60)
        assert world.status(r.MODEL_DEPLOYMENTS, "m")["champion"] is True
    api.close()
