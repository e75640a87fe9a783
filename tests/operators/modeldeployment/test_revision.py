"""What makes a new revision, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from millrace_core.api import names
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_kube.platform import Platform
from millrace_operators.modeldeployment import pod
from tests import builders

PLATFORM = Platform(
    inference_image="millrace/inference:1",
    gpu_image="millrace/inference-gpu:1",
    materialize_image="unused",
    namespace="millrace-system",
    gateway_url="http://gateway",
)


def revision(built: builders.Built, device: str = "cpu", platform: Platform = PLATFORM) -> str:
    return names.revision(
        "m", pod.template("m", "default", ModelDeployment.model_validate(built.build()).spec, device, platform)
    )


PLAIN = builders.model_deployment("m")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.scaling", {"min": 2, "max": 9, "metric": "queueDepth", "target": 3}),
        ("spec.description", "words"),
        ("spec.owner", "somebody"),
        ("spec.tags", {"team": "growth"}),
        ("spec.service", "m"),
        ("spec.inference", {"device": "cpu"}),
    ],
)
def test_what_no_pod_sees_makes_no_revision(path: str, value: Any) -> None:
    assert revision(PLAIN.having(path, value)) == revision(PLAIN)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.model.uri", "file:///nowhere/other.onnx"),
        ("spec.model.digest", "sha256:" + "0" * 64),
        ("spec.features", {"refs": ["user-stats:amount"]}),
        ("spec.resources", {"requests": {"cpu": "2"}}),
        ("spec.service", "other"),
    ],
)
def test_what_a_pod_runs_makes_a_revision(path: str, value: Any) -> None:
    assert revision(PLAIN.having(path, value)) != revision(PLAIN)


def test_another_image_or_device_makes_a_revision() -> None:
    assert revision(PLAIN, "gpu") != revision(PLAIN)
    assert revision(PLAIN, platform=replace(PLATFORM, inference_image="millrace/inference:2")) != revision(PLAIN)


@pytest.mark.parametrize(("device", "image"), [("cpu", "millrace/inference:1"), ("gpu", "millrace/inference-gpu:1")])
def test_both_containers_of_a_pod_run_the_image_of_its_device(device: str, image: str) -> None:
    spec = ModelDeployment.model_validate(PLAIN.build()).spec
    pod_spec = pod.template("m", "default", spec, device, PLATFORM)["spec"]
    assert [each["image"] for each in (*pod_spec["initContainers"], *pod_spec["containers"])] == [image, image]


def test_the_gateway_is_no_part_of_a_pod_that_joins_no_features() -> None:
    elsewhere = replace(PLATFORM, gateway_url="http://elsewhere")
    assert revision(PLAIN, platform=elsewhere) == revision(PLAIN)
