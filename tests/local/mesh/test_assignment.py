"""Units keep their arm through the mesh although their clients name none: a real Envoy asks a real gateway."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from aiohttp import web

from millrace_core.experiments.assignment import bucket
from millrace_local.mesh import asking
from millrace_local.mesh.model import MeshObjects
from millrace_local.mesh.routes import virtual_host
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate
from millrace_operators.routing.desired import virtual_service
from millrace_operators.routing.state import HeaderRule, RouteTarget, Split
from tests.local.mesh import objects as o
from tests.local.mesh.conftest import Rig, started
from tests.local.mesh.test_envoy import HOST, two_arms
from tests.running_service import RunningService, StartService, starting
from tests.services.gateway import experiments
from tests.services.gateway.conftest import Store
from tests.told_registry import tell

SYSTEM = "millrace-system"
TARGETS = tuple(
    RouteTarget(name, f"uid-{name}", "2026-01-01T00:00:00Z", f"{name}-1", ready=True) for name in ("v1", "v2")
)
ARMS = {"champion": "v1", "v2": "v2"}
RULES = tuple(HeaderRule(f"arm-{arm}", "x-millrace-arm", arm, target) for arm, target in ARMS.items())
COUNTED = r"http\.ingress\.ext_authz\.assignment\."


def pod_of(unit: str) -> str:
    """By the experiment of ``running``, where v2 has a fifth."""
    return "b" if bucket("salt", unit) < 2000 else "a"


def route(unit_header: str = "x-user-id") -> dict[str, Any]:
    """As the operator writes it: ``v2`` gets a fifth."""
    split = Split("ab", "v1", {"v1": 80, "v2": 20}, RULES, ("v1", "v2"), unit_header=unit_header)
    return virtual_service("rec", "default", TARGETS, TARGETS[0], split, {"retries": {"attempts": 0}}, delegate=False)


async def with_gateway(rig: Rig, url: str) -> dict[str, list[Any]]:
    """Two arms behind ``route``, and the gateway at this URL; the objects."""
    return await at(rig, await two_arms(rig), url)


async def at(rig: Rig, objects: dict[str, list[Any]], url: str) -> dict[str, list[Any]]:
    """The gateway comes to this URL."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    addresses = o.endpoint_slice("millrace-gateway", {"g": parts.hostname}, port=parts.port, namespace=SYSTEM)
    found = {
        **objects,
        "services": [*objects["services"], o.service("millrace-gateway", namespace=SYSTEM)],
        "endpoint_slices": [*objects["endpoint_slices"], addresses],
    }
    await rig.apply(**found, virtual_services=[route()])
    return objects


