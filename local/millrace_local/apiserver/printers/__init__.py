"""The printer columns of the built-in kinds, as kubectl users know them (``k8s.io/kubernetes/pkg/printers``)."""

from __future__ import annotations

from millrace_local.apiserver.columns import AGE, NAME, TableColumn, declared
from millrace_local.apiserver.printers import cluster, network, storage, workloads
from millrace_local.apiserver.printers.pods import PODS
from millrace_local.apiserver.resources import ApiResource

_COLUMNS: dict[str, list[TableColumn]] = {
    "/configmaps": storage.CONFIG_MAPS,
    "/endpoints": network.ENDPOINTS,
    "/limitranges": cluster.CREATED_AT,
    "/namespaces": cluster.NAMESPACES,
    "/nodes": cluster.NODES,
    "/persistentvolumeclaims": storage.CLAIMS,
    "/persistentvolumes": storage.VOLUMES,
    "/pods": PODS,
    "/replicationcontrollers": workloads.REPLICA_SETS,
    "/secrets": storage.SECRETS,
    "/serviceaccounts": storage.SERVICE_ACCOUNTS,
    "/services": network.SERVICES,
    "apiextensions.k8s.io/customresourcedefinitions": cluster.CREATED_AT,
    "apps/controllerrevisions": workloads.REVISIONS,
    "apps/daemonsets": workloads.DAEMON_SETS,
    "apps/deployments": workloads.DEPLOYMENTS,
    "apps/replicasets": workloads.REPLICA_SETS,
    "apps/statefulsets": workloads.STATEFUL_SETS,
    "autoscaling/horizontalpodautoscalers": cluster.SCALERS,
    "batch/cronjobs": workloads.CRON_JOBS,
    "batch/jobs": workloads.JOBS,
    "coordination.k8s.io/leases": cluster.LEASES,
    "discovery.k8s.io/endpointslices": network.ENDPOINT_SLICES,
    "events/events": cluster.EVENTS,
    "networking.k8s.io/ingresses": network.INGRESSES,
    "networking.k8s.io/networkpolicies": network.POLICIES,
    "policy/poddisruptionbudgets": cluster.BUDGETS,
    "rbac.authorization.k8s.io/clusterrolebindings": cluster.ROLE_BINDINGS,
    "rbac.authorization.k8s.io/clusterroles": cluster.CREATED_AT,
    "rbac.authorization.k8s.io/rolebindings": cluster.ROLE_BINDINGS,
    "rbac.authorization.k8s.io/roles": cluster.CREATED_AT,
    "scheduling.k8s.io/priorityclasses": cluster.PRIORITY_CLASSES,
    "storage.k8s.io/storageclasses": storage.STORAGE_CLASSES,
}


def columns_of(resource: ApiResource) -> list[TableColumn]:
    """The columns of a resource; name and age for kinds without a table of their own."""
    if resource.custom:
        return declared(resource.definition.get("additionalPrinterColumns") or [])
    return _COLUMNS.get(resource.storage, [NAME, AGE])
