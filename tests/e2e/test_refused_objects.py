"""What the API server itself refuses: before anything is stored, with a sentence that names the field and the mend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import Built, bandit, canary, experiment, feature_view, model_deployment
from tests.e2e.conftest import ClusterUnderTest, in_namespace
from tests.e2e.kubectl import Kubectl

ARMS: list[dict[str, Any]] = [
    {"name": "a", "deployment": "v1", "control": True},
    {"name": "b", "deployment": "v2", "weight": 60},
    {"name": "c", "deployment": "v3", "weight": 60},
]
AB = experiment("ab", "ranking", "v1", "v2")
STEPS = [{"weight": 50}, {"weight": 20}]

CASES: dict[str, tuple[Built, list[str]]] = {
    "weight over 100": (AB.having("spec.arms", [ARMS[0], {**ARMS[1], "weight": 120}]), ["weight", "100"]),
    "weights that sum to over 100": (AB.having("spec.arms", ARMS), ["must not sum to more than 100"]),
    "no control": (
        AB.having("spec.arms", [{**ARMS[0], "control": False, "weight": 10}, ARMS[1]]),
        ["exactly one arm with control: true"],
    ),
    "a control with a weight": (AB.having("spec.arms", [{**ARMS[0], "weight": 5}, ARMS[1]]), ["remove its weight"]),
    "an override of no arm": (
        AB.having("spec.overrides", [{"header": "x", "value": "beta", "arm": "zzz"}]),
        ["must name one of spec.arms"],
    ),
    "falling steps": (canary("c", "ranking", "v1", "v2", STEPS), ["must not fall"]),
    "a flip with steps": (
        canary("c", "ranking", "v1", "v2", [{"weight": 50}]).having("spec.type", "BlueGreen"),
        ["without weights and steps: all traffic flips at once"],
    ),
    "a shadow with an override": (
        canary("c", "ranking", "v1", "v2", [{"weight": 50}])
        .having("spec.type", "Shadow")
        .having("spec.overrides", [{"header": "x", "value": "beta", "arm": "challenger"}]),
        ["the control answers everything"],
    ),
    "a shadow whose outcomes are looked at": (
        canary("c", "ranking", "v1", "v2", [{"weight": 50}])
        .having("spec.type", "Shadow")
        .having(
            "spec.metrics", [{"name": "ctr", "role": "secondary", "kind": "proportion", "source": {"outcome": "c"}}]
        ),
        ["nobody gets the answers of a Shadow"],
    ),
    "a comparison where nothing is copied": (
        AB.having(
            "spec.metrics",
            [{"name": "s", "role": "secondary", "source": {"comparison": {"output": "score", "measure": "psi"}}}],
        ),
        ["a comparison needs spec.type Shadow"],
    ),
    "times of a flip of a canary": (
        canary("c", "ranking", "v1", "v2", [{"weight": 50}]).having("spec.blueGreen", {"keepFor": "1m"}),
        ["spec.blueGreen needs spec.type BlueGreen"],
    ),
    "times of a flip of a rolling update": (
        model_deployment("m").having("spec.rollout", {"blueGreen": {"keepFor": "1m"}}),
        ["spec.rollout.blueGreen needs spec.rollout.strategy BlueGreen"],
    ),
    "a rolling update that waits for a person": (
        model_deployment("m").having("spec.rollout", {"onSuccess": "Pause"}),
        ["a RollingUpdate waits for nobody"],
    ),
    "a service that is too long for its preview": (
        model_deployment("m", service="s" * 56),
        ["spec.service", "55"],
    ),
    "a bandit with floors of more than all traffic": (
        bandit("b", "ranking", "v1", "v2")
        .having("spec.bandit", {"floor": 0.5})
        .having("spec.arms", [{key: arm[key] for key in arm if key != "weight"} for arm in ARMS]),
        ["spec.bandit.floor for each of spec.arms is more than all traffic"],
    ),
    "a bandit that is planned": (
        bandit("b", "ranking", "v1", "v2").having(
            "spec.metrics",
            [
                {"name": "ctr", "role": "primary", "kind": "proportion", "source": {"outcome": "c"}}
                | {"mde": "2%", "baseline": 0.1}
            ],
        ),
        ["no size is planned for a Bandit"],
    ),
    "an unknown field": (AB.having("spec.analyses", {"alpha": 0.05}), ["analyses"]),
    "a guardrail without a limit": (
        AB.having("spec.metrics", [{"name": "e", "role": "guardrail", "source": {"prometheus": "e"}}]),
        ["a guardrail of Prometheus needs abortAbove or abortBelow"],
    ),
    "a schedule that is no cron line": (
        feature_view("v").having("spec.materialization.schedule", "every day"),
        ["spec.materialization", "expected five fields", "day of week (0 to 6, or sun to sat)"],
    ),
    "a Sunday that is 7": (
        feature_view("v").having("spec.materialization.schedule", "0 0 * * 7"),
        ["spec.materialization", "day of week (0 to 6, or sun to sat)"],
    ),
    "a schedule without fixed times": (
        feature_view("v").having("spec.materialization.schedule", "@every 1h"),
        ["spec.materialization", "@every"],
    ),
    "a schedule in a time zone": (
        feature_view("v").having("spec.materialization.schedule", "TZ=Europe/Berlin 0 9 * * *"),
        ["spec.materialization", "leave TZ= out"],
    ),
    "a name that passes 63 characters in a child": (feature_view("v" * 60), ["metadata.name", "49"]),
    "a model name too long": (model_deployment("m" * 50), ["metadata.name", "45"]),
    "a name that is no service": (model_deployment("1st"), ["begin with a letter"]),
    "an online view without a schedule": (
        feature_view("v").without("spec.materialization"),
        ["spec.materialization is required"],
    ),
    "a feature type that is none": (
        feature_view("v").having("spec.features", [{"name": "a", "type": "decimal"}]),
        ["spec.features[0].type", "decimal"],
    ),
    "two features of one name": (
        feature_view("v").having("spec.features", [{"name": "a", "type": "int64"}, {"name": "a", "type": "float64"}]),
        ["Duplicate"],
    ),
    "a feature called like an entity": (
        feature_view("v").having("spec.features", [{"name": "user_id", "type": "int64"}]),
        ["name of an entity"],
    ),
    "a feature that is a column and an expression": (
        feature_view("v").having("spec.features", [{"name": "a", "type": "int64", "column": "b", "expression": "1"}]),
        ["leave all but one of the three out"],
    ),
    "a request field called like an entity": (
        feature_view("v").having("spec.requestFields", [{"name": "user_id", "type": "int64"}]),
        ["a request field must not have the name of an entity"],
    ),
    "scaling to zero": (model_deployment("m").having("spec.scaling", {"min": 0, "max": 3}), ["spec.scaling.min"]),
    "scaling upside down": (model_deployment("m").having("spec.scaling", {"min": 3, "max": 2}), ["at most"]),
    "a number of pods and a scaler": (
        model_deployment("m").having("spec.scaling", {"min": 1, "max": 3}).having("spec.replicas", 2),
        ["remove one of them"],
    ),
    "no pods": (model_deployment("m").having("spec.replicas", 0), ["spec.replicas"]),
    "percent of a GPU that are none": (
        model_deployment("m").having("spec.scaling", {"max": 3, "metric": "gpuUtilization"}),
        ["from 10 to 100"],
    ),
    "a delay longer than is remembered": (
        model_deployment("m").having("spec.scaling", {"max": 3, "scaleDownDelay": "60m1s"}),
        ["spec.scaling.scaleDownDelay", "at most 1h"],
    ),
    "a delay that is none": (
        model_deployment("m").having("spec.scaling", {"max": 3, "scaleDownDelay": "1d"}),
        ["spec.scaling.scaleDownDelay"],
    ),
    "a digest that is none": (model_deployment("m").having("spec.model.digest", "abc"), ["spec.model.digest"]),
    "a model scheme that is not read": (model_deployment("m", "ftp://x/m.onnx"), ["spec.model.uri"]),
}


@pytest.fixture(scope="module")
def kubectl(target: ClusterUnderTest) -> Iterator[Kubectl]:
    with in_namespace(target) as cluster:
        yield cluster


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_with_a_message_and_nothing_is_stored(kubectl: Kubectl, case: str) -> None:
    built, words = CASES[case]
    document = built.build()
    refused = kubectl.apply(document, check=False)
    assert refused.returncode != 0
    for word in words:
        assert word in refused.stderr
    kind = document["kind"].lower()
    assert kubectl.run("get", kind, "-o", "name").stdout == ""


def test_the_times_of_a_flip_are_frozen_once_an_experiment_is_ready(kubectl: Kubectl) -> None:
    flip = canary("flip", "ranking", "v1", "v2", []).without("spec.steps").having("spec.type", "BlueGreen")
    kubectl.apply(flip.having("spec.blueGreen", {"keepFor": "1m"}).build())
    status = '{"status": {"phase": "Running", "definition": "sha256:0"}}'
    kubectl.run("patch", "experiment", "flip", "--subresource=status", "--type=merge", "-p", status)
    refused = kubectl.apply(flip.having("spec.blueGreen", {"keepFor": "2m"}).build(), check=False)
    assert "spec.blueGreen is frozen once the experiment is Ready" in refused.stderr


def test_arms_are_frozen_once_an_experiment_is_ready(kubectl: Kubectl) -> None:
    kubectl.apply(AB.build())
    status = '{"status": {"phase": "Running", "definition": "sha256:0"}}'
    kubectl.run("patch", "experiment", "ab", "--subresource=status", "--type=merge", "-p", status)
    refused = kubectl.apply(
        AB.having("spec.arms", [ARMS[0], {"name": "b", "deployment": "other", "weight": 1}]).build(), check=False
    )
    assert refused.returncode != 0
    assert "frozen once the experiment is Ready" in refused.stderr
