"""What the cache holds of a service's route, read into plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace_core.api import names
from millrace_kube.cache import Cache
from millrace_kube.resources import (
    DESTINATION_RULES,
    MODEL_DEPLOYMENTS,
    SERVICES,
    VIRTUAL_SERVICES,
    Object,
    annotations_of,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_operators.routing.state import (
    CONTENDERS,
    Champion,
    LiveRoute,
    RootVirtualService,
    RouteTarget,
)


def named_by(live: LiveRoute) -> frozenset[str]:
    """The deployments that the route or its record names."""
    owners = {owner["name"] for item in live.objects for owner in item["metadata"].get("ownerReferences") or ()}
    return frozenset(owners | {recorded(live.stable).name}) - {""}


def service_of(deployment: Object) -> str:
    """The service that a ModelDeployment serves behind."""
    return str(deployment["spec"].get("service") or name_of(deployment))


def target(deployment: Object) -> RouteTarget:
    """A ModelDeployment as the route sees it."""
    status = deployment.get("status") or {}
    metadata = deployment["metadata"]
    return RouteTarget(
        name=name_of(deployment),
        uid=metadata["uid"],
        created=metadata.get("creationTimestamp", ""),
        revision=status.get("revision") or "",
        ready=bool(status.get("revision")) and (status.get("replicas") or {}).get("ready", 0) > 0,
        deleting=deleting(deployment),
    )


def targets(cache: Cache, namespace: str, service: str) -> list[RouteTarget]:
    """The deployments of a service, oldest first."""
    return _targets_of(service, cache.all(MODEL_DEPLOYMENTS, namespace))


def _targets_of(service: str, deployments: Iterable[Object]) -> list[RouteTarget]:
    found = [target(item) for item in deployments if service_of(item) == service]
    return sorted(found, key=lambda item: item.age_order)


def live(cache: Cache, namespace: str, service: str) -> LiveRoute:
    """The four objects."""
    virtual = cache.get(VIRTUAL_SERVICES, namespace, service)
    return LiveRoute(
        stable=cache.get(SERVICES, namespace, service),
        arms=cache.get(SERVICES, namespace, names.arms_service(service)),
        rule=cache.get(DESTINATION_RULES, namespace, service),
        virtual=virtual if virtual is not None and _ours(virtual) else None,
        mesh=cache.served(VIRTUAL_SERVICES) and cache.served(DESTINATION_RULES),
    )


def recorded(stable: Object | None) -> Champion:
    """The champion as the stable Service records it."""
    notes = annotations_of(stable) if stable is not None else {}
    contenders = notes.get(CONTENDERS, "")
    return Champion(notes.get(names.CHAMPION, ""), tuple(contenders.split(",")) if contenders else ())


def roots(virtual_services: Iterable[Object], service: str) -> tuple[RootVirtualService, ...]:
    """The user's own VirtualServices for the service's host, and whether each delegates to Millrace's."""
    return tuple(
        RootVirtualService(name_of(item), _delegates(item, service))
        for item in virtual_services
        if not _ours(item) and service in services_of_route(item)
    )


def services_of_route(virtual: Object) -> set[str]:
    """The services of its own namespace whose host a VirtualService claims."""
    namespace = namespace_of(virtual)
    suffixes = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    claimed = set()
    for host in (virtual.get("spec") or {}).get("hosts") or []:
        first, dot, rest = str(host).partition(".")
        if dot + rest in suffixes:
            claimed.add(first)
    return claimed


def _delegates(root: Object, service: str) -> bool:
    rules: list[dict[str, Any]] = (root.get("spec") or {}).get("http") or []
    ours = {"name": service, "namespace": namespace_of(root)}
    return any({"namespace": ours["namespace"], **(rule.get("delegate") or {})} == ours for rule in rules)


def _ours(item: Object) -> bool:
    return labels_of(item).get(names.MANAGED_BY) == "millrace"
