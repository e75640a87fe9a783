"""A ModelDeployment's children as YAML, accepted by Kubernetes', KEDA's and the Prometheus operator's own schemas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace_core.api import names
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_kube.platform import Platform
from millrace_operators.modeldeployment import desired, pod, scaler
from tests import builders
from tests.operators import golden

GOLDEN = Path(__file__).parent / "golden"
PLATFORM = Platform(
    inference_image="millrace/millrace:0.1.0",
    gpu_image="millrace/millrace:0.1.0",
    materialize_image="unused",
    namespace="millrace-system",
    gateway_url="http://millrace-gateway.millrace-system.svc",
    prometheus_url="http://prometheus.monitoring.svc:9090",
)
PLAIN = builders.model_deployment("recommendation-v2", "s3://models/recommendation/2/model.onnx", "recommendation")
FULL = (
    PLAIN.having("spec.model.digest", "sha256:" + "ab" * 32)
    .having("spec.model.credentialsSecretRef", {"name": "lake"})
    .having(
        "spec.features", {"refs": ["user-stats:amount", "user-stats:visits"], "input": "features", "timeout": "20ms"}
    )
    .having("spec.inference", {"gpu": {"count": 1, "product": "NVIDIA-L4"}})
    .having("spec.resources", {"requests": {"cpu": "1", "memory": "1Gi"}})
    .having("spec.scaling", {"min": 1, "max": 10, "metric": "queueDepth", "target": 5})
)
# The longest name there is: what is made from it must stay within Kubernetes' 63 characters.
LONG = PLAIN.having("metadata.name", "m" * 45).having("spec.scaling", {"min": 1, "max": 2})


def owner(built: builders.Built) -> dict[str, Any]:
    document = built.build()
    document["metadata"] |= {"namespace": "recsys", "uid": "uid-1"}
    return document


def children(built: builders.Built, device: str = "cpu") -> dict[str, Callable[[], dict[str, Any]]]:
    document = owner(built)
    spec, name = ModelDeployment.model_validate(document).spec, document["metadata"]["name"]
    bare = pod.template(name, "recsys", spec, device, PLATFORM)
    revision = names.revision(name, bare)
    return {
        "deployment": lambda: desired.deployment(document, revision, bare, device=device, replicas=spec.scaling.min),
        "disruption-budget": lambda: desired.disruption_budget(document, spec),
        "service-monitor": lambda: desired.service_monitor(document, spec),
        "scaled-object": lambda: scaler.scaled_object(document, spec, revision, PLATFORM.prometheus_url),
        "autoscaler": lambda: scaler.cpu_scaler(document, spec, revision),
    }


CASES = {
    "plain": children(PLAIN)["deployment"],
    **{f"full-{name}": build for name, build in children(FULL, "gpu").items()},
}
LONG_ONES = children(LONG)


@pytest.mark.parametrize("case", CASES)
def test_golden_children(case: str) -> None:
    golden.check(GOLDEN / f"{case}.yaml", [CASES[case]()])


@pytest.mark.parametrize("case", CASES)
def test_those_who_read_the_children_accept_them(case: str) -> None:
    golden.check_schema(CASES[case]())


@pytest.mark.parametrize("case", LONG_ONES)
def test_no_name_or_label_is_longer_than_63_characters(case: str) -> None:
    document = LONG_ONES[case]()
    golden.check_schema(document)
    prefix = "keda-hpa-" if document["kind"] == "ScaledObject" else ""
    assert len(prefix + document["metadata"]["name"]) <= 63
    assert all(len(value) <= 63 for value in document["metadata"]["labels"].values())
    # A pod's name is the Deployment's with 10 and 5 characters of Kubernetes' own; its host name is cut to 63.
    assert len(names.revision("m" * 45, {})) <= 63


@pytest.mark.parametrize("metric", ["queueDepth", "inFlight", "requestRate"])
def test_the_query_is_a_sum_over_the_pods_of_this_deployment_alone(metric: str) -> None:
    built = FULL.having("spec.scaling.metric", metric)
    trigger = children(built)["scaled-object"]()["spec"]["triggers"][0]["metadata"]
    assert trigger["query"].startswith("sum(")
    assert 'namespace="recsys",deployment="recommendation-v2"' in trigger["query"]
    assert trigger["ignoreNullValues"] == "false"
