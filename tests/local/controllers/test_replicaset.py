"""ReplicaSets: how many pods, which go first, and when they count as available."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from millrace_kube.resources import PODS, REPLICA_SETS
from millrace_local.controllers.actions import Create
from millrace_local.controllers.pods import is_active
from millrace_local.controllers.replicaset import plan
from tests.local.controllers.objects import template
from tests.local.controllers.world import World


def world_with(replicas: int, **spec: Any) -> World:
    world = World()
    body = {
        "kind": "ReplicaSet",
        "metadata": {"name": "web-1"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec},
    }
    world.add(REPLICA_SETS, body)
    step(world)
    return world


def step(world: World) -> float | None:
    item = world.get(REPLICA_SETS, "web-1")
    planned = plan(item, world.all(PODS, item), world.now, is_taken=world.has_pod)
    world.apply(planned)
    return planned.again


def test_a_plan_repeated_from_a_late_copy_makes_no_pod_twice() -> None:
    world = world_with(3)
    late = plan(world.get(REPLICA_SETS, "web-1"), [], world.now, is_taken=lambda _name: False)
    assert sum(isinstance(action, Create) for action in late.actions) == 3
    names = {a.body["metadata"]["name"] for a in late.actions if isinstance(a, Create)}
    assert names == {pod["metadata"]["name"] for pod in world.all(PODS)}


def test_a_deleted_pod_is_replaced_under_another_name_while_it_still_ends() -> None:
    world = world_with(1)
    first = world.all(PODS)[0]
    world.objects["pods", first["metadata"]["name"]]["metadata"]["deletionTimestamp"] = "2026-11-20T12:00:00Z"
    step(world)
    assert len({pod["metadata"]["name"] for pod in world.all(PODS)}) == 2


def test_pods_that_serve_least_go_first() -> None:
    world = world_with(4)
    for number, pod in enumerate(world.all(PODS)):
        world.now += timedelta(seconds=1)
        if number < 3:
            world.edit(PODS, pod["metadata"]["name"], nodeName="n")
        if number < 2:
            world.run(world.get(PODS, pod["metadata"]["name"]), ready=number == 0)
    best = world.all(PODS)[0]["metadata"]["name"]
    world.edit(REPLICA_SETS, "web-1", replicas=1)
    step(world)
    assert [pod["metadata"]["name"] for pod in world.all(PODS) if is_active(pod)] == [best]


def test_a_pod_counts_as_available_only_after_its_time_and_is_looked_at_then() -> None:
    world = world_with(1, minReadySeconds=10)
    world.run(world.all(PODS)[0])
    assert step(world) == 10
    assert world.get(REPLICA_SETS, "web-1")["status"]["availableReplicas"] == 0
    world.now += timedelta(seconds=10)
    assert step(world) is None
    status = world.get(REPLICA_SETS, "web-1")["status"]
    assert (status["availableReplicas"], status["readyReplicas"], status["fullyLabeledReplicas"]) == (1, 1, 1)


def test_a_relabelled_pod_is_let_go_and_replaced() -> None:
    world = world_with(1)
    name = world.all(PODS)[0]["metadata"]["name"]
    world.objects["pods", name]["metadata"]["labels"] = {"app": "debug"}
    step(world)
    step(world)
    assert world.get(PODS, name)["metadata"]["ownerReferences"] == []
    assert len(world.all(PODS)) == 2
