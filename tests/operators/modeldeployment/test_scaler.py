"""Who scales, and what ScalerReady says of it."""

from __future__ import annotations

from typing import Any

from millrace_core.api.modeldeployment import ModelDeployment, ModelDeploymentSpec, Scaling
from millrace_operators.modeldeployment.scaler import FIXED, HPA, KEDA, condition, kind, replicas
from tests import builders


def spec(scaling: dict[str, Any], **more: Any) -> ModelDeploymentSpec:
    built = builders.model_deployment("m").having("spec.scaling", scaling)
    for field, value in more.items():
        built = built.having(f"spec.{field}", value)
    return ModelDeployment.model_validate(built.build()).spec


UP = {"min": 1, "max": 4}


def test_a_fixed_number_needs_no_scaler() -> None:
    assert kind(Scaling(min=3, max=3), keda=True) == FIXED
    found = condition(spec({"min": 3, "max": 3}), None, keda=True)
    assert (found["status"], found["reason"]) == ("True", "FixedReplicas")


def test_keda_scales_where_it_is_and_kubernetes_itself_elsewhere() -> None:
    assert kind(Scaling(min=1, max=4), keda=True) == KEDA
    assert kind(Scaling(min=1, max=4), keda=False) == HPA


def test_scaling_by_cpu_needs_a_cpu_request() -> None:
    found = condition(spec(UP), None, keda=False)
    assert (found["status"], found["reason"]) == ("False", "NoCpuRequest")
    assert "spec.resources.requests.cpu" in found["message"]
    assert condition(spec(UP, resources={"requests": {"cpu": "1"}}), None, keda=False)["status"] == "True"


def test_what_keda_reports_is_passed_on() -> None:
    broken = {"type": "Ready", "status": "False", "reason": "TriggerError", "message": "no such host"}
    found = condition(spec(UP), {"status": {"conditions": [broken]}}, keda=True)
    assert (found["status"], found["message"]) == ("False", "KEDA says: no such host")
    assert (
        condition(spec(UP), {"status": {"conditions": [{**broken, "status": "True"}]}}, keda=True)["status"] == "True"
    )
    assert condition(spec(UP), {}, keda=True)["status"] == "True"


def test_the_number_of_pods_follows_the_scaler_within_bounds() -> None:
    bounds = Scaling(min=2, max=6)
    assert [replicas(bounds, *present) for present in [(), (1,), (4,), (9,), (3, 5)]] == [2, 2, 4, 6, 5]
