"""A ModelDeployment's children as YAML, accepted by Kubernetes', KEDA's and the Prometheus operator's own schemas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace_core.api import names
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.identity.revision import content, revision_name
from millrace_operators.modeldeployment import desired, pod, scaler
from millrace_operators.modeldeployment.gate_job import ChampionModel, gate_job
from millrace_operators.modeldeployment.pods import Fetched
from millrace_operators.modeldeployment.revisions import RevisionRecord
from millrace_operators.platform import Platform
from millrace_operators.routing.state import Champion, DesiredRoute, LiveRoute, RouteTarget
from tests import builders
from tests.operators import golden
from tests.operators.routing.applying import next_changes

GOLDEN = Path(__file__).parent / "golden"
PLATFORM = Platform(
    inference_image="millrace/inference:0.1.0",
    gpu_image="millrace/inference-gpu:0.1.0",
    materialize_image="unused",
    namespace="millrace-system",
    gateway_url="http://millrace-gateway.millrace-system.svc",
    prometheus_url="http://prometheus.monitoring.svc:9090",
    lake_uri="s3://lake/evidence",
    lake_secret="lake",
)
PLAIN = builders.model_deployment("recommendation-v2", "s3://models/recommendation/2/model.onnx", "recommendation")
FULL = (
    PLAIN.having("spec.model.digest", "sha256:" + "ab" * 32)
    .having("spec.model.credentialsSecretRef", {"name": "lake"})
    .having(
        "spec.features", {"refs": ["user-stats:amount", "user-stats:visits"], "input": "features", "timeout": "20ms"}
    )
    .having(
        "spec.inference",
        {
            "gpu": {"count": 1, "product": "NVIDIA-L4"},
            "batching": {"maxRows": 16, "maxDelay": "5ms"},
            "queue": {"maxRequests": 100, "timeout": "500ms"},
            "cache": {"ttl": "5m", "maxBytes": "16Mi"},
            "log": {"sample": 0.5, "redact": [{"column": "entity.user_id", "how": "hash"}]},
        },
    )
    .having("spec.resources", {"requests": {"cpu": "1", "memory": "1Gi"}})
    .having("spec.scaling", {"min": 1, "max": 10, "metric": "queueDepth", "target": 5})
)
GATED = FULL.having(
    "spec.gates",
    {
        "holdout": {"uri": "s3://eval/holdout.parquet", "label": "target", "credentialsSecretRef": {"name": "eval"}},
        "rules": [{"metric": "auc", "notWorseThan": "champion", "margin": 0.005}, {"latencyP99": "50ms"}],
    },
)
# The longest name there is: what is made from it must stay within Kubernetes' 63 characters.
LONG = PLAIN.having("metadata.name", "m" * 45).having("spec.scaling", {"min": 1, "max": 2})


def owner(built: builders.Built) -> dict[str, Any]:
    document = built.build()
    document["metadata"] |= {"namespace": "recsys", "uid": "uid-1"}
    return document


def record(built: builders.Built, device: str = "cpu") -> RevisionRecord:
    """The first revision of a deployment, as this release makes it."""
    document = owner(built)
    spec, name = ModelDeployment.model_validate(document).spec, document["metadata"]["name"]
    made_of = content(name, spec, device)
    revision = revision_name(name, "uid-1", 1, made_of)
    return RevisionRecord(revision, 1, device, made_of, pod.template(document, spec, revision, device, PLATFORM))


def gates_job(built: builders.Built, device: str = "cpu") -> dict[str, Any]:
    document = owner(built)
    spec = ModelDeployment.model_validate(document).spec
    champion = ChampionModel("recommendation-v1", record(PLAIN), "sha256:" + "cd" * 32)
    name = names.gate_job(document["metadata"]["name"], ["uid-1"])
    return gate_job(document, spec, record(built, device), name, PLATFORM, champion)


def children(built: builders.Built, device: str = "cpu") -> dict[str, Callable[[], dict[str, Any]]]:
    document = owner(built)
    spec = ModelDeployment.model_validate(document).spec
    kept = record(built, device)
    model = Fetched("sha256:" + "cd" * 32, 1048576)
    return {
        "deployment": lambda: desired.deployment(document, kept, replicas=spec.bounds.min),
        "controller-revision": lambda: desired.controller_revision(document, kept),
        "pinned-model": lambda: desired.pinned_model(document, kept, model),
        "disruption-budget": lambda: desired.disruption_budget(document, spec),
        "service-monitor": lambda: desired.service_monitor(document, spec),
        "scaled-object": lambda: scaler.scaled_object(document, spec, kept.name, PLATFORM.prometheus_url),
        "autoscaler": lambda: scaler.cpu_scaler(document, spec, kept.name),
    }


CASES = {
    "plain": children(PLAIN)["deployment"],
    "plain-pinned-model": children(PLAIN)["pinned-model"],
    "gate-job": lambda: gates_job(GATED, "gpu"),
    **{f"full-{name}": build for name, build in children(FULL, "gpu").items() if name != "pinned-model"},
}
LONG_ONES = {**children(LONG), "gate-job": lambda: gates_job(LONG)}


@pytest.mark.parametrize("case", CASES)
def test_golden_children(case: str) -> None:
    golden.check(GOLDEN / f"{case}.yaml", [CASES[case]()])


@pytest.mark.parametrize("case", CASES)
def test_those_who_read_the_children_accept_them(case: str) -> None:
    golden.check_schema(CASES[case]())


def test_a_server_that_reads_features_has_the_token_of_its_namespace_and_no_other_container_has_it() -> None:
    asked = replace(PLATFORM, token_secret="callers")

    def pod_of(built: builders.Built, platform: Platform) -> dict[str, Any]:
        document = owner(built)
        return pod.template(document, ModelDeployment.model_validate(document).spec, "r", "cpu", platform)["spec"]

    spec = pod_of(FULL, asked)
    [mount] = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "token"]
    assert [each["secret"] for each in spec["volumes"] if each["name"] == "token"] == [
        {"secretName": "callers", "optional": True}
    ]
    env = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    assert env["MILLRACE_TOKEN_FILE"] == f"{mount['mountPath']}/tokens"
    assert "token" not in str(spec["initContainers"])
    for built, platform in ((PLAIN, asked), (FULL, PLATFORM), (FULL, replace(asked, gateway_url=""))):
        assert "token" not in str(pod_of(built, platform)["volumes"])


def test_a_pod_that_the_route_no_longer_finds_is_not_its_deployments_either_and_is_replaced() -> None:
    deployment = children(PLAIN)["deployment"]()
    labels, name = deployment["spec"]["template"]["metadata"]["labels"], deployment["metadata"]["name"]
    target = RouteTarget("recommendation-v2", "uid-1", "2026-01-01T00:00:00Z", name, ready=True)
    champion = DesiredRoute("recommendation", "recsys", (target,), Champion("recommendation-v2"), target, None, 5)
    route = next_changes(champion, LiveRoute(), datetime(2026, 1, 1, tzinfo=UTC)).apply
    finds = [item["spec"]["selector"] for item in route if item["kind"] == "Service"]
    finds += [subset["labels"] for item in route for subset in item["spec"].get("subsets", [])]
    assert len(finds) == 3
    for selector in finds:
        assert selector.items() <= labels.items()
        assert selector.items() <= deployment["spec"]["selector"]["matchLabels"].items()


@pytest.mark.parametrize("case", LONG_ONES)
def test_no_name_or_label_is_longer_than_63_characters(case: str) -> None:
    document = LONG_ONES[case]()
    golden.check_schema(document)
    prefix = "keda-hpa-" if document["kind"] == "ScaledObject" else ""
    assert len(prefix + document["metadata"]["name"]) <= 63
    assert all(len(value) <= 63 for value in document["metadata"]["labels"].values())
    # A pod's name is the Deployment's with 10 and 5 characters of Kubernetes' own; its host name is cut to 63.
    assert len(record(LONG).name) <= 63


@pytest.mark.parametrize("metric", ["queueDepth", "inFlight", "requestRate"])
def test_the_query_is_a_sum_over_the_pods_of_this_deployment_alone(metric: str) -> None:
    built = FULL.having("spec.scaling.metric", metric)
    trigger = children(built)["scaled-object"]()["spec"]["triggers"][0]["metadata"]
    assert trigger["query"].startswith("sum(")
    assert 'namespace="recsys",deployment="recommendation-v2"' in trigger["query"]
    assert trigger["ignoreNullValues"] == "false"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_both_containers_of_a_pod_run_the_image_of_its_device(device: str) -> None:
    image = PLATFORM.gpu_image if device == "gpu" else PLATFORM.inference_image
    spec = record(FULL, device).template["spec"]
    assert [each["image"] for each in (*spec["initContainers"], *spec["containers"])] == [image, image]
