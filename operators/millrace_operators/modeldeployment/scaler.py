"""Who sets the number of pods: nobody (fixed), KEDA by load, or Kubernetes' own autoscaler by CPU where KEDA is absent.

References: KEDA's ScaledObject specification and its Prometheus scaler; the default counters of NVIDIA's DCGM exporter.
"""

from __future__ import annotations

from typing import Any, Final

from millrace_core.api.modeldeployment import ModelDeploymentSpec, Scaling
from millrace_core.base import duration
from millrace_operators.modeldeployment.desired import child_labels, child_metadata

Object = dict[str, Any]

FIXED: Final = "FixedReplicas"
KEDA: Final = "ScaledObject"
HPA: Final = "HorizontalPodAutoscaler"
GPU_UTILIZATION: Final = "gpuUtilization"

# The Service of Prometheus that the Prometheus operator makes, in the customary namespace.
DEFAULT_PROMETHEUS: Final = "http://prometheus-operated.monitoring.svc:9090"

CPU_PERCENT: Final = 70
# Fast up: double or four pods more every 15 s.
_UP: Final[Object] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 100, "periodSeconds": 15},
        {"type": "Pods", "value": 4, "periodSeconds": 15},
    ],
}
# Slowly down: a tenth a minute, and at least one.
_DOWN: Final[Object] = {
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 10, "periodSeconds": 60},
        {"type": "Pods", "value": 1, "periodSeconds": 60},
    ],
}
_LOAD: Final = {
    "queueDepth": "sum(millrace_inference_queue_depth{{{series}}})",
    "inFlight": "sum(millrace_inference_in_flight{{{series}}})",
    # A route has no series before its first request: then it is 0 where pods are scraped at all.
    "requestRate": 'sum(rate(millrace_http_request_seconds_count{{{series},route=~"infer|predict"}}[1m])) '
    "or 0 * sum(millrace_inference_in_flight{{{series}}})",
}
# The pod's labels are its own where the scrape keeps them (honorLabels), and begin with exported_ where it does not.
# Of several GPUs of one pod the mean counts.
_GPU_LOAD: Final = (
    "sum(avg by (pod, exported_pod) ("
    '{counter}{{namespace="{namespace}",pod=~"{revision}-.+"}} or '
    '{counter}{{exported_namespace="{namespace}",exported_pod=~"{revision}-.+"}}))'
)
_GPU_COUNTER: Final = "DCGM_FI_DEV_GPU_UTIL"
# The other one is not measured of a slice of a GPU.
_MIG_COUNTER: Final = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"


def kind(scaling: Scaling, *, keda: bool) -> str:
    """FIXED, KEDA or HPA; ``keda`` says whether the cluster serves ScaledObjects."""
    if scaling.min == scaling.max:
        return FIXED
    return KEDA if keda else HPA


def scaler(
    owner: Object, spec: ModelDeploymentSpec, revision: str, prometheus_url: str, *, keda: bool
) -> Object | None:
    """The object that scales the Deployment ``revision``; None where the number is fixed."""
    chosen = kind(spec.bounds, keda=keda)
    if chosen == FIXED:
        return None
    return scaled_object(owner, spec, revision, prometheus_url) if chosen == KEDA else cpu_scaler(owner, spec, revision)


def scaled_object(owner: Object, spec: ModelDeploymentSpec, revision: str, prometheus_url: str) -> Object:
    """Scales by load, summed over pods: KEDA divides the sum by the number of pods and compares it with the target.

    A query without an answer is an error, never zero, and errors never shrink the fleet.
    """
    name, scaling = owner["metadata"]["name"], spec.bounds
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": prometheus_url or DEFAULT_PROMETHEUS,
            "query": load_query(name, owner["metadata"]["namespace"], revision, spec),
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
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(scaling)}},
            "triggers": [trigger],
        },
    }


def cpu_scaler(owner: Object, spec: ModelDeploymentSpec, revision: str) -> Object:
    """Scales by CPU, in a cluster without KEDA."""
    name = owner["metadata"]["name"]
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child_metadata(owner, name, child_labels(name, spec)),
        "spec": {
            "scaleTargetRef": _target(revision),
            "minReplicas": spec.bounds.min,
            "maxReplicas": spec.bounds.max,
            "metrics": [{"type": "Resource", "resource": cpu}],
            "behavior": _behavior(spec.bounds),
        },
    }


def load_query(name: str, namespace: str, revision: str, spec: ModelDeploymentSpec) -> str:
    """PromQL of the load of all pods together."""
    metric = spec.bounds.metric
    if metric != GPU_UTILIZATION:
        return _LOAD[metric].format(series=f'namespace="{namespace}",deployment="{name}"')
    mig = "/mig-" in spec.inference.gpu.resource
    query = _GPU_LOAD.format(counter=_MIG_COUNTER if mig else _GPU_COUNTER, namespace=namespace, revision=revision)
    return f"100 * {query}" if mig else query


def replicas(scaling: Scaling, *present: int) -> int:
    """How many pods a revision gets: the fixed number, or as many as the scaler has set on any revision that lives."""
    return min(max(scaling.min, *present), scaling.max) if present else scaling.min


def _behavior(scaling: Scaling) -> Object:
    return {
        "scaleUp": _UP,
        "scaleDown": {"stabilizationWindowSeconds": int(duration.seconds(scaling.scale_down_delay)), **_DOWN},
    }


def _target(revision: str) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": revision}