class StandIn:
    """A gateway that keeps what it is asked, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.status = 200
        self.headers = {"x-millrace-arm": "v2"}
        self.hangs = False
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.status, headers=self.headers)


@asynccontextmanager
async def standing_in() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", stand_in.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.77.0.9", 0)
    await site.start()
    stand_in.url = f"http://127.77.0.9:{runner.addresses[0][1]}"
    try:
        yield stand_in
    finally:
        await runner.cleanup()


@pytest.fixture
async def gateway() -> AsyncIterator[StandIn]:
    async with standing_in() as stand_in:
        yield stand_in


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Rig]:
    """An Envoy that waits for the gateway however slow this machine is just now."""
    async with started(tmp_path, arm_seconds=60.0) as rig:
        yield rig


async def test_only_the_unit_and_its_service_are_told_and_only_the_arm_is_taken(patient: Rig, gateway: StandIn) -> None:
    await with_gateway(patient, gateway.url)
    gateway.headers |= {"x-evil": "1", "x-user-id": "other", "host": "evil", "set-cookie": "a=b"}
    sent = {"Authorization": "Bearer secret", "Cookie": "session=1", "x-millrace-unit": "forged"}
    status, said = await patient.get(HOST, "/predict?q=1", method="POST", **sent, **{"x-user-id": "u1"})
    assert status == 200, said
    assert (status, said["pod"], said["path"]) == (200, "b", "/predict")
    headers = {name.lower(): value for name, value in said["headers"].items()}
    assert (headers["x-millrace-arm"], headers["x-user-id"], headers["x-millrace-unit"]) == ("v2", "u1", "u1")
    assert "x-evil" not in headers
    [request] = gateway.asked
    assert (request.method, request.path_qs, request.host) == ("POST", "/assign/check", HOST)
    told = {name.lower(): value for name, value in request.headers.items()}
    assert told["x-millrace-service"] == "default/rec"
    assert told["x-millrace-unit"] == "u1"
    assert told["x-millrace-mesh"] == "of the mesh"
    assert not told.keys() & {"authorization", "cookie", "x-user-id"}


async def test_who_names_an_arm_or_no_unit_is_not_asked_about(patient: Rig, gateway: StandIn) -> None:
    await with_gateway(patient, gateway.url)
    assert await patient.pods(HOST, 16, x_user_id="u1", x_millrace_arm="champion") == {"a": 16}
    assert await patient.pods(HOST, 16, x_user_id="u1", x_millrace_arm="v2") == {"b": 16}
    for headers in (
        {"x_user_id": "u1", "x_millrace_arm": "nobody"},
        {"x_user_id": "u1", "x_millrace_arm": ""},
        {},
        {"x_user_id": ""},
    ):
        assert (await patient.pods(HOST, 160, **headers)).keys() == {"a", "b"}, headers
    assert (await patient.get(HOST, method="PROPFIND", x_user_id="u1"))[0] == 200
    assert gateway.asked == []


async def test_a_unit_is_told_whole_or_so_that_it_is_seen_to_be_too_long(patient: Rig, gateway: StandIn) -> None:
    await with_gateway(patient, gateway.url)
    for unit in ("\U0001f600" * 256, "\U0001f600" * 257, "u" * 4000):
        assert (await patient.get(HOST, x_user_id=unit))[0] == 200
    # Envoy writes ! for what is not UTF-8.
    told = [request.headers["x-millrace-unit"].encode("utf-8", "surrogateescape") for request in gateway.asked]
    assert told == ["\U0001f600".encode() * 256, "\U0001f600".encode() * 256 + b"!", b"u" * 1025]


async def test_nobody_is_asked_where_no_experiment_assigns_or_no_gateway_is_there(
    patient: Rig, gateway: StandIn
) -> None:
    objects = await with_gateway(patient, gateway.url)
    await patient.apply(**objects, virtual_services=[route()])
    assert (await patient.pods(HOST, 160, x_user_id="u1")).keys() == {"a", "b"}
    await at(patient, objects, gateway.url)
    objects["services"].append(o.service("millrace-gateway", namespace=SYSTEM))
    await patient.apply(**objects, virtual_services=[route(unit_header="")])
    assert (await patient.pods(HOST, 160, x_user_id="u1")).keys() == {"a", "b"}
    assert (gateway.asked, await patient.counter(COUNTED + ".*")) == ([], 0)


async def test_an_arm_that_no_rule_knows_and_a_gateway_that_fails_leave_the_request_to_the_weights(
    patient: Rig, gateway: StandIn
) -> None:
    await with_gateway(patient, gateway.url)
    gateway.headers = {"x-millrace-arm": "gone"}
    assert (await patient.pods(HOST, 160, x_user_id="u1")).keys() == {"a", "b"}
    assert await patient.counter(COUNTED + "ok") == 160
    gateway.status = 503
    assert (await patient.pods(HOST, 160, x_user_id="u1")).keys() == {"a", "b"}
    assert await patient.counter(COUNTED + "failure_mode_allowed") == 160


async def test_a_gateway_that_accepts_and_never_answers_fails_no_request_and_is_counted(
    tmp_path: Path, gateway: StandIn
) -> None:
    gateway.hangs = True
    async with started(tmp_path) as rig:
        await with_gateway(rig, gateway.url)
        assert (await rig.pods(HOST, 160, x_user_id="u1")).keys() == {"a", "b"}
        assert await rig.counter(COUNTED + "failure_mode_allowed") == 160
        assert await rig.counter(COUNTED + "ok") == 0


def test_a_rule_of_that_name_that_somebody_else_wrote_asks_nobody() -> None:
    services = [o.service("rec"), o.service("rec-arms"), o.service("millrace-gateway", namespace=SYSTEM)]
    own = route()
    del own["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    for written, asked in ((route(), True), (own, False)):
        mesh = translate(MeshObjects(services=tuple(services), virtual_services=(written,)))
        rules = [rule for host in mesh.hosts for rule in host.rules if rule.check]
        assert bool(rules) is asked
        assert bool(mesh.clusters.own) is asked


def test_the_rule_asks_behind_a_root_of_the_users_own() -> None:
    services = [o.service("rec"), o.service("rec-arms"), o.service("millrace-gateway", namespace=SYSTEM)]
    delegate = route()
    del delegate["spec"]["hosts"]
    root = o.virtual_service("shop", [{"delegate": {"name": "rec"}}], "shop.example")
    mesh = translate(MeshObjects(services=tuple(services), virtual_services=(root, delegate)))
    checks = {rule.check for host in mesh.hosts for rule in host.rules if rule.check}
    assert [(each.namespace, each.service, each.header) for each in checks] == [("default", "rec", "x-user-id")]


def test_what_the_docs_have_for_istio_is_what_the_laptop_mode_does() -> None:
    text = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text()
    found = yaml.safe_load(re.search(r"```yaml\n([^`]*kind: EnvoyFilter.*?)```", text, re.DOTALL)[1])  # type: ignore[index]
    *filters, routed = [patch["patch"]["value"] for patch in found["spec"]["configPatches"]]
    ours = copy.deepcopy(asking.http_filters(MeshSettings(Path())))
    service, theirs = (each[1]["typed_config"]["http_service"] for each in (ours, filters))
    assert service.pop("path_override") == theirs.pop("path_prefix")
    assert service.pop("server_uri")["timeout"] == theirs.pop("server_uri")["timeout"]
    assert filters == ours
    services = [o.service("recommendation", namespace="shop"), o.service("millrace-gateway", namespace=SYSTEM)]
    written = route()
    written["metadata"] |= {"namespace": "shop", "name": "recommendation"}
    written["metadata"]["labels"]["millrace.dev/service"] = "recommendation"
    written["spec"]["hosts"] = ["recommendation.shop.svc.cluster.local"]
    mesh = translate(MeshObjects(services=tuple(services), virtual_services=(written,)))
    [host] = [virtual_host(each, str) for each in mesh.hosts if each.name == "recommendation.shop.svc.cluster.local:80"]
    [configured] = {
        json.dumps(each["typed_per_filter_config"]) for each in host["routes"] if "typed_per_filter_config" in each
    }
    assert routed == {"typed_per_filter_config": json.loads(configured)}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    with starting(tmp_path_factory.mktemp("services")) as function:
        yield function


@pytest.fixture(scope="module")
def registry(start: StartService, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    """It knows the experiment of ``route``, which runs."""
    database = tmp_path_factory.mktemp("registry") / "registry.db"
    registry = start("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{database}")
    document = experiments.experiment("ab", weight=20)
    document["metadata"]["namespace"] = "default"
    document["spec"]["service"] = "rec"
    tell(registry.url, document)
    return registry


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    running = Store(tmp_path_factory.mktemp("store"))
    running.start()
    yield running
    running.stop()


def assigning(start: StartService, registry: RunningService, store: Store, folder: Path) -> RunningService:
    """A gateway that has found the experiment and opened its log."""
    gateway = start(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_EVIDENCE_LOG=str(folder / "log"),
        # As pods of the laptop mode have it: other hosts are known by the mesh's secret alone.
        MILLRACE_ALLOWED_HOSTS="127.0.0.1",
        MILLRACE_MESH_SECRET="of the mesh",
    )
    until = time.monotonic() + 60
    body = {"experiment": "default/ab", "unit": "nobody"}
    while httpx.post(f"{gateway.url}/assign", json=body).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    return gateway


@pytest.mark.slow
async def test_a_unit_has_the_arm_of_its_bucket_in_all_requests_and_over_a_restart_and_a_loss_of_the_gateway(
    patient: Rig, start: StartService, registry: RunningService, store: Store, tmp_path: Path
) -> None:
    units = [f"user-{number}" for number in range(120)]
    expected = {unit: pod_of(unit) for unit in units}
    assert set(expected.values()) == {"a", "b"}

    async def found() -> dict[str, Any]:
        async def of(unit: str) -> Any:
            return (await patient.get(HOST, x_user_id=unit))[1]["pod"]

        return {unit: await of(unit) for unit in units}

    gateway = assigning(start, registry, store, tmp_path)
    objects = await with_gateway(patient, gateway.url)
    assert await found() == expected
    for unit in (units[0], next(unit for unit in units if expected[unit] == "b")):
        assert await patient.pods(HOST, 96, x_user_id=unit) == {expected[unit]: 96}
    gateway.process.kill()
    gateway.process.wait(10)
    asked = await patient.counter(COUNTED + "failure_mode_allowed")
    lost: Counter[Any] = await patient.pods(HOST, 160, x_user_id=units[0])
    assert lost.keys() == {"a", "b"}
    assert await patient.counter(COUNTED + "failure_mode_allowed") - asked == 160
    again = assigning(start, registry, store, tmp_path)
    await at(patient, objects, again.url)
    assert await found() == expected
