"""The strategies of the built-in kinds."""

from __future__ import annotations

from millrace.local.apiserver.kinds.core import NamespaceStrategy, NodeStrategy, PodStrategy, ServiceStrategy
from millrace.local.apiserver.kinds.definitions import DefinitionStrategy
from millrace.local.apiserver.resources import Resource
from millrace.local.apiserver.strategy import Plain, Strategy

_CUSTOM = Strategy()
_PLAIN = Plain()
_WITH_SPEC = Strategy()

_STRATEGIES: dict[str, Strategy] = {
    "/namespaces": NamespaceStrategy(),
    "/nodes": NodeStrategy(),
    "/pods": PodStrategy(),
    "/services": ServiceStrategy(),
    "apiextensions.k8s.io/customresourcedefinitions": DefinitionStrategy(),
    "apps/daemonsets": _WITH_SPEC,
    "apps/deployments": _WITH_SPEC,
    "apps/replicasets": _WITH_SPEC,
    "apps/statefulsets": _WITH_SPEC,
    "batch/cronjobs": _WITH_SPEC,
    "batch/jobs": _WITH_SPEC,
    "networking.k8s.io/ingresses": _WITH_SPEC,
    "networking.k8s.io/networkpolicies": _WITH_SPEC,
    "policy/poddisruptionbudgets": _WITH_SPEC,
}


def strategy_of(resource: Resource) -> Strategy:
    """The strategy of a resource."""
    return _CUSTOM if resource.custom else _STRATEGIES.get(resource.storage, _PLAIN)
