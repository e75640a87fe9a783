"""The embedded mesh: how soon a route takes effect, and what Envoy adds to a request.

One Envoy and one backend, everything on one machine. Changes are measured with the objects of 200 model deployments.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from millrace_local.mesh import envoy, initial
from millrace_local.mesh.admin import EnvoyAdmin
from millrace_local.mesh.model import MeshObjects
from millrace_local.mesh.publisher import Publisher
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate
from millrace_local.stack.ports import free_ports
from tests.local.mesh import objects as o

SERVICES = 200
REQUESTS = 3_000
CHANGES = 50
EFFECT_LIMIT = 500.0  # milliseconds from a change of objects to Envoy's confirmation, debounce included
ADDED_LIMIT = 1.0  # milliseconds of median latency
TRANSLATION_LIMIT = 250.0  # milliseconds


def objects(port: int, weight: int) -> MeshObjects:
    """The objects of ``SERVICES`` services, each with two arms and a split."""
    names = [f"s{n}" for n in range(SERVICES)]
    arms = {"v1": {"arm": "v1"}, "v2": {"arm": "v2"}}
    pods = {"a": "127.78.0.1", "b": "127.78.0.1"}
    split = {
        name: [o.destination(f"{name}-arms", "v1", 100 - weight), o.destination(f"{name}-arms", "v2", weight)]
        for name in names
    }
    return MeshObjects(
        services=tuple(o.service(full) for name in names for full in (name, f"{name}-arms")),
        endpoint_slices=tuple(
            o.endpoint_slice(full, pods, port=port) for name in names for full in (name, f"{name}-arms")
        ),
        pods=(o.pod("a", arm="v1"), o.pod("b", arm="v2")),
        destination_rules=tuple(o.destination_rule(f"{name}-arms", arms) for name in names),
        virtual_services=tuple(o.virtual_service(name, [{"route": split[name]}]) for name in names),
    )


async def latency(session: aiohttp.ClientSession, url: str, host: str) -> float:
    """Median milliseconds of one request at a time."""
    seconds = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        async with session.get(url, headers={"Host": host}) as answer:
            await answer.read()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def show(what: str, figure: float, limit: float) -> bool:
    """Prints a figure beside its limit."""
    print(f"{what:<62} {figure:8.2f} ms   limit {limit:.0f} ms", flush=True)
    return figure <= limit


async def measure(folder: Path) -> bool:
    ports = free_ports()
    settings = MeshSettings(folder / "mesh", ingress_port=ports.ingress)
    initial.prepare(settings)
    app = web.Application()
    app.router.add_get("/", lambda _: asyncio.sleep(0, web.Response(text="x")))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.78.0.1", ports.api).start()
    process = subprocess.Popen(envoy.command(), cwd=settings.directory, stderr=subprocess.DEVNULL)
    try:
        async with EnvoyAdmin(settings.directory) as admin, aiohttp.ClientSession() as session:
            while not await admin.ready():
                await asyncio.sleep(0.02)
            publisher = Publisher(settings, admin)
            translations, effects = [], []
            for change in range(CHANGES):
                snapshot = objects(ports.api, change)
                began = time.perf_counter()
                mesh = translate(snapshot)
                translations.append((time.perf_counter() - began) * 1000)
                await publisher.publish(mesh)
                effects.append((time.perf_counter() - began) * 1000 + settings.debounce * 1000)
            direct = await latency(session, f"http://127.78.0.1:{ports.api}/", "x")
            routed = await latency(session, f"http://127.0.0.1:{ports.ingress}/", "s0.default")
    finally:
        process.terminate()
        process.wait()
        await runner.cleanup()
    good = show(f"a change among {SERVICES} services, translated", statistics.median(translations), TRANSLATION_LIMIT)
    good = (
        show("  the same, confirmed by Envoy (a whole file of all routes)", statistics.median(effects), EFFECT_LIMIT)
        and good
    )
    return show(f"added by the mesh to a request of {direct:.2f} ms", routed - direct, ADDED_LIMIT) and good


def main() -> int:
    """Returns 1 if a figure is above its limit."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        return 0 if asyncio.run(measure(Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
