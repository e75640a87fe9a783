"""What clients of the mesh see, through a real Envoy."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from math import sqrt
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from millrace_local.mesh import envoy, istio
from millrace_local.mesh.admin import CLUSTERS_STAT, EnvoyAdmin
from millrace_local.mesh.bootstrap import bootstrap
from millrace_local.mesh.settings import MeshSettings, connections_within
from tests.local.mesh import objects as o
from tests.local.mesh.conftest import Rig, started

ARMS = {"v1": {"arm": "v1"}, "v2": {"arm": "v2"}}
HOST = "rec.default.svc.cluster.local"


async def test_before_the_first_routes_nothing_is_said_not_to_exist(rig: Rig) -> None:
    status, said = await rig.get(HOST)
    assert (status, said) == (503, {"error": "the mesh has no routes yet; try again in a second"})
    await rig.apply(services=[])
    assert (await rig.get(HOST))[0] == 404


async def test_envoy_has_nothing_to_warn_of_at_its_start(rig: Rig, tmp_path: Path) -> None:
    assert (await rig.get(HOST))[0] == 503
    assert (tmp_path / "envoy.log").read_text() == ""


async def two_arms(rig: Rig) -> dict[str, list[Any]]:
    """Service ``rec`` with the champion's pod, ``rec-arms`` with both, and their subsets."""
    await rig.backends.start("127.77.0.1", "a")
    await rig.backends.start("127.77.0.2", "b")
    port = rig.backends.port
    return {
        "services": [o.service("rec"), o.service("rec-arms")],
        "endpoint_slices": [
            o.endpoint_slice("rec", {"a": "127.77.0.1"}, port=port),
            o.endpoint_slice("rec-arms", {"a": "127.77.0.1", "b": "127.77.0.2"}, port=port),
        ],
        "pods": [o.pod("a", arm="v1"), o.pod("b", arm="v2")],
        "destination_rules": [o.destination_rule("rec-arms.default.svc.cluster.local", ARMS)],
    }


def split(challenger: int) -> dict[str, Any]:
    route = [o.destination("rec-arms", "v1", 100 - challenger), o.destination("rec-arms", "v2", challenger)]
    return {"route": route, "retries": {"attempts": 0}}


async def test_a_service_is_reached_by_every_spelling_of_its_name(rig: Rig) -> None:
    objects = await two_arms(rig)
    await rig.apply(**objects)
    for host in (HOST, "rec.default.svc", "rec.default", "REC.default"):
        for port in ("", ":80", f":{rig.settings.ingress_port}"):
            status, said = await rig.get(host + port)
            assert (status, said["pod"]) == (200, "a"), host + port


async def test_unknown_hosts_and_ports_are_refused_with_a_sentence_that_names_them(rig: Rig) -> None:
    await rig.apply(**await two_arms(rig))
    for host in ("nobody.default.svc", "nobody.default.svc:81", "NOBODY.default.svc.cluster.local"):
        status, said = await rig.get(host)
        assert (status, said["error"]) == (
            404,
            f"no Service, VirtualService or HTTPRoute has the host {host}; send the header "
            "Host: <service>.<namespace>.svc, or name it in the URL and use this address as http_proxy",
        )
    status, said = await rig.get("rec.default:9090")
    assert (status, said["error"]) == (404, "Service default/rec has no such port; it has 80")


async def test_requests_in_proxy_form_go_to_services_and_to_hosts_outside_the_cluster(rig: Rig) -> None:
    await rig.apply(**await two_arms(rig))
    await rig.backends.start("127.0.0.1", "outside")
    async with rig.session.get("http://rec.default.svc/path?q=1", proxy=rig.url) as response:
        assert (response.status, (await response.json())["path"]) == (200, "/path")
    for host in (f"localhost:{rig.backends.port}", f"127.0.0.1:{rig.backends.port}"):
        async with rig.session.get(f"http://{host}/path?q=1", proxy=rig.url) as response:
            said = await response.json()
            assert (response.status, said["pod"], said["host"], said["path"]) == (200, "outside", host, "/path")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
        ("http://rec.default.svc.evil.example", 403),
        ("http://evil.example@rec.default.svc", 403),
        ("http://rec.default.svc:18080", 200),
        ("HTTP://REC.default.svc", 403),
        ("https://rec.default.svc", 200),
    ],
)
async def test_web_pages_of_other_sites_are_refused(rig: Rig, origin: str, status: int) -> None:
    await rig.apply(**await two_arms(rig))
    assert (await rig.get("rec.default.svc", method="POST", Origin=origin))[0] == status
    outside = f"localhost:{rig.backends.port}"
    assert (await rig.get(outside, method="POST", Origin="https://evil.example"))[0] == 403


