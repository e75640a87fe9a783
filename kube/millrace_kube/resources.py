"""The resources of the API that Millrace reads and writes, and what every object's metadata says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from millrace_core.api.group import GROUP, VERSION

# A Kubernetes object as JSON. Objects that come from a cache are shared: never change one, build a new one.
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object as the API server serves it; ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``apiVersion`` of the objects, such as ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection (no name), the object or its subresource."""
        parts = ["/apis/" + self.group if self.group else "/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)

    def typed(self, document: Object) -> Object:
        """The object with its ``apiVersion`` and ``kind``, which the items of a list lack."""
        return {"apiVersion": self.api_version, "kind": self.kind, **document}


FEATURE_VIEWS: Final = Resource(GROUP, VERSION, "featureviews", "FeatureView")
MODEL_DEPLOYMENTS: Final = Resource(GROUP, VERSION, "modeldeployments", "ModelDeployment")
EXPERIMENTS: Final = Resource(GROUP, VERSION, "experiments", "Experiment")

NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES: Final = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS: Final = Resource("", "v1", "pods", "Pod")
SERVICES: Final = Resource("", "v1", "services", "Service")
ENDPOINTS: Final = Resource("", "v1", "endpoints", "Endpoints")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS: Final = Resource("", "v1", "events", "Event")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
CONTROLLER_REVISIONS: Final = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS: Final = Resource("batch", "v1", "cronjobs", "CronJob")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
POD_DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
HORIZONTAL_POD_AUTOSCALERS: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

SCALED_OBJECTS: Final = Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
SERVICE_MONITORS: Final = Resource("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor")
VIRTUAL_SERVICES: Final = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
DESTINATION_RULES: Final = Resource("networking.istio.io", "v1", "destinationrules", "DestinationRule")
HTTP_ROUTES: Final = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")

_BY_KIND: Final = {(one.api_version, one.kind): one for one in list(globals().values()) if isinstance(one, Resource)}


def resource_of(document: Object) -> Resource:
    """The resource of an object by its apiVersion and kind."""
    return _BY_KIND[document["apiVersion"], document["kind"]]


def name_of(document: Object) -> str:
    """``metadata.name``."""
    return str(document["metadata"]["name"])


def namespace_of(document: Object) -> str:
    """``metadata.namespace``; empty for cluster-scoped objects."""
    return str(document["metadata"].get("namespace", ""))


def key_of(document: Object) -> str:
    """``namespace/name``, or ``/name`` for a cluster-scoped object: the object's key in caches and queues."""
    return f"{namespace_of(document)}/{name_of(document)}"


def labels_of(document: Object) -> dict[str, str]:
    """``metadata.labels``; empty where there are none."""
    return document["metadata"].get("labels") or {}


def annotations_of(document: Object) -> dict[str, str]:
    """``metadata.annotations``; empty where there are none."""
    return document["metadata"].get("annotations") or {}


def version_of(document: Object) -> int:
    """``metadata.resourceVersion`` as a number, as Kubernetes declares it comparable (KEP-5504); 0 where it is none."""
    text = str(document["metadata"].get("resourceVersion") or "")
    return int(text) if text.isdigit() else 0


def deleting(document: Object) -> bool:
    """Whether deletion has begun (``metadata.deletionTimestamp`` is set)."""
    return bool(document["metadata"].get("deletionTimestamp"))


def key_text(document: Object) -> str:
    """``Kind namespace/name``, as messages show an object."""
    return f"{document['kind']} {key_of(document).removeprefix('/')}"
