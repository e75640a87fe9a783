"""What a resource is, and the table of the built-in ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

#: Storage keys that the server's own code names.
CRDS = "apiextensions.k8s.io/customresourcedefinitions"
EVENTS = "events/events"
NAMESPACES = "/namespaces"
PODS = "/pods"
SECRETS = "/secrets"

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class ApiResource:
    """One resource in one version: ``deployments`` in ``apps/v1``.

    Versions of one resource share ``storage``. Objects are kept in one of them; in the others only ``apiVersion``
    differs, except for the kinds that ``versions.py`` converts.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = VERBS
    list_kind: str = ""
    storage_group: str | None = None
    custom: bool = False
    definition: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def storage(self) -> str:
        """The key that all versions of this resource share in the store: ``apps/deployments``."""
        group = self.group if self.storage_group is None else self.storage_group
        return f"{group}/{self.plural}"

    @cached_property
    def head(self) -> bytes:
        """The bytes with which every object of this resource begins."""
        return f'{{"apiVersion":"{self.api_version}","kind":"{self.kind}",'.encode()

    @cached_property
    def plural_list_kind(self) -> str:
        """``DeploymentList``."""
        return self.list_kind or f"{self.kind}List"


def _row(
    api_version: str,
    kind: str,
    plural: str,
    short: str = "",
    *,
    scoped: bool = True,
    sub: str = "",
    categories: str = "",
    verbs: tuple[str, ...] = VERBS,
    storage_group: str | None = None,
) -> ApiResource:
    group, _, version = api_version.rpartition("/")
    return ApiResource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=scoped,
        short_names=tuple(short.split()),
        categories=tuple(categories.split()),
        subresources=frozenset(sub.split()),
        verbs=verbs,
        storage_group=storage_group,
    )


_NAMESPACE_VERBS = tuple(verb for verb in VERBS if verb != "deletecollection")
_REVIEW = ("create",)
_AUTH = "authorization.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io/v1"
_HOOKS = "admissionregistration.k8s.io/v1"

BUILTIN: tuple[ApiResource, ...] = (
    _row("v1", "Binding", "bindings", verbs=_REVIEW),
    _row("v1", "ConfigMap", "configmaps", "cm"),
    _row("v1", "Endpoints", "endpoints", "ep"),
    _row("v1", "Event", "events", "ev", storage_group="events"),
    _row("v1", "LimitRange", "limitranges", "limits"),
    _row("v1", "Namespace", "namespaces", "ns", scoped=False, sub="status finalize", verbs=_NAMESPACE_VERBS),
    _row("v1", "Node", "nodes", "no", scoped=False, sub="status"),
    _row("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", sub="status"),
    _row("v1", "PersistentVolume", "persistentvolumes", "pv", scoped=False, sub="status"),
    _row("v1", "Pod", "pods", "po", sub="status log binding eviction", categories="all"),
    _row("v1", "PodTemplate", "podtemplates"),
    _row("v1", "ReplicationController", "replicationcontrollers", "rc", sub="status scale", categories="all"),
    _row("v1", "ResourceQuota", "resourcequotas", "quota", sub="status"),
    _row("v1", "Secret", "secrets"),
    _row("v1", "ServiceAccount", "serviceaccounts", "sa"),
    _row("v1", "Service", "services", "svc", sub="status", categories="all"),
    _row(f"{_HOOKS}", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", scoped=False),
    _row(f"{_HOOKS}", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", scoped=False, sub="status"),
    _row(f"{_HOOKS}", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", scoped=False),
    _row(f"{_HOOKS}", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", scoped=False),
    _row(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd crds",
        scoped=False,
        sub="status",
        categories="api-extensions",
    ),
    _row("apps/v1", "ControllerRevision", "controllerrevisions"),
    _row("apps/v1", "DaemonSet", "daemonsets", "ds", sub="status", categories="all"),
    _row("apps/v1", "Deployment", "deployments", "deploy", sub="status scale", categories="all"),
    _row("apps/v1", "ReplicaSet", "replicasets", "rs", sub="status scale", categories="all"),
    _row("apps/v1", "StatefulSet", "statefulsets", "sts", sub="status scale", categories="all"),
    _row("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", scoped=False, verbs=_REVIEW),
    _row(_AUTH, "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=_REVIEW),
    _row(_AUTH, "SelfSubjectAccessReview", "selfsubjectaccessreviews", scoped=False, verbs=_REVIEW),
    _row(_AUTH, "SelfSubjectRulesReview", "selfsubjectrulesreviews", scoped=False, verbs=_REVIEW),
    _row(_AUTH, "SubjectAccessReview", "subjectaccessreviews", scoped=False, verbs=_REVIEW),
    _row(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "hpa",
        sub="status",
        categories="all",
    ),
    _row(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "hpa",
        sub="status",
        categories="all",
    ),
    _row("batch/v1", "CronJob", "cronjobs", "cj", sub="status", categories="all"),
    _row("batch/v1", "Job", "jobs", sub="status", categories="all"),
    _row("coordination.k8s.io/v1", "Lease", "leases"),
    _row("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    _row("events.k8s.io/v1", "Event", "events", "ev", storage_group="events"),
    _row("networking.k8s.io/v1", "IngressClass", "ingressclasses", scoped=False),
    _row("networking.k8s.io/v1", "Ingress", "ingresses", "ing", sub="status"),
    _row("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "netpol"),
    _row("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", sub="status"),
    _row(_RBAC, "ClusterRoleBinding", "clusterrolebindings", scoped=False),
    _row(_RBAC, "ClusterRole", "clusterroles", scoped=False),
    _row(_RBAC, "RoleBinding", "rolebindings"),
    _row(_RBAC, "Role", "roles"),
    _row("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "pc", scoped=False),
    _row("storage.k8s.io/v1", "StorageClass", "storageclasses", "sc", scoped=False),
)

#: Dotted paths that field selectors may name, beside metadata.name and metadata.namespace.
SELECTABLE: dict[str, tuple[str, ...]] = {
    "/pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "/namespaces": ("status.phase",),
    "/nodes": ("spec.unschedulable",),
    "/secrets": ("type",),
    "/services": ("spec.clusterIP", "spec.type"),
    "/replicationcontrollers": ("status.replicas",),
    "apps/replicasets": ("status.replicas",),
    "batch/jobs": ("status.successful",),
    "events/events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}