async def test_an_origin_of_any_bytes_is_looked_at(rig: Rig) -> None:
    await rig.apply(**await two_arms(rig))
    for origin in (b"", b"http://\xff", b"http://rec.default.svc\r\norigin: http://evil.example"):
        reader, writer = await asyncio.open_connection(rig.settings.ingress_host, rig.settings.ingress_port)
        writer.write(b"GET / HTTP/1.1\r\nhost: rec.default.svc\r\nconnection: close\r\norigin: " + origin + b"\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"403", origin
        writer.close()


async def test_pods_know_what_came_through_the_mesh_and_nobody_outside_learns_how(rig: Rig) -> None:
    await rig.apply(**await two_arms(rig))
    await rig.backends.start("127.0.0.1", "outside")
    _, said = await rig.get(HOST, x_millrace_mesh="forged")
    assert said["headers"]["x-millrace-mesh"] == "of the mesh"
    _, said = await rig.get(f"localhost:{rig.backends.port}")
    assert (said["pod"], "x-millrace-mesh" in said["headers"]) == ("outside", False)


async def test_a_host_that_is_nowhere_and_the_ingress_itself_are_not_forwarded(rig: Rig) -> None:
    await rig.apply(**await two_arms(rig))
    status, said = await rig.get("nowhere.invalid")
    assert status == 503
    assert "no Service, VirtualService or HTTPRoute has the host nowhere.invalid, and outside" in said["error"]
    for host in ("127.0.0.1", f"localhost:{rig.settings.ingress_port}"):
        assert (await rig.get(host))[0] == 404
    assert (await rig.get(f"127.0.0.1:{rig.backends.port}", via="1.1 millrace"))[0] == 404


async def test_a_route_of_every_host_takes_those_outside_as_well(rig: Rig) -> None:
    objects = await two_arms(rig)
    route = {"route": [o.destination("rec-arms", "v2", 100)]}
    await rig.apply(**objects, virtual_services=[o.virtual_service("all", [route], "*")])
    assert await rig.pods("www.example.com", 8) == {"b": 8}


async def test_weights_split_requests_and_a_zero_takes_none(rig: Rig) -> None:
    objects = await two_arms(rig)
    for weight, requests in ((20, 1600), (0, 200), (100, 200)):
        await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [split(weight)])])
        found = await rig.pods(HOST, requests)
        p = weight / 100
        # Five standard deviations: one false alarm in a million runs.
        assert abs(found["b"] - requests * p) <= 5 * sqrt(requests * p * (1 - p))
        assert found["a"] + found["b"] == requests


@pytest.mark.slow
async def test_no_request_fails_through_dozens_of_weight_and_endpoint_changes(rig: Rig) -> None:
    objects = await two_arms(rig)
    await rig.backends.start("127.77.0.3", "c")
    failed: Counter[Any] = Counter()
    done = asyncio.Event()
    sent = 0

    async def load() -> None:
        nonlocal sent
        while not done.is_set():
            status, said = await rig.get(HOST)
            sent += 1
            if status != 200:
                failed[(status, str(said))] += 1

    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [split(0)])])
    tasks = [asyncio.create_task(load()) for _ in range(8)]
    for step in range(36):
        # Each arm's second pod comes and goes; the route alternates between a split and none.
        pods = {"a": "127.77.0.1", "b": "127.77.0.2", **({"c": "127.77.0.3"} if step % 3 else {})}
        objects["endpoint_slices"][1] = o.endpoint_slice("rec-arms", pods, port=rig.backends.port)
        objects["pods"] = [o.pod("a", arm="v1"), o.pod("b", arm="v2"), o.pod("c", arm=("v1", "v2")[step % 2])]
        routes = [] if step % 5 == 4 else [o.virtual_service("rec", [split(step * 7 % 101)])]
        await rig.apply(**objects, virtual_services=routes)
        enough = sent + 15
        while sent < enough:
            await asyncio.sleep(0)
    done.set()
    await asyncio.gather(*tasks)
    assert not failed
    assert sent >= 36 * 15


