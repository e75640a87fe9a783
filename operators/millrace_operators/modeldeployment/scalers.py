"""What scales a ModelDeployment's pods as it is: its own scaler, what one before has left, and those of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from millrace_core.api import conditions, names
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.api.modeldeployment import ModelDeploymentSpec
from millrace_kube.cache import Cache
from millrace_kube.owners import controller_of
from millrace_kube.resources import (
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    SCALED_OBJECTS,
    Object,
    labels_of,
    name_of,
)
from millrace_operators.modeldeployment.device import GPU
from millrace_operators.modeldeployment.scaler import CPU_PERCENT, FIXED, GPU_UTILIZATION, HPA, KEDA, kind

NO_CPU_REQUEST: Final = "NoCpuRequest"
OTHER_SCALER: Final = "OtherScaler"
NO_GPU: Final = "NoGpu"
NO_METRIC: Final = "NoMetric"

_KINDS: Final = (SCALED_OBJECTS, HORIZONTAL_POD_AUTOSCALERS)
_NEEDS: Final = {
    GPU_UTILIZATION: "NVIDIA's DCGM exporter with the labels of pods (DCGM_EXPORTER_KUBERNETES=true), scraped by it"
}


@dataclass(frozen=True)
class Scalers:
    """The scalers of a ModelDeployment.

    Attributes:
        keda: whether the cluster serves ScaledObjects.
        own: its ScaledObject and its HorizontalPodAutoscaler, where there are such.
        left: HorizontalPodAutoscalers that KEDA made for it, and whose ScaledObject went with KEDA's CRD: a
            garbage collector cannot look for an owner whose kind is not served any more.
        others: scalers of somebody else on one of its Deployments.
    """

    keda: bool
    own: tuple[Object, ...] = ()
    left: tuple[Object, ...] = ()
    others: tuple[Object, ...] = ()

    def of(self, kind: str) -> Object | None:
        """Its own scaler of a kind."""
        return next((item for item in self.own if item["kind"] == kind), None)


def observe(cache: Cache, namespace: str, name: str, deployments: list[str]) -> Scalers:
    """Reads them.

    Args:
        name: of the ModelDeployment.
        deployments: names of its Deployments.
    """
    keda = cache.served(SCALED_OBJECTS, namespace)
    own = [held for one in _KINDS if (held := cache.get(one, namespace, name)) is not None and _is_of(held, name)]
    left: list[Object] = []
    others: list[Object] = []
    for resource in _KINDS:
        for deployment in deployments:
            for item in cache.scaling(resource, namespace, DEPLOYMENTS, deployment):
                made_for = _scaled_object_of(item)
                if item in own or (keda and made_for):
                    continue  # what KEDA makes of a ScaledObject is told as that
                (left if made_for == name else others).append(item)
    return Scalers(keda, tuple(own), tuple(left), tuple(others))


def ready(spec: ModelDeploymentSpec, scalers: Scalers, *, device: str, cpu_requested: bool) -> ConditionDict:
    """``ScalerReady``.

    Args:
        device: gpu or cpu, where the pods run.
        cpu_requested: whether the pods request CPU.
    """
    scaling = spec.bounds
    chosen = kind(scaling, keda=scalers.keda)
    if scalers.others:
        return _said(False, OTHER_SCALER, _of_others(scalers.others, chosen))
    if chosen == FIXED:
        return _said(True, FIXED, f"always {scaling.min}")
    if chosen == HPA:
        return _by_cpu(spec, scalers.of(HPA), cpu_requested=cpu_requested)
    if scaling.metric == GPU_UTILIZATION and device != GPU:
        message = (
            "spec.scaling.metric is gpuUtilization, and the pods run on CPUs, so their number stays; "
            "choose another metric, or set spec.inference.device to gpu"
        )
        return _said(False, NO_GPU, message)
    return _by_keda(spec, scalers.of(KEDA))


def _by_cpu(spec: ModelDeploymentSpec, observed: Object | None, *, cpu_requested: bool) -> ConditionDict:
    if not cpu_requested:
        message = "without KEDA pods are scaled by CPU, which needs spec.resources.requests.cpu"
        return _said(False, NO_CPU_REQUEST, message)
    active = conditions.find(_conditions(observed), "ScalingActive")
    if active is not None and active.get("status") == "False":
        # Not False: a HorizontalPodAutoscaler says so too until the first figures of a new pod are in.
        return _said(None, HPA, f"the HorizontalPodAutoscaler does not scale: {_words(active)}")
    scaling = spec.bounds
    message = (
        f"{scaling.min} to {scaling.max} pods by a HorizontalPodAutoscaler at {CPU_PERCENT}% CPU and not by "
        f"{scaling.metric}, since the cluster has no KEDA"
    )
    return _said(True, HPA, message)


def _by_keda(spec: ModelDeploymentSpec, observed: Object | None) -> ConditionDict:
    scaling, found = spec.bounds, _conditions(observed)
    reported, fallback = conditions.find(found, "Ready"), conditions.find(found, "Fallback")
    if reported is not None and reported.get("status") == "False":
        return _said(False, KEDA, f"KEDA says: {_words(reported)}")
    if observed is not None and fallback is not None and fallback.get("status") == "True":
        asked = observed["spec"]["triggers"][0]["metadata"]
        needs = _NEEDS.get(scaling.metric, "a Prometheus there that scrapes the pods")
        message = (
            f"KEDA gets no number for {scaling.metric}, so there are as many pods as there were. It asks "
            f"{asked.get('serverAddress')} for {asked.get('query')}, which needs {needs}"
        )
        return _said(False, NO_METRIC, message)
    return _said(True, KEDA, f"{scaling.min} to {scaling.max} pods by KEDA, {scaling.target} {scaling.metric} each")


def _of_others(others: tuple[Object, ...], chosen: str) -> str:
    listed = ", ".join(f"the {item['kind']} {name_of(item)!r}" for item in others)
    verb = "scales" if len(others) == 1 else "scale"
    if chosen == FIXED:
        return (
            f"{listed} {verb} the pods too, whose number is fixed and put back; delete it, or set spec.scaling instead"
        )
    return f"{listed} {verb} the pods too, and two scalers pull at one number; delete it, spec.scaling says the bounds"


def _said(holds: bool | None, reason: str, message: str) -> ConditionDict:
    return condition(conditions.SCALER_READY, holds, reason, message)


def _words(reported: ConditionDict) -> str:
    return str(reported.get("message") or reported.get("reason") or "not ready")


def _conditions(observed: Object | None) -> Any:
    return ((observed or {}).get("status") or {}).get("conditions")


def _is_of(scaler: Object, name: str) -> bool:
    labels = labels_of(scaler)
    return labels.get(names.MANAGED_BY) == "millrace" and labels.get(names.DEPLOYMENT) == name


def _scaled_object_of(scaler: Object) -> str:
    """The name of the ScaledObject that KEDA made it for; ours has the name of its ModelDeployment. Empty: none."""
    controller = controller_of(scaler) or {}
    return str(controller.get("name")) if controller.get("kind") == SCALED_OBJECTS.kind else ""
