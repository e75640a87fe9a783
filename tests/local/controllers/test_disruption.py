"""PodDisruptionBudgets: how many pods may go."""

from __future__ import annotations

import pytest

from millrace_kube.resources import POD_DISRUPTION_BUDGETS, PODS
from millrace_local.controllers.disruption import plan
from tests.local.controllers.objects import template
from tests.local.controllers.world import Obj, World


@pytest.mark.parametrize(
    ("spec", "healthy", "allowed", "desired"),
    [
        ({"minAvailable": 2}, 3, 1, 2),
        ({"minAvailable": 2}, 2, 0, 2),
        ({"minAvailable": "50%"}, 3, 1, 2),
        ({"maxUnavailable": 1}, 3, 1, 2),
        ({"maxUnavailable": 1}, 2, 0, 2),
        ({"maxUnavailable": "34%"}, 3, 2, 1),
        ({}, 3, 2, 1),
    ],
)
def test_as_many_may_go_as_are_healthy_beyond_what_must_stay(
    spec: Obj, healthy: int, allowed: int, desired: int
) -> None:
    world = World()
    owner = {"uid": "rs", "kind": "ReplicaSet", "name": "web", "controller": True}
    for number in range(3):
        metadata = {"name": f"p{number}", "labels": {"app": "web"}, "ownerReferences": [owner]}
        world.run(world.add(PODS, {"metadata": metadata, "spec": template()["spec"]}), ready=number < healthy)
    budget = {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}
    world.add(POD_DISRUPTION_BUDGETS, budget)
    world.apply(plan(world.get(POD_DISRUPTION_BUDGETS, "b"), world.all(PODS), {"rs": 3}, world.now))
    status = world.get(POD_DISRUPTION_BUDGETS, "b")["status"]
    assert (status["disruptionsAllowed"], status["desiredHealthy"], status["currentHealthy"]) == (
        allowed,
        desired,
        healthy,
    )
