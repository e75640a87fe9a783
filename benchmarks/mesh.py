"""The embedded mesh: how soon a route takes effect, and what Envoy adds to a request.

Everything is on one machine: client, Envoy and backend are processes of their own, as on a laptop. Changes are measured
with the objects of 200 model deployments. What a request costs is measured in rounds beside the backend without a mesh,
and beside an Envoy that has one route and no filter but the router: its processor time can be compared on a busy
machine, while the time that a request takes is mostly that of waking one process after the other.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import beside, machine
from benchmarks.http_load import LoadSample, free_port, load, median, server, summary
from millrace_local.mesh import envoy, initial
from millrace_local.mesh.admin import EnvoyAdmin
from millrace_local.mesh.model import MeshObjects
from millrace_local.mesh.publisher import Publisher
from millrace_local.mesh.routes import TYPE
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate
from tests.local.mesh import objects as o

SERVICES = 200
ROUNDS = 9
SECONDS = 1.0  # of each contender in each round
CHANGES = 50
POD = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nhost: s0.default\r\n\r\n"
EFFECT_LIMIT = 500.0  # milliseconds from a change of objects to Envoy's confirmation, debounce included
ADDED_LIMIT = 1.0  # milliseconds of median latency
BARE_LIMIT = 1.3  # times the processor time of a bare Envoy
TRANSLATION_LIMIT = 250.0  # milliseconds


def objects(port: int, weight: int) -> MeshObjects:
    """The objects of ``SERVICES`` services, each with two arms and a split."""
    names = [f"s{n}" for n in range(SERVICES)]
    arms = {"v1": {"arm": "v1"}, "v2": {"arm": "v2"}}
    pods = {"a": POD, "b": POD}
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


def bare(port: int, backend: int) -> dict[str, Any]:
    """The bootstrap of an Envoy that sends every request to the backend, and does nothing else with it."""

    def address(number: int) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": POD, "port_value": number}}}

    http = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend"}}
    manager = {
        "@type": f"{TYPE}.{http}",
        "stat_prefix": "ingress",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "ingress", "filter_chains": [{"filters": filters}], **address(port)}
    endpoints = {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [{"endpoint": address(backend)}]}]}
    cluster = {"name": "backend", "connect_timeout": "1s", "load_assignment": endpoints}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def envoy_in(folder: Path) -> Iterator[int]:
    """An Envoy with the bootstrap in the folder; yields its process id."""
    process = subprocess.Popen(envoy.command(), cwd=folder, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def changes(settings: MeshSettings, backend: int) -> tuple[float, float]:
    """Median milliseconds of a translation, and of a change until Envoy has confirmed it."""
    translations, effects = [], []
    async with EnvoyAdmin(settings.directory) as admin:
        while not await admin.ready():
            await asyncio.sleep(0.02)
        publisher = Publisher(settings, admin)
        for change in range(CHANGES):
            snapshot = objects(backend, change)
            began = time.perf_counter()
            mesh = translate(snapshot)
            translations.append((time.perf_counter() - began) * 1000)
            await publisher.publish(mesh)
            effects.append((time.perf_counter() - began) * 1000 + settings.debounce * 1000)
    return statistics.median(translations), statistics.median(effects)


def wait_for(port: int, pid: int) -> None:
    """Waits until a request is answered."""
    for _ in range(100):
        try:
            load(port, pid, REQUEST, 1, 0.0)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nothing answers on port {port}")


def show_requests(contenders: dict[str, tuple[int, int]]) -> bool:
    """Loads each in turns, and prints what the mesh adds; ``contenders`` are ports and process ids."""
    samples: dict[str, list[LoadSample]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (port, pid) in contenders.items():
            samples[name].append(load(port, pid, REQUEST, 1, SECONDS))
    for name, taken in samples.items():
        print(f"  {name:<12} {summary(median(taken))}")

    def of_rounds(figure: str, one: str, other: str) -> list[tuple[float, float]]:
        pairs = zip(samples[one], samples[other], strict=True)
        return [(getattr(a, figure), getattr(b, figure)) for a, b in pairs]

    added = statistics.median(a - b for a, b in of_rounds("p50", "mesh", "backend"))
    hop = statistics.median(a - b for a, b in of_rounds("p50", "bare Envoy", "backend"))
    times = statistics.median(a / b for a, b in of_rounds("cpu", "mesh", "bare Envoy"))
    good, near = added <= ADDED_LIMIT, times <= BARE_LIMIT
    print("added by the mesh to a request:", beside(f"{added:.2f} ms", f"{ADDED_LIMIT:g} ms", met=good))
    print(f"  (by the bare Envoy {hop:.2f} ms)")
    print("its processor time, times the bare Envoy's:", beside(f"{times:.2f}", f"{BARE_LIMIT:g}", met=near))
    return good and near


def measure(folder: Path) -> bool:
    print(machine(), flush=True)
    backend, plain = free_port(), folder / "bare"
    settings = MeshSettings(folder / "mesh", ingress_port=free_port(), secret="a secret of the pods")
    initial.prepare(settings)
    plain.mkdir()
    bare_port = free_port()
    (plain / envoy.BOOTSTRAP_FILE).write_text(json.dumps(bare(bare_port, backend)))
    echo = [str(Path(__file__).with_name("handwritten_echo.py")), str(backend)]
    with server(echo, backend, "/") as pid, envoy_in(settings.directory) as mesh, envoy_in(plain) as other:
        translated, confirmed = asyncio.run(changes(settings, backend))
        wait_for(bare_port, other)
        contenders = {
            "backend": (backend, pid),
            "mesh": (settings.ingress_port, mesh),
            "bare Envoy": (bare_port, other),
        }
        good = translated <= TRANSLATION_LIMIT, confirmed <= EFFECT_LIMIT
        shown = beside(f"{translated:.0f} ms", f"{TRANSLATION_LIMIT:g} ms", met=good[0])
        print(f"a change among {SERVICES} services, translated:", shown)
        shown = beside(f"{confirmed:.0f} ms", f"{EFFECT_LIMIT:g} ms", met=good[1])
        print("  the same, confirmed by Envoy (a whole file of all routes):", shown, flush=True)
        return show_requests(contenders) and all(good)


def main() -> int:
    """Returns 1 if a figure is above its limit."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        return 0 if measure(Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
