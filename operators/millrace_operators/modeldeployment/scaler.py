"""Who sets the number of pods: nobody (fixed), KEDA by load, or Kubernetes' own autoscaler by CPU where KEDA is absent.

References: KEDA's ScaledObject specification and its Prometheus scaler.
"""

from __future__ import annotations

from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict
from millrace_core.api.modeldeployment import ModelDeploymentSpec, Scaling
from millrace_operators.modeldeployment.desired import child_labels, child_metadata

Object = dict[str, Any]

FIXED: Final = "FixedReplicas"
KEDA: Final = "ScaledObject"
HPA: Final = "HorizontalPodAutoscaler"
NO_CPU_REQUEST: Final = "NoCpuRequest"

# The Service of Prometheus that the Prometheus operator makes, in the customary namespace.
DEFAULT_PROMETHEUS: Final = "http://prometheus-operated.monitoring.svc:9090"

_CPU_PERCENT: Final = 70
# Fast up: double or four pods more every 15 s. Slowly down: a tenth a minute, of the highest need in 5 minutes.
_BEHAVIOR: Final[Object] = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
            {"type": "Pods", "value": 4, "periodSeconds": 15},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
    },
}
_LOAD: Final = {
    "queueDepth": "sum(millrace_inference_queue_depth{{{series}}})",
    "inFlight": "sum(millrace_inference_in_flight{{{series}}})",
    "requestRate": 'sum(rate(millrace_http_request_seconds_count{{{series},route=~"infer|predict"}}[1m]))',
}


def kind(scaling: Scaling, *, keda: bool) -> str:
    """FIXED, KEDA or HPA; ``keda`` says whether the cluster serves ScaledObjects."""
    if scaling.min == scaling.max:
        return FIXED
    return KEDA if keda else HPA


def scaler(
    owner: Object, spec: ModelDeploymentSpec, revision: str, prometheus_url: str, *, keda: bool
) -> Object | None:
    """The object that scales the Deployment ``revision``; None where the number is fixed."""
    chosen = kind(spec.scaling, keda=keda)
    if chosen == FIXED:
        return None
    return scaled_object(owner, spec, revision, prometheus_url) if chosen == KEDA else cpu_scaler(owner, spec, revision)


def scaled_object(owner: Object, spec: ModelDeploymentSpec, revision: str, prometheus_url: str) -> Object:
    """Scales by load, summed over pods: KEDA divides the sum by the number of pods and compares it with the target.

    A query without an answer is an error, never zero, and errors never shrink the fleet.
    """
    name, scaling = owner["metadata"]["name"], spec.scaling
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": prometheus_url or DEFAULT_PROMETHEUS,
            "query": load_query(name, owner["metadata"]["namespace"], scaling),
            "threshold": str(scaling.target),
            "ignoreNullValues": "false",
        },
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": child_metadata(owner, name, child_labels(name, spec)),
        "spec": {
            "scaleTargetRef": _target(revision),
            "minReplicaCount": scaling.min,
            "maxReplicaCount": scaling.max,
            "pollingInterval": 15,
            "fallback": {"failureThreshold": 3, "replicas": scaling.min, "behavior": "currentReplicasIfHigher"},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _BEHAVIOR}},
            "triggers": [trigger],
        },
    }


def cpu_scaler(owner: Object, spec: ModelDeploymentSpec, revision: str) -> Object:
    """Scales by CPU, in a cluster without KEDA."""
    name = owner["metadata"]["name"]
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": _CPU_PERCENT}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child_metadata(owner, name, child_labels(name, spec)),
        "spec": {
            "scaleTargetRef": _target(revision),
            "minReplicas": spec.scaling.min,
            "maxReplicas": spec.scaling.max,
            "metrics": [{"type": "Resource", "resource": cpu}],
            "behavior": _BEHAVIOR,
        },
    }


def load_query(name: str, namespace: str, scaling: Scaling) -> str:
    """PromQL of the load of all pods together."""
    return _LOAD[scaling.metric].format(series=f'namespace="{namespace}",deployment="{name}"')


def replicas(scaling: Scaling, *present: int) -> int:
    """How many pods a revision gets: the fixed number, or as many as the scaler has set on any revision that lives."""
    return min(max(scaling.min, *present), scaling.max) if present else scaling.min


def condition(spec: ModelDeploymentSpec, observed: Object | None, *, keda: bool) -> ConditionDict:
    """``ScalerReady``; ``observed`` is the ScaledObject as it is, None where there is none yet."""
    scaling = spec.scaling
    chosen = kind(scaling, keda=keda)
    if chosen == FIXED:
        return conditions.condition(conditions.SCALER_READY, True, FIXED, f"always {scaling.min}, as min equals max")
    span = f"{scaling.min} to {scaling.max} pods"
    if chosen == HPA:
        requests = (spec.resources.requests if spec.resources else None) or {}
        if "cpu" not in requests:
            message = "without KEDA pods are scaled by CPU, which needs spec.resources.requests.cpu"
            return conditions.condition(conditions.SCALER_READY, False, NO_CPU_REQUEST, message)
        message = f"{span} by a HorizontalPodAutoscaler at {_CPU_PERCENT}% CPU, since the cluster has no KEDA"
        return conditions.condition(conditions.SCALER_READY, True, HPA, message)
    reported = conditions.find(((observed or {}).get("status") or {}).get("conditions"), "Ready")
    if reported is not None and reported.get("status") == "False":
        message = f"KEDA says: {reported.get('message') or reported.get('reason') or 'not ready'}"
        return conditions.condition(conditions.SCALER_READY, False, KEDA, message)
    message = f"{span} by KEDA, {scaling.target} {scaling.metric} each"
    return conditions.condition(conditions.SCALER_READY, True, KEDA, message)


def _target(revision: str) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": revision}
