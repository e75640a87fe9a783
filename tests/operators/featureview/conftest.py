"""The fixtures of this package."""

from collections.abc import AsyncIterator

import pytest

from millrace_kube import connection
from millrace_kube.client import Client
from millrace_kube.resources import NAMESPACES
from millrace_local.apiserver.process import RunningServer
from tests.operators.featureview.life import PLATFORM
from tests.operators.featureview.world import World, Worlds
from tests.operators.fixtures import api, fresh, server
from tests.operators.harness import Api

__all__ = ["api", "fresh", "server"]


@pytest.fixture
async def worlds(server: RunningServer, api: Api) -> AsyncIterator[Worlds]:
    made: list[World] = []
    found = await connection.connect({"KUBECONFIG": str(server.kubeconfig)})
    if api.get(NAMESPACES, "", PLATFORM.namespace) is None:
        api.create(NAMESPACES, {"metadata": {"name": PLATFORM.namespace}})
    async with Client(found) as client:

        def make(kill_at: int = 0) -> World:
            for world in made:
                api.delete(NAMESPACES, "", world.namespace)
            made[:] = [World(api, client, kill_at)]
            return made[0]

        yield make
