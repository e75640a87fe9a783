"""An operator upgrade: what the last release made, in front of this one.

``golden/previous-release`` holds ControllerRevisions as a release before this one made them. They are what is found in
a cluster, so ``make golden`` leaves them as they are.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import yaml

from millrace_kube.cache import Cache
from millrace_kube.resources import CONTROLLER_REVISIONS, DEPLOYMENTS, MODEL_DEPLOYMENTS, NODES, PODS, Object
from millrace_operators.modeldeployment import desired, pod
from millrace_operators.modeldeployment.observe import DeploymentObservation, observe
from millrace_operators.modeldeployment.plan import plan
from millrace_operators.platform import Platform
from tests import builders
from tests.operators.modeldeployment.test_golden import FULL, GOLDEN, PLAIN, PLATFORM, owner
from tests.operators.world import World

GPU_NODE = {"nvidia.com/gpu": "1"}
# What that release had no fields for is not asked for.
CASES = {"plain": PLAIN, "full": FULL.having("spec.inference", {"gpu": {"count": 1, "product": "NVIDIA-L4"}})}
UPGRADED = replace(
    PLATFORM,
    inference_image="inference:9.9.9",
    gpu_image="inference-gpu:9.9.9",
    gateway_url="http://elsewhere",
    prometheus_url="http://elsewhere",
)


def kept(case: str) -> Object:
    found: Object = yaml.safe_load((GOLDEN / "previous-release" / f"{case}.yaml").read_text(encoding="utf-8"))
    return found


def look(case: str, built: builders.Built, platform: Platform = UPGRADED, **changes: Any) -> DeploymentObservation:
    """What this release sees where the last one left its revision and a Deployment that serves."""
    document, record = owner(built), {**kept(case), **changes}
    name = record["metadata"]["name"]
    document["status"] = {
        "revision": name,
        "model": {"version": "abababab", "digest": "sha256:" + "ab" * 32, "bytes": 1},
    }
    labels = record["metadata"]["labels"]
    served = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "recsys", "labels": labels, "annotations": {desired.DEVICE: "cpu"}},
        "spec": {"replicas": 1},
        "status": {"readyReplicas": 1},
    }
    node = {
        "metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        "status": {"allocatable": GPU_NODE if case == "full" else {}},
    }
    cache = Cache()
    for resource, item in (
        (MODEL_DEPLOYMENTS, document),
        (CONTROLLER_REVISIONS, record),
        (DEPLOYMENTS, served),
        (NODES, node),
    ):
        cache.upsert(resource, {**item, "metadata": {**item["metadata"], "resourceVersion": "1"}})
    return observe(cache, document, platform)


@pytest.mark.parametrize("case", CASES)
def test_an_upgrade_leaves_pods_as_the_last_release_made_them(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod, "_DRAIN_SECONDS", 99)  # a default of the code
    observed = look(case, CASES[case])
    assert observed.made
    planned = plan(
        observed.target.name,
        observed.revisions,
        observed.recorded,
        observed.spec.bounds,
        pinned=observed.pins,
        routed=(),
    )
    assert (planned.active, planned.target, planned.delete) == (observed.recorded, observed.recorded, ())
    built = desired.deployment(observed.document, observed.target, replicas=1)
    assert built["metadata"]["name"] == observed.recorded
    assert built["spec"]["template"] == kept(case)["data"]["template"]


@pytest.mark.parametrize("case", CASES)
def test_an_upgrade_is_told_by_what_would_differ(case: str) -> None:
    assert "spec.containers[serve].image" in look(case, CASES[case]).outdated


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.model.uri", "s3://models/recommendation/3/model.onnx"),
        ("spec.resources", {"requests": {"cpu": "3"}}),
        ("spec.features", {"refs": ["user-stats:amount"], "timeout": "21ms"}),
    ],
)
def test_a_changed_spec_makes_a_revision_of_this_release(case: str, path: str, value: Any) -> None:
    observed = look(case, CASES[case].having(path, value))
    assert not observed.made
    assert (observed.target.number, observed.outdated) == (2, ())
    [server] = observed.target.template["spec"]["containers"]
    assert server["image"].endswith(":9.9.9")
    planned = plan(
        observed.target.name,
        observed.revisions,
        observed.recorded,
        observed.spec.bounds,
        pinned=observed.pins,
        routed=(),
    )
    assert (planned.active, planned.delete) == (observed.recorded, ()), "the old one serves until the new one is ready"


@pytest.mark.parametrize("case", CASES)
def test_a_change_that_no_pod_sees_makes_none_after_an_upgrade_either(case: str) -> None:
    assert look(case, CASES[case].having("spec.description", "words").having("spec.scaling.max", 20)).made


@pytest.mark.parametrize("case", CASES)
def test_what_is_kept_of_another_object_of_that_name_counts_for_nothing(case: str) -> None:
    metadata = deepcopy(kept(case)["metadata"])
    metadata["ownerReferences"][0]["uid"] = "uid-of-one-that-was-deleted"
    observed = look(case, CASES[case], metadata=metadata)
    assert not observed.made
    assert observed.target.name != metadata["name"]


def test_a_revision_that_this_release_made_is_not_told_to_differ() -> None:
    observed = look("plain", PLAIN.having("spec.model.uri", "file:///new.onnx"))
    document = owner(PLAIN.having("spec.model.uri", "file:///new.onnx"))
    again = look(
        "plain",
        PLAIN.having("spec.model.uri", "file:///new.onnx"),
        **desired.controller_revision(document, observed.target),
    )
    assert again.made
    assert again.outdated == ()


async def test_an_upgrade_replaces_no_pod_and_a_command_does_it_on_purpose(world: World) -> None:
    world.apply(model())
    await world.settle()
    before, pods = world.all(DEPLOYMENTS), world.all(PODS)
    world.platform = replace(world.platform, inference_image="inference:next", gateway_url="http://elsewhere")
    world.restart()
    await world.settle()
    after = world.all(DEPLOYMENTS)
    assert [_spec(item) for item in after] == [_spec(item) for item in before]
    assert world.all(PODS) == pods
    assert world.condition(MODEL_DEPLOYMENTS, "m", "Ready")[0] == "True"
    current = world.condition(MODEL_DEPLOYMENTS, "m", "TemplateCurrent")
    assert current[:2] == ("False", "OlderTemplate")
    assert "spec.containers[serve].image" in current[2]
    world.apply({**model(), "metadata": {"name": "m", "annotations": {"millrace.dev/command": "1:restart"}}})
    await world.settle()
    [moved] = world.all(DEPLOYMENTS)
    assert moved["spec"]["template"]["spec"]["containers"][0]["image"] == "inference:next"
    assert world.condition(MODEL_DEPLOYMENTS, "m", "TemplateCurrent")[:2] == ("True", "Current")


async def test_a_deployment_is_put_back_as_it_was_made_after_an_upgrade(world: World) -> None:
    world.apply(model())
    await world.settle()
    [made] = world.all(DEPLOYMENTS)
    world.platform = replace(world.platform, inference_image="inference:next")
    world.restart()
    image = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    world.patch(DEPLOYMENTS, made["metadata"]["name"], image)
    await world.settle()
    [put_back] = world.all(DEPLOYMENTS)
    assert put_back["spec"] == made["spec"]
    world.delete(DEPLOYMENTS, made["metadata"]["name"])
    await world.settle()
    [put_back] = world.all(DEPLOYMENTS)
    assert put_back["spec"] == made["spec"]


async def test_a_revision_made_while_the_cache_knew_none_is_not_made_twice(world: World) -> None:
    world.apply(model())
    await world.settle()
    world.forget(CONTROLLER_REVISIONS)
    await world.turn()
    await world.settle()
    assert len(world.all(CONTROLLER_REVISIONS)) == 1


async def test_a_record_that_somebody_deletes_moves_the_model_to_a_new_revision(world: World) -> None:
    world.apply(model())
    await world.settle()
    old = world.status(MODEL_DEPLOYMENTS, "m")["revision"]
    world.platform = replace(world.platform, inference_image="inference:next")
    world.restart()
    world.delete(CONTROLLER_REVISIONS, old)
    await world.turn()
    assert world.condition(MODEL_DEPLOYMENTS, "m", "Available")[0] == "True"
    await world.settle()
    status = world.status(MODEL_DEPLOYMENTS, "m")
    assert status["revision"] == status["targetRevision"] != old, "a revision never runs two templates"
    assert [item["metadata"]["name"] for item in world.all(DEPLOYMENTS)] == [status["revision"]]


def _spec(deployment: Object) -> tuple[Any, ...]:
    return deployment["metadata"]["uid"], deployment["metadata"]["generation"], deployment["spec"]


URI = "file:///m/good.onnx"


def model() -> Object:
    return builders.model_deployment("m", URI, "shop").build()
