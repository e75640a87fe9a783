"""The resources that the operators read and write: where each is served, and what of it is worth watching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from millrace_core.api import names
from millrace_core.api.base import GROUP, VERSION

# A Kubernetes object as JSON. Objects that come from the cache are shared: never change one, build a new one.
Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One kind of object as the API server serves it.

    Args:
        group: API group; empty for the core group.
        selector: label selector of what is watched; empty: all objects.
        drop: dotted paths that the cache does not keep, because nothing reads them and they are large.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    selector: str = ""
    drop: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """``apiVersion`` of the objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection (no name), the object or its subresource."""
        parts = ["/apis/" + self.group if self.group else "/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


_OURS: Final = f"{names.MANAGED_BY}=millrace"

FEATURE_VIEWS: Final = Resource(GROUP, VERSION, "featureviews", "FeatureView")
MODEL_DEPLOYMENTS: Final = Resource(GROUP, VERSION, "modeldeployments", "ModelDeployment")
EXPERIMENTS: Final = Resource(GROUP, VERSION, "experiments", "Experiment")

CRON_JOBS: Final = Resource("batch", "v1", "cronjobs", "CronJob", selector=_OURS)
JOBS: Final = Resource("batch", "v1", "jobs", "Job", selector=_OURS)
PODS: Final = Resource("", "v1", "pods", "Pod", selector=_OURS, drop=("spec",))
SERVICES: Final = Resource("", "v1", "services", "Service", selector=_OURS)
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment", selector=_OURS)
POD_DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", selector=_OURS)
SCALED_OBJECTS: Final = Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", selector=_OURS)
SERVICE_MONITORS: Final = Resource("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor", selector=_OURS)
HORIZONTAL_POD_AUTOSCALERS: Final = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", selector=_OURS
)
# The users' own are watched too: one for a service's host makes Millrace's its delegate.
VIRTUAL_SERVICES: Final = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
DESTINATION_RULES: Final = Resource("networking.istio.io", "v1", "destinationrules", "DestinationRule", selector=_OURS)
NODES: Final = Resource(
    "", "v1", "nodes", "Node", namespaced=False, drop=("status.images", "status.conditions", "status.nodeInfo")
)

# Read and written, never watched.
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
EVENTS: Final = Resource("", "v1", "events", "Event")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")

WATCHED: Final = (
    FEATURE_VIEWS,
    MODEL_DEPLOYMENTS,
    EXPERIMENTS,
    CRON_JOBS,
    JOBS,
    PODS,
    SERVICES,
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    SCALED_OBJECTS,
    HORIZONTAL_POD_AUTOSCALERS,
    SERVICE_MONITORS,
    VIRTUAL_SERVICES,
    DESTINATION_RULES,
    NODES,
)
_BY_KIND: Final = {
    (resource.api_version, resource.kind): resource for resource in (*WATCHED, SECRETS, NAMESPACES, EVENTS, LEASES)
}


def resource_of(document: Object) -> Resource:
    """The resource of an object by its apiVersion and kind."""
    return _BY_KIND[document["apiVersion"], document["kind"]]


def name_of(document: Object) -> str:
    """``metadata.name``."""
    return str(document["metadata"]["name"])


def namespace_of(document: Object) -> str:
    """``metadata.namespace``; empty for cluster-scoped objects."""
    return str(document["metadata"].get("namespace", ""))


def labels_of(document: Object) -> dict[str, str]:
    """``metadata.labels``; empty where there are none."""
    return document["metadata"].get("labels") or {}


def annotations_of(document: Object) -> dict[str, str]:
    """``metadata.annotations``; empty where there are none."""
    return document["metadata"].get("annotations") or {}


def deleting(document: Object) -> bool:
    """Whether deletion has begun (``metadata.deletionTimestamp`` is set)."""
    return bool(document["metadata"].get("deletionTimestamp"))


def owner_reference(owner: Object, *, controller: bool = True) -> Object:
    """An owner reference to ``owner``, for a child's ``metadata.ownerReferences``."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": owner["metadata"]["uid"],
        "controller": controller,
        "blockOwnerDeletion": True,
    }


def key_text(document: Object) -> str:
    """``Kind namespace/name``, as messages show an object."""
    where = namespace_of(document)
    return f"{document['kind']} {where}/{name_of(document)}" if where else f"{document['kind']} {name_of(document)}"
