"""The control loop of ModelDeployments."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from millrace_core.api import feature_reference, names
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    DESTINATION_RULES,
    FEATURE_VIEWS,
    HORIZONTAL_POD_AUTOSCALERS,
    JOBS,
    MODEL_DEPLOYMENTS,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SCALED_OBJECTS,
    SERVICE_MONITORS,
    SERVICES,
    VIRTUAL_SERVICES,
    Object,
    Resource,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_kube.runtime import Controller, Mapper, by_label, itself
from millrace_operators.modeldeployment.reconcile import reconcile
from millrace_operators.platform import Platform
from millrace_operators.routing.observe import service_of

Places = Iterable[tuple[str, str]]


def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
    """One key for each ModelDeployment."""
    children = (
        DEPLOYMENTS,
        CONTROLLER_REVISIONS,
        CONFIG_MAPS,
        POD_DISRUPTION_BUDGETS,
        SERVICE_MONITORS,
    )
    of_service = partial(_of_service, cluster.cache)
    watches: dict[Resource, Mapper] = {
        MODEL_DEPLOYMENTS: itself,
        **dict.fromkeys(children, by_label(names.DEPLOYMENT)),
        JOBS: by_label(names.GATED),
        PODS: _of_pod,
        **dict.fromkeys((SERVICES, DESTINATION_RULES, VIRTUAL_SERVICES), of_service),
        **dict.fromkeys((SCALED_OBJECTS, HORIZONTAL_POD_AUTOSCALERS), partial(_of_scaler, cluster.cache)),
        FEATURE_VIEWS: partial(_of_view, cluster.cache),
        NODES: _NodeOffers(cluster.cache),
    }
    return [Controller("modeldeployment", partial(reconcile, cluster, platform), watches)]


def _of_service(cache: Cache, document: Object) -> Places:
    """All deployments of the service that the object is part of."""
    namespace, service = namespace_of(document), labels_of(document).get(names.SERVICE)
    found = cache.all(MODEL_DEPLOYMENTS, namespace) if service else []
    return [(namespace, name_of(item)) for item in found if service_of(item) == service]


def _of_scaler(cache: Cache, scaler: Object) -> Places:
    """The deployment that the scaler was made for, and the one whose pods it scales, whoever made it."""
    namespace, target = namespace_of(scaler), (scaler.get("spec") or {}).get("scaleTargetRef") or {}
    scaled = cache.get(DEPLOYMENTS, namespace, str(target.get("name")))
    labels = [labels_of(item) for item in (scaler, scaled) if item is not None]
    return [(namespace, item[names.DEPLOYMENT]) for item in labels if names.DEPLOYMENT in item]


def _of_pod(pod: Object) -> Places:
    """The deployment that a pod serves, or the one that it judges."""
    marks = labels_of(pod)
    name = marks.get(names.DEPLOYMENT) or marks.get(names.GATED)
    return [(namespace_of(pod), name)] if name else []


def _of_view(cache: Cache, view: Object) -> Places:
    """The deployments that take features of the view."""
    namespace, name = namespace_of(view), name_of(view)
    for item in cache.all(MODEL_DEPLOYMENTS, namespace):
        refs = (item["spec"].get("features") or {}).get("refs")
        if any(meant.view == name for meant in feature_reference.readable(refs)):
            yield namespace, name_of(item)


class _NodeOffers:
    """Deployments that may move between CPU and GPU, when a node begins or ceases to offer something.

    Nodes report often and offer the same; what each offered last is remembered only to keep quiet meanwhile.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._offers: dict[str, object] = {}

    def __call__(self, node: Object) -> Places:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        devices = {name: count for name, count in allocatable.items() if "/" in name}
        offer = devices, labels_of(node) if devices else None
        if self._cache.get(NODES, "", name_of(node)) is None:
            self._offers.pop(name_of(node), None)
        elif self._offers.get(name_of(node)) == offer:
            return []
        else:
            self._offers[name_of(node)] = offer
        auto = (item for item in self._cache.all(MODEL_DEPLOYMENTS) if _device(item) == "auto")
        return [(namespace_of(item), name_of(item)) for item in auto]


def _device(deployment: Object) -> str:
    return str((deployment["spec"].get("inference") or {}).get("device", "auto"))