async def test_a_destination_whose_traffic_policy_changes_loses_no_request(rig: Rig) -> None:
    objects = await two_arms(rig)
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [split(50)])])
    counting = asyncio.create_task(rig.pods(HOST, 1600))
    for limit in range(1, 20):
        pool = {"connectionPool": {"tcp": {"maxConnections": 100 + limit}}}
        rules = [o.destination_rule("rec-arms.default.svc.cluster.local", ARMS, **(pool if limit % 3 else {}))]
        await rig.apply(
            **{**objects, "destination_rules": rules}, virtual_services=[o.virtual_service("rec", [split(50)])]
        )
    assert (await counting).keys() == {"a", "b"}


async def test_a_pod_that_leaves_finishes_its_requests(rig: Rig) -> None:
    objects = await two_arms(rig)
    await rig.apply(**objects)
    slow = asyncio.create_task(rig.get(HOST, "/?sleep=0.5"))
    await rig.until(lambda: rig.backends.requests["a"] == 1)
    gone = [o.endpoint_slice("rec", {"b": "127.77.0.2"}, port=rig.backends.port)]
    await rig.apply(**{**objects, "endpoint_slices": gone})
    assert (await rig.get(HOST))[1]["pod"] == "b"
    assert (await slow)[1]["pod"] == "a"


async def test_an_override_by_header_comes_before_the_split(rig: Rig) -> None:
    objects = await two_arms(rig)
    override = {
        "match": [{"headers": {"x-millrace-arm": {"exact": "v2"}}}],
        "route": [o.destination("rec-arms", "v2")],
    }
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [override, split(0)])])
    assert await rig.pods(HOST, 40, x_millrace_arm="v2") == {"b": 40}
    assert await rig.pods(HOST, 40, x_millrace_arm="v1") == {"a": 40}
    assert await rig.pods(HOST, 40) == {"a": 40}


async def test_a_mirror_receives_its_percent_of_copies_and_its_responses_are_dropped(rig: Rig) -> None:
    objects = await two_arms(rig)
    mirror = [{"destination": {"host": "rec-arms", "subset": "v2"}, "percentage": {"value": 25}}]
    route = {"route": [o.destination("rec-arms", "v1")], "mirrors": mirror}
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [route])])
    assert await rig.pods(HOST, 800) == {"a": 800}
    # Envoy answers without waiting for the copies.
    sent = await rig.counter("cluster.only.*upstream_rq_total")
    await rig.until(lambda: rig.backends.requests["b"] == sent)
    assert abs(rig.backends.requests["b"] - 200) <= 5 * sqrt(800 * 0.25 * 0.75)


async def test_conditions_on_path_method_query_and_missing_headers_hold(rig: Rig) -> None:
    objects = await two_arms(rig)
    to_b = [o.destination("rec-arms", "v2")]
    rules = [
        {"match": [{"uri": {"exact": "/exact"}}], "route": to_b},
        {"match": [{"uri": {"prefix": "/pre"}, "method": {"exact": "POST"}}], "route": to_b},
        {"match": [{"uri": {"regex": "/re/[0-9]+"}}], "route": to_b},
        {"match": [{"queryParams": {"q": {"exact": "1"}}}], "route": to_b},
        {"match": [{"headers": {"x-there": {}}}], "route": to_b},
        {"match": [{"uri": {"prefix": "/without"}, "withoutHeaders": {"x-arm": {"exact": "v1"}}}], "route": to_b},
        {"route": [o.destination("rec-arms", "v1")]},
    ]
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", rules)])

    async def pod(path: str, method: str = "GET", **headers: str) -> str:
        return str((await rig.get(HOST, path, method=method, **headers))[1]["pod"])

    assert [await pod(path) for path in ("/exact", "/exact/", "/re/12", "/re/12/x", "/?q=1", "/?q=2")] == [
        *("b", "a", "b", "a", "b", "a")
    ]
    assert [await pod("/prefix", method) for method in ("GET", "POST")] == ["a", "b"]
    assert [await pod("/"), await pod("/", x_there="anything")] == ["a", "b"]
    assert [await pod("/without"), await pod("/without", x_arm="v1"), await pod("/without", x_arm="v2")] == [
        *("b", "a", "b")
    ]


