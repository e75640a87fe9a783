"""The loop against the embedded API server: Envoy does what is applied there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.resources import ENDPOINT_SLICES, EVENTS, PODS, SERVICES, Resource
from millrace_local.mesh.run import DESTINATION_RULES, HTTP_ROUTES, VIRTUAL_SERVICES, run
from tests.api_server import start
from tests.local.mesh import objects as o
from tests.local.mesh.conftest import Rig

PACKAGE = Path(__file__).parents[3] / "local" / "millrace_local"
REAL_CRDS = Path(__file__).parents[4] / "shared" / "crds"
CRDS = [PACKAGE / "apiserver" / "thirdparty", *([REAL_CRDS] if REAL_CRDS.is_dir() else [])]


@asynccontextmanager
async def following(rig: Rig, folder: Path, crds: Path) -> AsyncIterator[Client]:
    """The mesh's loop with the rig's Envoy, and a client of the API server that it follows."""
    server = await asyncio.to_thread(start, folder / "api", kubeconfig=folder / "kubeconfig", crds=[crds])
    stop = asyncio.Event()
    try:
        async with Client(load(server.kubeconfig)) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(run(client, rig.settings, stop))
            try:
                yield client
            finally:
                stop.set()
    finally:
        server.stop()


async def create(client: Client, resource: Resource, item: dict[str, Any]) -> None:
    labels = item["metadata"].get("labels") or {}
    metadata = {"name": item["metadata"]["name"], "namespace": "default", "labels": labels}
    await client.create(resource, {**item, "metadata": metadata})


async def until_pod(rig: Rig, host: str, pod: str | int, **headers: str) -> None:
    async with asyncio.timeout(20):
        while True:
            status, said = await rig.get(host, **headers)
            if pod == (said["pod"] if status == 200 else status):
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("crds", CRDS, ids=lambda path: path.name)
async def test_services_and_routes_that_are_applied_take_effect(rig: Rig, tmp_path: Path, crds: Path) -> None:
    port = rig.backends.port
    for address, name in (("127.77.1.1", "a"), ("127.77.1.2", "b")):
        await rig.backends.start(address, name)
    async with following(rig, tmp_path, crds) as client:
        for name, arm in (("a", "v1"), ("b", "v2")):
            spec = {"containers": [{"name": "c", "image": "i"}]}
            await create(client, PODS, {**o.pod(name, arm=arm), "spec": spec})
        await create(client, SERVICES, o.service("rec"))
        pods = {"a": "127.77.1.1", "b": "127.77.1.2"}
        await create(client, ENDPOINT_SLICES, o.endpoint_slice("rec", pods, port=port, unready=["b"]))
        await until_pod(rig, "rec.default", "a")
        await create(client, DESTINATION_RULES, o.destination_rule("rec", {"v1": {"arm": "v1"}, "v2": {"arm": "v2"}}))
        await create(client, VIRTUAL_SERVICES, o.virtual_service("rec", [{"route": [o.destination("rec", "v2")]}]))
        await until_pod(rig, "rec.default", 503)
        ready = o.endpoint_slice("rec", pods, port=port)["endpoints"]
        await client.patch(ENDPOINT_SLICES, "default", "rec-x", {"endpoints": ready})
        await until_pod(rig, "rec.default", "b")
        rules = [{"backendRefs": [{"name": "rec", "port": 80}]}]
        await create(client, HTTP_ROUTES, o.http_route("shop", rules, "shop.default.svc"))
        await until_pod(rig, "shop.default.svc", "a")
        await client.delete(VIRTUAL_SERVICES, "default", "rec")
        await client.delete(HTTP_ROUTES, "default", "shop")
        await until_pod(rig, "shop.default.svc", 404)
        await until_pod(rig, "rec.default", "a")


async def test_what_a_route_cannot_do_is_an_event_on_it(rig: Rig, tmp_path: Path) -> None:
    async with following(rig, tmp_path, CRDS[0]) as client:
        await create(client, SERVICES, o.service("rec"))
        route = {"route": [o.destination("rec", "v9")]}
        await create(client, VIRTUAL_SERVICES, o.virtual_service("rec", [route]))
        async with asyncio.timeout(20):
            while not (events := (await client.list(EVENTS, "default"))[0]):
                await asyncio.sleep(0.05)
        assert events[0]["involvedObject"]["name"] == "rec"
        assert (events[0]["type"], events[0]["reason"]) == ("Warning", "NotRouted")
        assert "has a subset 'v9'" in events[0]["message"]


async def test_the_mesh_goes_on_when_the_api_server_comes_back(rig: Rig, tmp_path: Path) -> None:
    await rig.backends.start("127.77.1.1", "a")
    server = await asyncio.to_thread(start, tmp_path / "api", kubeconfig=tmp_path / "kubeconfig", crds=[CRDS[0]])
    number = int(server.url.rpartition(":")[2])
    stop = asyncio.Event()
    try:
        async with Client(load(server.kubeconfig)) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(run(client, rig.settings, stop))
            try:
                await create(client, SERVICES, o.service("rec"))
                slices = o.endpoint_slice("rec", {"a": "127.77.1.1"}, port=rig.backends.port)
                await create(client, ENDPOINT_SLICES, slices)
                await until_pod(rig, "rec.default", "a")
                server.kill()
                assert (await rig.get("rec.default"))[1]["pod"] == "a"
                server = await asyncio.to_thread(
                    start, tmp_path / "api", port=number, kubeconfig=tmp_path / "kubeconfig", crds=[CRDS[0]]
                )
                await client.delete(ENDPOINT_SLICES, "default", "rec-x")
                await until_pod(rig, "rec.default", 503)
            finally:
                stop.set()
    finally:
        server.stop()
