"""Where pods go, and what is said when they go nowhere."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from millrace_kube.resources import NODES, PODS
from millrace_local.controllers.actions import Bind, Change
from millrace_local.controllers.scheduler.plan import Candidate, objections, plan
from millrace_local.controllers.scheduler.resources import added, requested
from tests.local.controllers.world import START, Obj, World

ROOM = {"cpu": "2", "memory": "4Gi", "pods": "3"}


def node(name: str = "n1", *, ready: bool = True, room: dict[str, str] | None = None, **spec: Any) -> Obj:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    labels = {"kubernetes.io/hostname": name, "disk": "ssd"}
    status = {"allocatable": room or ROOM, "conditions": [condition]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def pod(requests: dict[str, str] | None = None, **spec: Any) -> Obj:
    container = {"name": "main", "resources": {"requests": requests or {}}}
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"containers": [container], **spec},
    }


def test_a_pod_goes_to_the_node_with_the_most_room() -> None:
    busy = Candidate(node("n1"), {"cpu": Fraction(1)})
    found = plan(pod({"cpu": "500m"}), [busy, Candidate(node("n2"), {})], START)
    assert [action.node for action in found.actions if isinstance(action, Bind)] == ["n2"]


def test_a_pod_that_fits_nowhere_says_what_is_missing_once() -> None:
    world = World()
    world.add(PODS, pod({"cpu": "3", "nvidia.com/gpu": "1"}))
    world.add(NODES, node())
    for _ in range(2):
        world.apply(plan(world.get(PODS, "p"), [Candidate(world.get(NODES, "n1"), {})], START))
    told = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu."
    assert world.told == [told]
    condition = world.get(PODS, "p")["status"]["conditions"][0]
    assert (condition["reason"], condition["message"]) == ("Unschedulable", told)


def test_without_nodes_the_pod_waits() -> None:
    found = plan(pod(), [], START)
    changes = [action for action in found.actions if isinstance(action, Change)]
    assert changes[0].after["status"]["conditions"][0]["message"] == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("wanted", "given", "used", "told"),
    [
        (pod({"cpu": "1"}), node(), {"cpu": Fraction("1.5")}, ["Insufficient cpu"]),
        (pod({"cpu": "500m"}), node(), {"cpu": Fraction("1.5")}, []),
        (pod({"memory": "4Gi"}), node(), {"memory": Fraction(1)}, ["Insufficient memory"]),
        (pod(), node(), {"pods": Fraction(3)}, ["Too many pods"]),
        (pod(), node(ready=False), {}, ["node(s) were not ready"]),
        (pod(), node(unschedulable=True), {}, ["node(s) were unschedulable"]),
        (pod(nodeSelector={"disk": "hdd"}), node(), {}, ["node(s) didn't match Pod's node affinity/selector"]),
        (pod(nodeSelector={"disk": "ssd"}), node(), {}, []),
        (
            pod(),
            node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]),
            {},
            ["node(s) had untolerated taint {gpu: yes}"],
        ),
        (
            pod(tolerations=[{"key": "gpu", "operator": "Exists"}]),
            node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]),
            {},
            [],
        ),
        (
            pod(tolerations=[{"key": "gpu", "value": "no"}]),
            node(taints=[{"key": "gpu", "value": "yes", "effect": "NoExecute"}]),
            {},
            ["node(s) had untolerated taint {gpu: yes}"],
        ),
        (pod(), node(taints=[{"key": "x", "effect": "PreferNoSchedule"}]), {}, []),
    ],
)
def test_each_objection_has_its_words(wanted: Obj, given: Obj, used: dict[str, Fraction], told: list[str]) -> None:
    assert objections(wanted, Candidate(given, used)) == told


def test_required_node_affinity_is_heeded() -> None:
    def wants(operator: str, *values: str) -> Obj:
        rule = {"key": "disk", "operator": operator, "values": list(values)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
        return pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})

    candidate = Candidate(node(), {})
    assert objections(wants("In", "ssd", "nvme"), candidate) == []
    assert objections(wants("NotIn", "ssd"), candidate)
    assert objections(wants("DoesNotExist"), candidate)


def test_a_pod_needs_the_larger_of_its_containers_together_and_each_init_container() -> None:
    def container(cpu: str, **more: str) -> Obj:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("500m"), container("1")],
        "initContainers": [container("2"), container("250m", restartPolicy="Always"), container("1500m")],
    }
    assert requested({"spec": spec})["cpu"] == Fraction(2)
    assert requested({"spec": {**spec, "initContainers": spec["initContainers"][1:]}})["cpu"] == Fraction("1.75")


def test_limits_stand_for_requests_and_sums_are_exact() -> None:
    limited = {"name": "c", "resources": {"limits": {"cpu": "100m"}}}
    total = added(requested({"spec": {"containers": [limited] * 3}}) for _ in range(7))
    assert total == {"cpu": Fraction("2.1"), "pods": Fraction(7)}