async def test_headers_and_paths_are_edited_as_the_route_says(rig: Rig) -> None:
    objects = await two_arms(rig)
    route = {
        "match": [{"uri": {"prefix": "/old"}}],
        "rewrite": {"uri": "/new"},
        "headers": {"request": {"set": {"x-a": "1", "host": "other"}, "remove": ["x-gone"]}, "response": {}},
        "route": [
            o.destination(
                "rec-arms", "v1", headers={"request": {"add": {"x-b": "2"}}, "response": {"set": {"x-c": "3"}}}
            )
        ],
    }
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [route])])
    async with rig.session.get(rig.url + "/old/x", headers={"Host": HOST, "x-gone": "0"}) as response:
        said = await response.json()
        assert response.headers["x-c"] == "3"
    assert (said["path"], said["host"]) == ("/new/x", "other")
    assert {"X-A": "1", "X-B": "2"}.items() <= {name.title(): v for name, v in said["headers"].items()}.items()
    assert "x-gone" not in said["headers"]
    status, said = await rig.get(HOST, "/elsewhere")
    assert (status, said["error"]) == (404, f"no rule of {HOST}:80 matches this request")


async def test_timeouts_redirects_direct_responses_and_faults_act(rig: Rig) -> None:
    objects = await two_arms(rig)
    to_a = [o.destination("rec-arms", "v1")]
    rules = [
        {"match": [{"uri": {"prefix": "/slow"}}], "timeout": "100ms", "route": to_a},
        {"match": [{"uri": {"prefix": "/moved"}}], "redirect": {"uri": "/there", "redirectCode": 302}},
        {"match": [{"uri": {"prefix": "/teapot"}}], "directResponse": {"status": 418, "body": {"string": "short"}}},
        {
            "match": [{"uri": {"prefix": "/broken"}}],
            "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}},
            "route": to_a,
        },
        {"route": to_a},
    ]
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", rules)])
    status, said = await rig.get(HOST, "/slow?sleep=0.5")
    assert (status, "within the timeout" in said["error"]) == (504, True)
    async with rig.session.get(rig.url + "/moved", headers={"Host": HOST}, allow_redirects=False) as response:
        assert (response.status, response.headers["location"]) == (302, f"http://{HOST}/there")
    assert await rig.get(HOST, "/teapot") == (418, "short")
    assert (await rig.get(HOST, "/broken"))[0] == 555
    assert (await rig.get(HOST, "/?status=503"))[1]["pod"] == "a"


async def test_errors_of_pods_are_passed_on_and_never_tried_again(rig: Rig) -> None:
    objects = await two_arms(rig)
    await rig.apply(**objects)
    for status in (500, 502, 503, 504, 429):
        assert (await rig.get(HOST, f"/?status={status}"))[0] == status
    assert rig.backends.requests["a"] == 5


async def test_a_subset_without_ready_endpoints_answers_503_and_names_the_route(rig: Rig) -> None:
    objects = await two_arms(rig)
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [split(100)])])
    assert (await rig.get(HOST))[1]["pod"] == "b"
    objects["endpoint_slices"][1] = o.endpoint_slice(
        "rec-arms", {"a": "127.77.0.1", "b": "127.77.0.2"}, port=rig.backends.port, unready=["b"]
    )
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [split(100)])])
    assert await rig.get(HOST) == (
        503,
        {"error": "no ready endpoint behind VirtualService default/rec spec.http[0]"},
    )


async def test_a_pod_that_refuses_connections_is_passed_over_or_named(rig: Rig) -> None:
    objects = await two_arms(rig)
    both = [o.endpoint_slice("rec", {"a": "127.77.0.1", "dead": "127.77.0.9"}, port=rig.backends.port)]
    await rig.apply(**{**objects, "endpoint_slices": both})
    # Nothing was sent yet when a connection fails, so another pod may have the request.
    assert await rig.pods(HOST, 80) == {"a": 80}
    dead = [o.endpoint_slice("rec", {"dead": "127.77.0.9"}, port=rig.backends.port)]
    await rig.apply(**{**objects, "endpoint_slices": dead})
    status, said = await rig.get(HOST)
    assert (status, f"127.77.0.9:{rig.backends.port}" in said["error"]) == (503, True)


