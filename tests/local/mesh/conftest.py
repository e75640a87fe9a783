"""A real Envoy, real backends, and the publisher between objects and both."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from millrace_local.mesh import envoy, initial
from millrace_local.mesh.admin import EnvoyAdmin
from millrace_local.mesh.model import MeshObjects, RouteProblem
from millrace_local.mesh.publisher import Publisher
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate

BACKEND_PORT = 8080


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Backends:
    """HTTP servers that respond with their name and the request."""

    port: int
    requests: Counter[str] = field(default_factory=Counter)
    runners: dict[str, web.AppRunner] = field(default_factory=dict)

    async def start(self, address: str, name: str) -> None:
        async def response(request: web.Request) -> web.Response:
            body = await request.read()
            self.requests[name] += 1
            if "sleep" in request.query:
                await asyncio.sleep(float(request.query["sleep"]))
            status = int(request.query.get("status", "200"))
            said = {"pod": name, "host": request.host, "path": request.path, "headers": dict(request.headers)}
            return web.json_response({**said, "body": body.decode()}, status=status)

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", response)
        self.runners[name] = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await self.runners[name].setup()
        await web.TCPSite(self.runners[name], address, self.port).start()

    async def stop(self, name: str) -> None:
        await self.runners.pop(name).cleanup()


@dataclass
class Rig:
    """Envoy with a publisher; ``apply`` publishes objects."""

    settings: MeshSettings
    admin: EnvoyAdmin
    publisher: Publisher
    backends: Backends
    session: aiohttp.ClientSession
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.settings.ingress_host}:{self.settings.ingress_port}"

    async def apply(self, **objects: Any) -> tuple[RouteProblem, ...]:
        mesh = translate(MeshObjects(**{name: tuple(items) for name, items in objects.items()}))
        return (*mesh.problems, *await self.publisher.publish(mesh))

    async def get(self, host: str, path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, Any]:
        """Status and JSON of one request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, headers={"Host": host, **named}) as response:
            text = await response.text()
            return response.status, await response.json(content_type=None) if text.startswith("{") else text

    async def counter(self, pattern: str) -> int:
        """The sum of Envoy's counters that a regular expression names."""
        lines = (await self.admin._get(f"/stats?filter=^{pattern}$")).splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.005)

    async def pods(self, host: str, requests: int, **headers: str) -> Counter[Any]:
        """Which pod answered how many of ``requests``; a failed request counts under its status."""
        found: Counter[Any] = Counter()

        async def some(count: int) -> None:
            for _ in range(count):
                status, said = await self.get(host, **headers)
                found[said["pod"] if status == 200 else status] += 1

        await asyncio.gather(*(some(requests // 8) for _ in range(8)))
        return found


@asynccontextmanager
async def started(folder: Path, **given: Any) -> AsyncIterator[Rig]:
    """An Envoy with these of its settings."""
    # Longer than a socket's name may be, to prove that the root folder's depth does not matter.
    directory = folder / ("deep" * 30) / "mesh"
    settings = MeshSettings(directory, ingress_port=free_port(), secret="of the mesh", head_seconds=1.0, **given)
    initial.prepare(settings)
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(envoy.command(), cwd=settings.directory, stdout=log, stderr=log)
    backends = Backends(free_port())
    try:
        async with EnvoyAdmin(settings.directory) as admin, aiohttp.ClientSession() as session:
            async with asyncio.timeout(60):
                while not await admin.ready():
                    await asyncio.sleep(0.02)
            rig = Rig(settings, admin, Publisher(settings, admin), backends, session, process)
            yield rig
            process = rig.process
    finally:
        process.terminate()
        process.wait(60)
        for name in list(backends.runners):
            await backends.stop(name)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with started(tmp_path) as rig:
        yield rig
