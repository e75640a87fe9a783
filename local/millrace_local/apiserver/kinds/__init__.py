"""One strategy per built-in kind: what it does beyond the general rules."""

from __future__ import annotations

from millrace_local.apiserver.kinds import core, definitions, jobs, pods, policies, services, workloads
from millrace_local.apiserver.resources import ApiResource
from millrace_local.apiserver.strategy import NoGenerationStrategy, Strategy

_CUSTOM = Strategy()
_PLAIN = NoGenerationStrategy()

_STRATEGIES: dict[str, Strategy] = {
    "/configmaps": core.ConfigMapStrategy(),
    "/namespaces": core.NamespaceStrategy(),
    "/nodes": core.NodeStrategy(),
    "/persistentvolumeclaims": core.VolumeClaimStrategy(),
    "/persistentvolumes": core.VolumeStrategy(),
    "/pods": pods.PodStrategy(),
    "/replicationcontrollers": workloads.ReplicationControllerStrategy(),
    "/secrets": core.SecretStrategy(),
    "/services": services.ServiceStrategy(),
    "apiextensions.k8s.io/customresourcedefinitions": definitions.DefinitionStrategy(),
    "apps/controllerrevisions": workloads.ControllerRevisionStrategy(),
    "apps/daemonsets": workloads.DaemonSetStrategy(),
    "apps/deployments": workloads.DeploymentStrategy(),
    "apps/replicasets": workloads.ReplicaSetStrategy(),
    "apps/statefulsets": workloads.StatefulSetStrategy(),
    "autoscaling/horizontalpodautoscalers": policies.ScalerStrategy(),
    "batch/cronjobs": jobs.CronJobStrategy(),
    "batch/jobs": jobs.JobStrategy(),
    "discovery.k8s.io/endpointslices": services.EndpointSliceStrategy(),
    "networking.k8s.io/ingresses": Strategy(),
    "networking.k8s.io/networkpolicies": policies.NetworkPolicyStrategy(),
    "policy/poddisruptionbudgets": Strategy(),
    "rbac.authorization.k8s.io/clusterrolebindings": policies.RoleBindingStrategy(),
    "rbac.authorization.k8s.io/rolebindings": policies.RoleBindingStrategy(),
    "scheduling.k8s.io/priorityclasses": policies.PriorityClassStrategy(),
    "storage.k8s.io/storageclasses": policies.StorageClassStrategy(),
}


def strategy_of(resource: ApiResource) -> Strategy:
    """The strategy of a resource."""
    return _CUSTOM if resource.custom else _STRATEGIES.get(resource.storage, _PLAIN)