async def test_one_route_that_envoy_refuses_leaves_all_others_working(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = await two_arms(rig)
    # Passes for Python, and RE2 has no such class: only Envoy finds it where nobody looks before.
    monkeypatch.setattr(istio, "compile_pattern", re.compile)
    bad = {"match": [{"headers": {"x": {"regex": "[[:nothing:]]"}}}], "route": [o.destination("rec-arms", "v1")]}
    services = [*objects["services"], *(o.service(f"s{n}") for n in range(5)), o.service("bad")]
    routes = [o.virtual_service("rec", [split(100)]), o.virtual_service("bad", [bad])]
    problems = await rig.apply(**{**objects, "services": services}, virtual_services=routes)
    assert [(problem.kind, problem.name) for problem in problems] == [("VirtualService", "bad")]
    assert (await rig.get(HOST))[1]["pod"] == "b"
    status, said = await rig.get("bad.default")
    assert (status, said["error"]) == (503, problems[0].message)
    routes[0] = o.virtual_service("rec", [split(0)])
    await rig.apply(**{**objects, "services": services}, virtual_services=routes)
    assert (await rig.get(HOST))[1]["pod"] == "a"
    assert await rig.apply(**{**objects, "services": services}, virtual_services=routes[:1]) == ()
    assert (await rig.get("bad.default"))[1]["error"].startswith("no ready endpoint")


async def test_an_http_route_splits_by_shares_and_edits_headers(rig: Rig) -> None:
    objects = await two_arms(rig)
    objects["services"] += [o.service("one"), o.service("two")]
    objects["endpoint_slices"] += [
        o.endpoint_slice("one", {"a": "127.77.0.1"}, port=rig.backends.port),
        o.endpoint_slice("two", {"b": "127.77.0.2"}, port=rig.backends.port),
    ]
    rules = [
        {
            "backendRefs": [{"name": "one", "port": 80, "weight": 3}, {"name": "two", "port": 80, "weight": 1}],
            "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-a", "value": "5%"}]}}
            ],
        },
        {
            "matches": [{"headers": [{"name": "x-arm", "value": "two"}]}],
            "backendRefs": [{"name": "two", "port": 80}],
        },
    ]
    await rig.apply(**objects, http_routes=[o.http_route("shop", rules, "shop.example.com")])
    found = await rig.pods("shop.example.com", 800)
    assert abs(found["b"] - 200) <= 5 * sqrt(800 * 0.25 * 0.75)
    assert (await rig.get("shop.example.com"))[1]["headers"]["x-a"] == "5%"
    assert await rig.pods("shop.example.com", 40, x_arm="two") == {"b": 40}


async def test_every_traffic_policy_is_one_that_envoy_accepts(rig: Rig) -> None:
    policies: list[dict[str, Any]] = [
        {"loadBalancer": {"simple": balancer}} for balancer in ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM")
    ]
    tcp = {"maxConnections": 1, "connectTimeout": "1.5s"}
    http = {
        "http1MaxPendingRequests": 2,
        "http2MaxRequests": 3,
        "maxRetries": 4,
        "maxRequestsPerConnection": 4,
        "h2UpgradePolicy": "UPGRADE",
    }
    outliers = {"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "2s", "maxEjectionPercent": 900}
    gateways = {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 3, "minHealthPercent": 1}
    policies += [{"connectionPool": {"tcp": tcp, "http": http}}]
    policies += [{"outlierDetection": one} for one in (outliers, gateways, {})]
    names = [f"s{n}" for n in range(len(policies))]
    services = [o.service(name) for name in names]
    services.append(o.service("grpc", {"name": "grpc", "port": 80, "appProtocol": "kubernetes.io/h2c"}))
    rules = [o.destination_rule(name, {}, **policy) for name, policy in zip(names, policies, strict=True)]
    assert await rig.apply(services=services, destination_rules=rules) == ()
    async with EnvoyAdmin(rig.settings.directory) as admin:
        assert set((await admin.rejections([CLUSTERS_STAT])).values()) == {0}
    assert (await rig.get("grpc.default"))[0] == 503


async def test_hundreds_of_services_take_a_handful_of_inotify_instances(rig: Rig) -> None:
    services = [o.service(f"s{n}") for n in range(300)]
    slices = [o.endpoint_slice(f"s{n}", {"a": "127.77.0.1"}, port=rig.backends.port) for n in range(300)]
    await rig.backends.start("127.77.0.1", "a")
    await rig.apply(services=services, endpoint_slices=slices)
    assert [(await rig.get(f"s{n}.default"))[0] for n in range(0, 300, 50)] == [200] * 6
    folder = f"/proc/{rig.process.pid}/fd"
    links = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]  # noqa: PTH115, PTH208
    assert sum("inotify" in link for link in links) < 10


