"""ModelDeployments on the embedded API server: what a user sees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from millrace_kube import resources as r
from tests import builders
from tests.operators.conftest import Faults
from tests.operators.world import World

MD = r.MODEL_DEPLOYMENTS
GOOD, BETTER, MISSING = "file:///m/good.onnx", "file:///m/better.onnx", "file:///m/none.onnx"


def model(name: str = "m", uri: str = GOOD, service: str = "shop", **spec: Any) -> dict[str, Any]:
    built = builders.model_deployment(name, uri, service)
    for field, value in spec.items():
        built = built.having(f"spec.{field}", value)
    return built.build()


def names(world: World, kind: str) -> list[str]:
    return sorted(item["metadata"]["name"] for item in world.children() if item["kind"] == kind)


async def test_a_deployment_becomes_ready_with_all_its_children(world: World) -> None:
    world.apply(model())
    await world.settle()
    status = world.status(MD, "m")
    assert world.condition(MD, "m", "Ready")[:2] == ("True", "AllWell")
    assert status["model"]["digest"].startswith("sha256:abab")
    assert status["revision"] == status["targetRevision"]
    assert (status["champion"], status["device"]) == (True, "cpu")
    assert status["url"] == f"http://shop.{world.namespace}.svc"
    assert status["replicas"] == {"ready": 1, "desired": 1}
    assert names(world, "Deployment") == [status["revision"]]
    assert names(world, "Service") == ["shop", "shop-arms"]
    for kind, name in (("PodDisruptionBudget", "m"), ("ServiceMonitor", "m")):
        assert names(world, kind) == [name]
    for kind in ("VirtualService", "DestinationRule"):
        assert names(world, kind) == ["shop"]


async def test_a_settled_deployment_costs_no_write(world: World) -> None:
    world.apply(model(scaling={"min": 1, "max": 5}))
    await world.settle()
    before = world.writes
    await world.turn()
    world.restart()
    await world.turn()
    assert world.writes == before


async def test_children_that_an_owner_left_behind_are_those_of_the_next_one(world: World) -> None:
    world.apply(model())
    await world.settle()
    world.orphan(MD, "m")
    await world.settle()
    assert world.get(MD, "m") is None
    assert world.get(r.POD_DISRUPTION_BUDGETS, "m"), "it was left behind"
    world.apply(model())
    await world.settle()
    uid = (world.get(MD, "m") or {})["metadata"]["uid"]
    for resource in (r.POD_DISRUPTION_BUDGETS, r.SERVICE_MONITORS):
        [owner] = (world.get(resource, "m") or {})["metadata"]["ownerReferences"]
        assert owner["uid"] == uid


async def test_each_transition_is_told_once(world: World) -> None:
    world.apply(model())
    await world.settle()
    told = world.events()
    assert len(told) == len(set(told))
    assert ("m", "Normal", "RevisionActive") in told
    assert ("m", "Normal", "ChampionChanged") in told
    assert ("m", "Normal", "AllWell") in told


async def test_a_change_of_model_brings_the_new_revision_up_before_the_old_one_goes(world: World) -> None:
    world.apply(model())
    await world.settle()
    old = world.status(MD, "m")["revision"]
    world.kubelet.slow.add(BETTER)
    world.apply(model(uri=BETTER))
    await world.settle()
    status = world.status(MD, "m")
    new = status["targetRevision"]
    assert (status["revision"], names(world, "Deployment")) == (old, sorted([old, new]))
    assert world.condition(MD, "m", "Available")[0] == "True"
    assert world.condition(MD, "m", "Ready")[:2] == ("Unknown", "RollingOut")
    service = world.get(r.SERVICES, "shop")
    assert service is not None
    assert service["spec"]["selector"]["millrace.dev/revision"] == old
    world.kubelet.slow.clear()
    await world.settle()
    service = world.get(r.SERVICES, "shop")
    assert service is not None
    assert service["spec"]["selector"]["millrace.dev/revision"] == new
    assert names(world, "Deployment") == [new]
    assert world.condition(MD, "m", "Ready")[0] == "True"


async def test_a_model_that_is_not_there_leaves_the_old_one_serving_and_says_why(world: World) -> None:
    world.apply(model())
    await world.settle()
    old = world.status(MD, "m")["revision"]
    world.kubelet.missing.add(MISSING)
    world.apply(model(uri=MISSING))
    await world.settle()
    assert world.status(MD, "m")["revision"] == old
    assert world.condition(MD, "m", "Available")[0] == "True"
    resolved = world.condition(MD, "m", "ModelResolved")
    assert resolved == ("False", "NotFound", f"spec.model.uri: {MISSING} does not exist")
    assert world.condition(MD, "m", "Ready")[:2] == ("False", "NotFound")
    world.apply(model())
    await world.settle()
    assert names(world, "Deployment") == [old]
    assert world.condition(MD, "m", "Ready")[0] == "True"


async def test_a_change_of_scaling_makes_no_revision(world: World) -> None:
    world.apply(model())
    await world.settle()
    before = world.status(MD, "m")["revision"]
    world.apply(model(scaling={"min": 3, "max": 3}))
    await world.settle()
    assert world.status(MD, "m")["revision"] == before
    deployment = world.get(r.DEPLOYMENTS, before)
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 3


async def test_the_number_that_a_scaler_sets_stands(world: World) -> None:
    world.apply(model(scaling={"min": 1, "max": 10}))
    await world.settle()
    revision = world.status(MD, "m")["revision"]
    assert world.condition(MD, "m", "ScalerReady")[:2] == ("True", "ScaledObject")
    scaled = world.get(r.SCALED_OBJECTS, "m")
    assert scaled is not None
    assert scaled["spec"]["scaleTargetRef"]["name"] == revision
    world.patch(r.DEPLOYMENTS, revision, {"spec": {"replicas": 6}})
    await world.settle()
    assert world.status(MD, "m")["replicas"] == {"ready": 6, "desired": 6}
    world.apply(model(uri=BETTER, scaling={"min": 1, "max": 10}))
    await world.settle()
    newer = world.status(MD, "m")["revision"]
    assert world.status(MD, "m")["replicas"] == {"ready": 6, "desired": 6}
    scaled = world.get(r.SCALED_OBJECTS, "m")
    assert scaled is not None
    assert scaled["spec"]["scaleTargetRef"]["name"] == newer != revision
    world.apply(model(uri=BETTER, scaling={"min": 2, "max": 2}))
    await world.settle()
    assert world.get(r.SCALED_OBJECTS, "m") is None
    assert world.condition(MD, "m", "ScalerReady")[:2] == ("True", "FixedReplicas")


async def test_what_somebody_changes_in_a_child_is_put_right(world: World) -> None:
    world.apply(model())
    await world.settle()
    revision = world.status(MD, "m")["revision"]
    world.patch(r.DEPLOYMENTS, revision, {"spec": {"replicas": 9, "template": {"metadata": {"labels": {"x": "y"}}}}})
    world.delete(r.POD_DISRUPTION_BUDGETS, "m")
    await world.settle()
    deployment = world.get(r.DEPLOYMENTS, revision)
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 1
    assert world.get(r.POD_DISRUPTION_BUDGETS, "m") is not None


@pytest.mark.parametrize(
    ("resource", "child", "patch"),
    [
        (r.SERVICES, "shop-arms", {"spec": {"selector": {"a": "b"}}}),
        (r.SERVICES, "shop", {"spec": {"selector": {"a": "b"}}}),
        (r.SERVICES, "shop", {"spec": {"publishNotReadyAddresses": True}}),
        (r.DEPLOYMENTS, "", {"spec": {"paused": True}}),
        (r.DEPLOYMENTS, "", {"spec": {"template": {"spec": {"nodeSelector": {"disk": "none"}}}}}),
        (r.DESTINATION_RULES, "shop", {"spec": {"trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}}}),
        (r.VIRTUAL_SERVICES, "shop", {"spec": {"gateways": ["other"]}}),
        (r.SCALED_OBJECTS, "m", {"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}),
        (r.SCALED_OBJECTS, "m", {"spec": {"idleReplicaCount": 0}}),
        (r.POD_DISRUPTION_BUDGETS, "m", {"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
        (r.SERVICE_MONITORS, "m", {"spec": {"jobLabel": "x"}}),
    ],
)
async def test_what_somebody_adds_to_a_child_is_put_back_and_told(
    world: World, resource: r.Resource, child: str, patch: dict[str, Any]
) -> None:
    world.apply(model(scaling={"min": 1, "max": 3}))
    await world.settle()
    child = child or world.status(MD, "m")["revision"]
    before = world.get(resource, child)
    assert before is not None
    world.patch(resource, child, patch)
    edited = world.get(resource, child)
    assert edited is not None
    assert (edited["spec"], edited["metadata"].get("annotations")) != (
        before["spec"],
        before["metadata"].get("annotations"),
    )
    await world.settle()
    after = world.get(resource, child)
    assert after is not None
    assert after["spec"] == before["spec"]
    assert "autoscaling.keda.sh/paused" not in after["metadata"]["annotations"]
    told = [entry for entry in world.events() if entry[2] in ("ChildPutBack", "RouteRewritten")]
    assert [entry[:2] for entry in told] == [("m", "Warning")]
    writes = world.writes
    await world.settle()
    assert world.writes == writes


async def test_a_writer_that_does_not_give_way_is_named_in_the_condition_and_costs_few_writes(world: World) -> None:
    world.apply(model())
    await world.settle()
    revision = world.status(MD, "m")["revision"]
    before = world.writes
    for _ in range(12):
        world.patch(r.DEPLOYMENTS, revision, {"spec": {"paused": True}})
        await world.turn()
        world.now += timedelta(seconds=1)
    assert world.writes - before <= 3 * 3 + 2, "owners, Deployment and Event of each; the condition and its Event"
    assert world.condition(MD, "m", "Ready")[:2] == ("False", "Contested")
    assert "spec.paused by" in world.condition(MD, "m", "Ready")[2]
    assert world.wish is not None, "it is tried again"
    world.now += timedelta(minutes=1)
    await world.settle()
    deployment = world.get(r.DEPLOYMENTS, revision)
    assert deployment is not None
    assert "paused" not in deployment["spec"]
    assert world.condition(MD, "m", "Ready")[0] == "True"


@pytest.mark.parametrize("controlled", [True, False])
async def test_children_are_told_by_their_owner_and_not_by_a_label_alone(world: World, *, controlled: bool) -> None:
    world.apply(model())
    world.apply(model("other"))
    await world.settle()
    mine, other = world.get(r.DEPLOYMENTS, world.status(MD, "m")["revision"]), world.get(MD, "other")
    assert mine is not None
    assert other is not None
    owner = {"apiVersion": other["apiVersion"], "kind": other["kind"], "name": "other", "uid": other["metadata"]["uid"]}
    metadata = {
        "name": "m-stranger",
        "labels": mine["metadata"]["labels"],
        "ownerReferences": [{**owner, "controller": True}] if controlled else [],
    }
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": mine["spec"]}
    path = world.touched(r.DEPLOYMENTS).path(world.namespace)
    assert world.http.post(path, json=document).status_code == 201
    await world.settle()
    left = world.get(r.DEPLOYMENTS, "m-stranger")
    assert (left is not None) == controlled, "one that nobody controls is an old revision of ours"


async def test_a_restart_by_kubectl_is_left_to_who_asked_for_it(world: World) -> None:
    world.apply(model())
    await world.settle()
    revision = world.status(MD, "m")["revision"]
    marks = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    world.patch(r.DEPLOYMENTS, revision, {"spec": {"template": {"metadata": {"annotations": marks}}}})
    writes = world.writes
    await world.turn()
    assert world.writes == writes
    deployment = world.get(r.DEPLOYMENTS, revision)
    assert deployment is not None
    assert deployment["spec"]["template"]["metadata"]["annotations"] == marks


async def test_unknown_features_are_refused_until_the_view_appears(world: World) -> None:
    world.apply(model(features={"refs": ["user-stats:amount"]}))
    await world.settle()
    accepted = world.condition(MD, "m", "Accepted")
    assert accepted[:2] == ("False", "NotFound")
    assert "there is no FeatureView 'user-stats'" in accepted[2]
    assert names(world, "Deployment") == []
    resolved, available = (world.condition(MD, "m", kind) for kind in ("ModelResolved", "Available"))
    assert resolved == ("Unknown", "NotAccepted", f"{GOOD} is not fetched while Accepted is False")
    assert available == ("False", "NotAccepted", "no pods are made while Accepted is False")
    world.apply(builders.feature_view("user-stats").build())
    await world.settle()
    assert world.condition(MD, "m", "Ready")[0] == "True"
    world.delete(r.FEATURE_VIEWS, "user-stats")
    await world.settle()
    assert world.condition(MD, "m", "Accepted")[0] == "False"
    assert world.condition(MD, "m", "Available")[0] == "True", "what serves goes on serving"


async def test_a_service_of_somebody_else_is_left_alone(world: World) -> None:
    foreign = {"metadata": {"name": "shop"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}}}
    path = r.SERVICES.path(world.namespace)
    assert world.http.post(path, json={"apiVersion": "v1", "kind": "Service", **foreign}).status_code == 201
    world.apply(model())
    await world.settle(turns=20, horizon=world.now - world.now)
    assert world.condition(MD, "m", "Accepted")[:2] == ("False", "NameTaken")
    service = world.get(r.SERVICES, "shop")
    assert service is not None
    assert service["spec"]["selector"] == {"app": "theirs"}
    world.delete(r.SERVICES, "shop")
    await world.settle()
    assert world.condition(MD, "m", "Ready")[0] == "True"


async def test_the_champion_stays_champion_over_restarts_and_a_later_deployment(world: World) -> None:
    world.apply(model("v1"))
    await world.settle()
    world.apply(model("v2"))
    await world.settle()
    world.restart()
    await world.settle()
    assert (world.status(MD, "v1")["champion"], world.status(MD, "v2")["champion"]) == (True, False)


async def test_a_deleted_champion_goes_only_after_traffic_has_gone_to_another(world: World) -> None:
    for name in ("v1", "v2"):
        world.apply(model(name))
        await world.settle()
    world.delete(MD, "v1")
    await world.turn()
    service = world.get(r.SERVICES, "shop")
    assert service is not None
    assert service["spec"]["selector"]["millrace.dev/deployment"] == "v2"
    assert world.get(MD, "v1") is not None, "its subset is still in the route"
    await world.settle()
    assert world.get(MD, "v1") is None
    assert world.status(MD, "v2")["champion"] is True
    rule = world.get(r.DESTINATION_RULES, "shop")
    assert rule is not None
    assert [subset["name"] for subset in rule["spec"]["subsets"]] == ["v2"]


async def test_the_last_deployment_takes_everything_with_it(world: World) -> None:
    world.apply(model(scaling={"min": 1, "max": 2}))
    await world.settle()
    world.delete(MD, "m")
    await world.settle()
    for _ in range(100):
        if not world.children():
            break
        await world.turn()
    assert world.children() == []


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("shop", "store", True),
        ("shop", None, True),
        (None, "store", True),
        (None, "m", False),
        ("m", None, False),
        ("shop", "shop", False),
    ],
)
def test_a_deployment_stays_with_its_service(
    world: World, before: str | None, after: str | None, refused: bool
) -> None:
    made = model(service=before or "")
    if before is None:
        made["spec"].pop("service", None)
    world.apply(made)
    if refused:
        with pytest.raises(AssertionError, match=r"spec\.service is immutable"):
            world.patch(MD, "m", {"spec": {"service": after}})
    else:
        world.patch(MD, "m", {"spec": {"service": after}})
    held = world.get(MD, "m")
    assert held is not None
    assert held["spec"].get("service", "m") == (before or "m" if refused else after or "m")


@pytest.mark.parametrize("device", ["gpu", "auto"])
async def test_a_gpu_is_asked_for_where_a_node_offers_one(world: World, device: str) -> None:
    node = {"metadata": {"name": f"gpu-{world.namespace}"}, "spec": {"taints": []}}
    assert world.http.post("/api/v1/nodes", json={"apiVersion": "v1", "kind": "Node", **node}).status_code == 201
    path = f"/api/v1/nodes/gpu-{world.namespace}"
    offer = b'{"status": {"allocatable": {"nvidia.com/gpu": "1"}}}'
    assert world.http.patch(f"{path}/status", content=offer, headers={"content-type": "application/merge-patch+json"})
    try:
        world.apply(model(inference={"device": device}))
        await world.settle()
        assert world.status(MD, "m")["device"] == "gpu"
    finally:
        world.http.delete(path)


async def test_a_cluster_without_mesh_keda_and_prometheus_operator_serves_all_the_same(world: World) -> None:
    world.absent = {r.SCALED_OBJECTS, r.SERVICE_MONITORS, r.VIRTUAL_SERVICES, r.DESTINATION_RULES}
    spec = model(scaling={"min": 1, "max": 5}, resources={"requests": {"cpu": "500m"}})
    world.apply(spec)
    await world.settle()
    assert world.condition(MD, "m", "Ready")[0] == "True"
    assert world.condition(MD, "m", "ScalerReady")[:2] == ("True", "HorizontalPodAutoscaler")
    scaler = world.get(r.HORIZONTAL_POD_AUTOSCALERS, "m")
    assert scaler is not None
    assert scaler["spec"]["scaleTargetRef"]["name"] == world.status(MD, "m")["revision"]
    assert {item["kind"] for item in world.children()} == {
        "ControllerRevision",
        "ConfigMap",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
    }
    world.absent = set()
    world.restart()
    await world.settle()
    assert world.get(r.HORIZONTAL_POD_AUTOSCALERS, "m") is None
    assert world.get(r.SCALED_OBJECTS, "m") is not None


def autoscaler(name: str, revision: str, **metadata: Any) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": revision}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, **metadata},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5},
    }


async def test_between_keda_and_kubernetes_autoscaler_there_are_never_two_scalers_and_no_other_number(
    world: World,
) -> None:
    world.apply(model(scaling={"min": 1, "max": 5}))
    await world.settle()
    revision = world.status(MD, "m")["revision"]
    world.patch(r.DEPLOYMENTS, revision, {"spec": {"replicas": 4}})
    await world.settle()
    scaled = world.get(r.SCALED_OBJECTS, "m")
    assert scaled is not None
    metadata = scaled["metadata"]
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "m", "uid": metadata["uid"]}
    owners = [{**owner, "controller": True}]
    world.apply(autoscaler("keda-hpa-m", revision, labels=metadata["labels"], ownerReferences=owners))
    await world.settle()
    assert world.condition(MD, "m", "ScalerReady")[:2] == ("True", "ScaledObject")
    assert world.get(r.HORIZONTAL_POD_AUTOSCALERS, "keda-hpa-m") is not None
    seen = []
    for absent in ({r.SCALED_OBJECTS}, set()):
        if absent:
            world.delete(r.SCALED_OBJECTS, "m")
        world.absent = absent
        world.restart()
        for _ in range(12):
            await world.turn()
            found = scalers(world)
            assert len(found) <= 1, "two scalers pull at one number"
            seen += [name for name in found if seen[-1:] != [name]]
            deployment = world.get(r.DEPLOYMENTS, revision)
            assert deployment is not None
            assert deployment["spec"]["replicas"] == 4
    assert seen[-2:] == ["HorizontalPodAutoscaler m", "ScaledObject m"]


def scalers(world: World) -> list[str]:
    """All that scales now; a ScaledObject and what KEDA makes of it are one."""
    found = [
        f"{resource.kind} {item['metadata']['name']}"
        for resource in (r.SCALED_OBJECTS, r.HORIZONTAL_POD_AUTOSCALERS)
        for item in world.all(resource)
    ]
    if "ScaledObject m" in found and "HorizontalPodAutoscaler keda-hpa-m" in found:
        found.remove("HorizontalPodAutoscaler keda-hpa-m")
    return found


async def test_an_autoscaler_of_somebody_else_is_told_and_left_and_no_name_of_it_is_taken_for_ours(
    world: World,
) -> None:
    world.apply(model())
    await world.settle()
    world.apply(autoscaler("m", world.status(MD, "m")["revision"]))
    await world.settle()
    found = world.condition(MD, "m", "ScalerReady")
    assert found[:2] == ("False", "OtherScaler")
    assert "HorizontalPodAutoscaler 'm'" in found[2]
    assert world.get(r.HORIZONTAL_POD_AUTOSCALERS, "m") is not None
    world.delete(r.HORIZONTAL_POD_AUTOSCALERS, "m")
    await world.settle()
    assert world.condition(MD, "m", "ScalerReady")[:2] == ("True", "FixedReplicas")


async def test_the_scale_subresource_sets_the_number_and_says_how_many_serve(world: World) -> None:
    world.apply(model())
    await world.settle()
    path = f"{MD.path(world.namespace, 'm')}/scale"
    merge = {"content-type": "application/merge-patch+json"}
    world.touched(MD)
    answer = world.http.patch(path, content=b'{"spec": {"replicas": 3}}', headers=merge)
    assert answer.status_code == 200, answer.text
    await world.settle()
    scale = world.http.get(path).json()
    assert (scale["spec"], scale["status"]["replicas"]) == ({"replicas": 3}, 3)
    revision = world.status(MD, "m")["revision"]
    assert scale["status"]["selector"] == f"millrace.dev/deployment=m,millrace.dev/revision={revision}"
    world.patch(MD, "m", {"spec": {"replicas": None, "scaling": {"min": 1, "max": 5}}})
    answer = world.http.patch(path, content=b'{"spec": {"replicas": 3}}', headers=merge)
    assert answer.status_code == 422
    assert "change its min and max instead" in answer.text


async def test_a_child_of_somebody_else_is_left_alone_and_told(world: World) -> None:
    theirs = {"metadata": {"name": "m"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "theirs"}}}}
    world.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", **theirs})
    world.apply(model())
    await world.settle()
    refused = world.condition(MD, "m", "Accepted")
    assert refused[:2] == ("False", "NameTaken")
    assert "PodDisruptionBudget" in refused[2]
    world.delete(r.POD_DISRUPTION_BUDGETS, "m")
    await world.settle()
    assert world.condition(MD, "m", "Ready")[0] == "True"


async def turns(world: World) -> None:
    """Some turns: a world in which each turn tries in vain does not settle."""
    for _ in range(8):
        await world.turn()


CHILDREN = [
    "controllerrevisions",
    "configmaps",
    "deployments",
    "poddisruptionbudgets",
    "servicemonitors",
    "scaledobjects",
    "services",
    "destinationrules",
    "virtualservices",
]


@pytest.mark.parametrize("plural", CHILDREN)
async def test_a_child_that_a_quota_forbids_is_told_with_the_servers_words_and_made_once_it_is_allowed(
    world: World, faults: Faults, plural: str
) -> None:
    scaling = {"min": 1, "max": 3}
    of_the_route = plural in ("services", "destinationrules", "virtualservices")
    faults.put({"verb": "create|update|patch", "resource": plural, "action": "status", "code": 403})
    world.apply(model(scaling=scaling))
    await turns(world)
    assert faults.fired() >= 2, "it is tried again"
    assert world.wish is not None
    assert world.wish <= 30
    assert world.kills == 0, "and no turn is broken off"
    if plural == "destinationrules":
        assert names(world, "VirtualService") == [], "no route to a subset that was not made"
    if of_the_route:
        assert ("m", "Warning", "Forbidden") in world.events()
    else:
        refused = world.condition(MD, "m", "Accepted")
        assert refused[:2] == ("False", "Forbidden")
        assert plural in refused[2]
        assert "fault injected: 403" in refused[2]
    made = {item["kind"] for item in world.children()}
    assert {"PodDisruptionBudget", "ServiceMonitor", "Service"} - made <= {KINDS.get(plural, "")}, "others are made"
    faults.put()
    await world.settle()
    assert world.condition(MD, "m", "Ready")[0] == "True"


KINDS = {
    "poddisruptionbudgets": "PodDisruptionBudget",
    "servicemonitors": "ServiceMonitor",
    "services": "Service",
}


async def test_a_deletion_that_a_webhook_forbids_keeps_nothing_else_from_being_done(
    world: World, faults: Faults
) -> None:
    world.apply(model())
    await world.settle()
    faults.put({"verb": "delete", "action": "status", "code": 403})
    world.apply(model(uri=BETTER))
    await turns(world)
    assert world.kills == 0
    assert faults.fired() >= 2
    refused = world.condition(MD, "m", "Accepted")
    assert (refused[:2], "DELETE" in refused[2]) == (("False", "Forbidden"), True)
    assert len(names(world, "Deployment")) == 2
    faults.put()
    await world.settle()
    assert len(names(world, "Deployment")) == 1
    assert world.condition(MD, "m", "Ready")[0] == "True"
