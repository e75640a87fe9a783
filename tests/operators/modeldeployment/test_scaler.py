"""Who scales, and what ScalerReady says of it."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api.conditions import ConditionDict
from millrace_core.api.modeldeployment import ModelDeployment, ModelDeploymentSpec, Scaling
from millrace_kube.cache import Cache
from millrace_kube.resources import HORIZONTAL_POD_AUTOSCALERS, SCALED_OBJECTS
from millrace_operators.modeldeployment.scaler import FIXED, HPA, KEDA, cpu_scaler, kind, load_query, replicas
from millrace_operators.modeldeployment.scalers import Scalers, observe, ready
from tests import builders

OWNER = {
    "apiVersion": "millrace.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "m", "namespace": "shop", "uid": "u"},
}


def spec(scaling: dict[str, Any] | None = None, **more: Any) -> ModelDeploymentSpec:
    built = builders.model_deployment("m")
    for field, value in {**more, **({"scaling": scaling} if scaling else {})}.items():
        built = built.having(f"spec.{field}", value)
    return ModelDeployment.model_validate(built.build()).spec


UP = {"min": 1, "max": 4}
GPU = {**UP, "metric": "gpuUtilization", "target": 70}


def said(of: ModelDeploymentSpec, *, device: str = "cpu", cpu_requested: bool = True, **scalers: Any) -> ConditionDict:
    return ready(of, Scalers(**{"keda": True, **scalers}), device=device, cpu_requested=cpu_requested)


def scaler(kind: str, name: str = "m", *conditions: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec, "status": {"conditions": list(conditions)}}


def test_the_number_of_replicas_is_fixed_without_scaling() -> None:
    assert [(found.min, found.max) for found in (spec().bounds, spec(replicas=3).bounds)] == [(1, 1), (3, 3)]
    assert kind(spec(replicas=3).bounds, keda=True) == FIXED
    found = said(spec(replicas=3))
    assert (found["status"], found["reason"], found["message"]) == ("True", "FixedReplicas", "always 3")


def test_keda_scales_where_it_is_and_kubernetes_itself_elsewhere() -> None:
    assert kind(Scaling(min=1, max=4), keda=True) == KEDA
    assert kind(Scaling(min=1, max=4), keda=False) == HPA
    assert kind(Scaling(min=4, max=4), keda=False) == FIXED


def test_scaling_by_cpu_needs_a_cpu_request_and_says_that_it_is_not_the_metric_of_the_spec() -> None:
    found = said(spec(UP), keda=False, cpu_requested=False)
    assert (found["status"], found["reason"]) == ("False", "NoCpuRequest")
    assert "spec.resources.requests.cpu" in found["message"]
    found = said(spec(UP), keda=False)
    assert found["status"] == "True"
    assert "not by inFlight, since the cluster has no KEDA" in found["message"]


def test_a_horizontal_pod_autoscaler_without_figures_is_told_and_no_failure_yet() -> None:
    blind = {"type": "ScalingActive", "status": "False", "message": "no metrics returned from resource metrics API"}
    found = said(spec(UP), keda=False, own=(scaler(HPA, "m", blind),))
    assert found["status"] == "Unknown"
    assert "no metrics returned" in found["message"]


def test_what_keda_reports_is_passed_on() -> None:
    broken = {"type": "Ready", "status": "False", "reason": "TriggerError", "message": "no such host"}
    found = said(spec(UP), own=(scaler(KEDA, "m", broken),))
    assert (found["status"], found["message"]) == ("False", "KEDA says: no such host")
    assert said(spec(UP), own=(scaler(KEDA, "m", {**broken, "status": "True"}),))["status"] == "True"
    assert said(spec(UP))["status"] == "True"


@pytest.mark.parametrize(("scaling", "needs"), [(UP, "a Prometheus there"), (GPU, "DCGM exporter")])
def test_a_query_that_nobody_answers_is_told_with_what_it_needs(scaling: dict[str, Any], needs: str) -> None:
    fallen = {"type": "Fallback", "status": "True", "reason": "FallbackExists"}
    trigger = {"metadata": {"serverAddress": "http://prometheus", "query": "sum(x)"}}
    found = said(spec(scaling), device="gpu", own=(scaler(KEDA, "m", fallen, triggers=[trigger]),))
    assert (found["status"], found["reason"]) == ("False", "NoMetric")
    for words in ("http://prometheus for sum(x)", needs):
        assert words in found["message"]


def test_gpu_utilization_of_pods_on_cpus_is_refused() -> None:
    assert (said(spec(GPU))["status"], said(spec(GPU))["reason"]) == ("False", "NoGpu")
    assert said(spec(GPU), device="gpu")["status"] == "True"


@pytest.mark.parametrize("scaling", [None, UP])
def test_a_scaler_of_somebody_else_is_named(scaling: dict[str, Any] | None) -> None:
    found = said(spec(scaling), others=(scaler(HPA, "theirs"),))
    assert (found["status"], found["reason"]) == ("False", "OtherScaler")
    assert "the HorizontalPodAutoscaler 'theirs' scales the pods too" in found["message"]


@pytest.mark.parametrize("keda", [True, False])
def test_what_keda_made_is_never_somebody_elses_and_is_left_over_once_keda_is_gone(keda: bool) -> None:
    cache = Cache()
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "m", "uid": "s", "controller": True}
    theirs = {**owner, "name": "x", "uid": "x"}
    metadata = {"namespace": "shop", "resourceVersion": "1"}
    target = {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "m-1"}}}
    cache.replace(
        HORIZONTAL_POD_AUTOSCALERS,
        [
            {"kind": HPA, "metadata": {**metadata, "name": "keda-hpa-m", "ownerReferences": [owner]}, **target},
            {"kind": HPA, "metadata": {**metadata, "name": "keda-hpa-x", "ownerReferences": [theirs]}, **target},
            {"kind": HPA, "metadata": {**metadata, "name": "m"}, **target},
        ],
        "1",
    )
    if keda:
        cache.replace(SCALED_OBJECTS, (), "1")
    found = observe(cache, "shop", "m", ["m-1"])
    assert found.keda is keda
    assert found.own == (), "one of our name that nobody labelled is not ours"
    assert [item["metadata"]["name"] for item in found.others] == (["m"] if keda else ["keda-hpa-x", "m"])
    assert [item["metadata"]["name"] for item in found.left] == ([] if keda else ["keda-hpa-m"])


def test_the_number_of_pods_follows_the_scaler_within_bounds() -> None:
    bounds = Scaling(min=2, max=6)
    assert [replicas(bounds, *present) for present in [(), (1,), (4,), (9,), (3, 5)]] == [2, 2, 4, 6, 5]


def test_pods_go_after_the_delay_that_the_spec_says() -> None:
    down = cpu_scaler(OWNER, spec({**UP, "scaleDownDelay": "1m30s"}), "m-1")["spec"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 90


def test_load_is_summed_over_the_pods_of_a_deployment() -> None:
    assert load_query("m", "shop", "m-1", spec(UP)) == (
        'sum(millrace_inference_in_flight{namespace="shop",deployment="m"})'
    )
    rate = load_query("m", "shop", "m-1", spec({**UP, "metric": "requestRate"}))
    assert rate.endswith('or 0 * sum(millrace_inference_in_flight{namespace="shop",deployment="m"})')


def test_a_slice_of_a_gpu_is_measured_by_the_counter_that_slices_have() -> None:
    assert load_query("m", "shop", "m-1", spec(GPU)).count("DCGM_FI_DEV_GPU_UTIL{") == 2
    query = load_query("m", "shop", "m-1", spec(GPU, inference={"gpu": {"resource": "nvidia.com/mig-1g.10gb"}}))
    assert query.startswith("100 * sum(")
    assert query.count("DCGM_FI_PROF_GR_ENGINE_ACTIVE{") == 2
