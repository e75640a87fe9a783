"""Services: which pods are behind them, in which state, on which ports."""

from __future__ import annotations

from typing import Any

from millrace_kube.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES
from millrace_local.controllers.endpoints import LARGEST_SLICE, endpoint_slices, legacy_endpoints, plan
from tests.local.controllers.objects import template
from tests.local.controllers.world import Obj, World


def world_with(*ports: Obj, **spec: Any) -> World:
    world = World()
    body = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": list(ports), **spec}}
    world.add(SERVICES, body)
    return world


def add_pod(world: World, number: int, *, ready: bool = True, port: int = 8080, **metadata: Any) -> Obj:
    spec = template()["spec"]
    spec["containers"][0]["ports"] = [{"name": "http", "containerPort": port}]
    labels = {"app": "web"}
    pod = world.add(PODS, {"metadata": {"name": f"p{number}", "labels": labels, **metadata}, "spec": spec})
    world.run(pod, ready=ready)
    world.set_status(PODS, f"p{number}", podIP=f"127.64.{number // 200}.{number % 200 + 1}")
    return world.get(PODS, f"p{number}")


def step(world: World) -> bool:
    service = world.get(SERVICES, "web")
    endpoints = world.objects.get((ENDPOINTS.plural, "web"))
    return world.apply(plan(service, world.all(PODS), world.all(ENDPOINT_SLICES), endpoints))


HTTP = {"name": "http", "port": 80, "targetPort": "http"}


def test_each_state_of_a_pod_has_its_conditions() -> None:
    world = world_with(HTTP)
    add_pod(world, 1)
    add_pod(world, 2, ready=False)
    add_pod(world, 3, deletionTimestamp="2026-11-20T12:00:00Z")
    world.finish(add_pod(world, 4))
    add_pod(world, 5)["status"].pop("podIP")
    step(world)
    (found,) = world.all(ENDPOINT_SLICES)
    assert found["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    assert [(e["targetRef"]["name"], *e["conditions"].values()) for e in found["endpoints"]] == [
        ("p1", True, True, False),
        ("p2", False, False, False),
        ("p3", False, True, True),
    ]
    subset = world.get(ENDPOINTS, "web")["subsets"][0]
    assert [a["targetRef"]["name"] for a in subset["addresses"]] == ["p1"]
    assert [a["targetRef"]["name"] for a in subset["notReadyAddresses"]] == ["p2"]


def test_named_ports_that_differ_from_pod_to_pod_make_a_slice_each() -> None:
    world = world_with(HTTP)
    add_pod(world, 1)
    add_pod(world, 2, port=9090)
    step(world)
    assert sorted(item["ports"][0]["port"] for item in world.all(ENDPOINT_SLICES)) == [8080, 9090]


def test_a_service_without_pods_has_an_empty_slice_and_nothing_is_written_twice() -> None:
    world = world_with(HTTP)
    assert step(world)
    assert [item["endpoints"] for item in world.all(ENDPOINT_SLICES)] == [[]]
    assert not step(world)
    add_pod(world, 1)
    assert step(world)
    assert len(world.all(ENDPOINT_SLICES)) == 1
    assert not step(world)


def test_a_pod_that_goes_leaves_slices_and_endpoints() -> None:
    world = world_with(HTTP)
    add_pod(world, 1)
    step(world)
    world.remove(PODS, "p1")
    step(world)
    assert [item["endpoints"] for item in world.all(ENDPOINT_SLICES)] == [[]]
    assert "subsets" not in world.get(ENDPOINTS, "web")


def test_unready_pods_are_published_when_the_service_says_so() -> None:
    world = world_with(HTTP, publishNotReadyAddresses=True)
    add_pod(world, 1, ready=False)
    step(world)
    assert world.all(ENDPOINT_SLICES)[0]["endpoints"][0]["conditions"]["ready"]
    assert len(world.get(ENDPOINTS, "web")["subsets"][0]["addresses"]) == 1


def test_a_headless_service_without_ports_lists_its_pods() -> None:
    world = world_with(clusterIP="None")
    add_pod(world, 1)
    step(world)
    (found,) = world.all(ENDPOINT_SLICES)
    assert (len(found["endpoints"]), found["ports"]) == (1, [])
    assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_many_pods_are_spread_over_slices() -> None:
    world = world_with(HTTP)
    pods = [add_pod(world, number) for number in range(LARGEST_SLICE + 20)]
    service = world.get(SERVICES, "web")
    slices = endpoint_slices(service, pods)
    assert [len(item["endpoints"]) for item in slices] == [LARGEST_SLICE, 20]
    assert len({item["metadata"]["name"] for item in slices}) == 2
    assert len(legacy_endpoints(service, pods)["subsets"][0]["addresses"]) == LARGEST_SLICE + 20
