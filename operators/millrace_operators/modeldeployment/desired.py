"""A ModelDeployment's children, built from values alone: what a revision needs, a budget, a monitor."""

from __future__ import annotations

from typing import Any, Final

from millrace_core.api import names
from millrace_core.api.group import GROUP
from millrace_core.api.modeldeployment import ModelDeploymentSpec, service_name
from millrace_kube.owners import owner_reference
from millrace_operators.modeldeployment import pod
from millrace_operators.modeldeployment.pods import Fetched
from millrace_operators.modeldeployment.revisions import RevisionRecord
from millrace_operators.routing.desired import ARMS_COMPONENT, COMPONENT, TARGET_PORT

Object = dict[str, Any]

# Annotation of a Deployment: gpu or cpu.
DEVICE: Final = f"{GROUP}/device"


def deployment(owner: Object, record: RevisionRecord, *, replicas: int) -> Object:
    """The Deployment of one revision, with the pod template that was rendered when the revision was made."""
    template = dict(record.template)
    metadata = child_metadata(owner, record.name, template["metadata"]["labels"])
    metadata["annotations"] = {DEVICE: record.device}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": pod.STARTUP_SECONDS,
            # All labels by which the route finds pods: one that loses a label is replaced, not left without traffic.
            "selector": {"matchLabels": dict(template["metadata"]["labels"])},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "template": template,
        },
    }


def controller_revision(owner: Object, record: RevisionRecord) -> Object:
    """What is kept of a revision. Kubernetes refuses a change of its data."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": child_metadata(owner, record.name, record.template["metadata"]["labels"]),
        "revision": record.number,
        "data": record.data(),
    }


def pinned_model(owner: Object, record: RevisionRecord, model: Fetched) -> Object:
    """What the pods of a revision have to serve, where the spec states no digest: their fetch reads it as it starts."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(owner, record.name, record.template["metadata"]["labels"]),
        "immutable": True,
        "data": {pod.PINNED_KEY: model.digest, "bytes": str(model.bytes)},
    }


def disruption_budget(owner: Object, spec: ModelDeploymentSpec) -> Object:
    """Evictions take one pod at a time; a pod that is not ready may always go."""
    name = owner["metadata"]["name"]
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child_metadata(owner, name, child_labels(name, spec)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {names.DEPLOYMENT: name}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def service_monitor(owner: Object, spec: ModelDeploymentSpec) -> Object:
    """Scrapes this deployment's pods by way of the Service that selects all pods of its service."""
    name = owner["metadata"]["name"]
    own_pods = {
        "sourceLabels": ["__meta_kubernetes_pod_label_millrace_dev_deployment"],
        "regex": name,
        "action": "keep",
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": child_metadata(owner, name, child_labels(name, spec)),
        "spec": {
            "selector": {"matchLabels": {names.SERVICE: service_name(name, spec), COMPONENT: ARMS_COMPONENT}},
            "endpoints": [{"port": TARGET_PORT, "path": "/metrics", "interval": "15s", "relabelings": [own_pods]}],
            "podTargetLabels": [names.REVISION],
        },
    }


def child_labels(name: str, spec: ModelDeploymentSpec) -> dict[str, str]:
    """Labels of the children that all revisions share."""
    return {names.MANAGED_BY: "millrace", names.DEPLOYMENT: name, names.SERVICE: service_name(name, spec)}


def child_metadata(owner: Object, name: str, labels: dict[str, str]) -> Object:
    """Metadata of a child that goes with its owner."""
    return {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [owner_reference(owner)],
    }