async def test_a_head_that_does_not_end_gets_408_and_reaches_no_pod(rig: Rig) -> None:
    await rig.apply(**await two_arms(rig))
    reader, writer = await asyncio.open_connection(rig.settings.ingress_host, rig.settings.ingress_port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nx-part: ".encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    assert not rig.backends.requests


async def is_ended(connection: socket.socket) -> bool:
    """Whether the other side ends it, which is waited for."""
    async with asyncio.timeout(60):
        return await asyncio.get_running_loop().sock_recv(connection, 1) == b""


@contextmanager
def silent(rig: Rig, number: int) -> Iterator[list[socket.socket]]:
    """Connections of clients that never say anything."""
    with ExitStack() as stack:
        address = rig.settings.ingress_host, rig.settings.ingress_port
        made = [stack.enter_context(socket.create_connection(address)) for _ in range(number)]
        for each in made:
            each.setblocking(False)
        yield made


async def test_silent_clients_hold_so_many_connections_and_envoy_itself_is_asked_beside_them(tmp_path: Path) -> None:
    async with started(tmp_path, connections=8) as rig:
        objects = await two_arms(rig)
        with silent(rig, 8) as held:
            with silent(rig, 3) as others:
                for each in others:
                    assert await is_ended(each)
            assert await rig.admin.ready()
            assert await rig.apply(**objects) == ()
            held[0].close()
            async with asyncio.timeout(60):
                while True:
                    with suppress(aiohttp.ClientError):  # until Envoy has seen that one has gone
                        assert (await rig.get(HOST))[0] == 200
                        return


async def test_a_client_that_stays_silent_loses_its_connection_and_one_that_waits_for_its_answer_does_not(
    tmp_path: Path,
) -> None:
    async with started(tmp_path, idle_seconds=0.3) as rig:
        await rig.apply(**await two_arms(rig))
        with silent(rig, 1) as [quiet]:
            waits = asyncio.create_task(rig.get(HOST, "/?sleep=1"))
            assert await is_ended(quiet)
            assert (await waits)[0] == 200


@pytest.mark.parametrize(("files", "most"), [(1024, 448), (20_000, 4096), (256, 64), (64, 1)])
def test_clients_have_no_more_connections_than_envoy_has_files_for_both_of_its_sides(files: int, most: int) -> None:
    assert connections_within(files) == most


async def test_envoy_killed_and_started_again_serves_what_the_files_say(rig: Rig) -> None:
    objects = await two_arms(rig)
    await rig.apply(**objects)
    rig.process.kill()
    rig.process.wait()
    await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [split(100)])])
    assert not rig.publisher.confirmed
    rig.process = subprocess.Popen(envoy.command(), cwd=rig.settings.directory, stderr=subprocess.DEVNULL)
    async with asyncio.timeout(60):
        while not rig.publisher.confirmed:
            await rig.apply(**objects, virtual_services=[o.virtual_service("rec", [split(100)])])
            await asyncio.sleep(0.02)
    assert (await rig.get(HOST))[1]["pod"] == "b"


def test_the_bootstrap_is_plain_json() -> None:
    written = bootstrap(MeshSettings(Path("/x"), ingress_port=1))
    assert json.loads(json.dumps(written)) == written
