"""The objects of a service's route, built from values alone.

The VirtualService follows Istio's networking API; its rules stand in order: overrides, the assigned arm, requests of
which a mesh may ask for the arm, the weighted split. A share of zero is left out, as Istio reads an absent weight
differently for one destination and for several.

Each rule stands there twice: for gRPC, told by its content type whatever port or gateway a call came through, and for
all else. So the same arms and weights hold for both protocols.

All that a model's pod answers is a pure read, so a request that another pod may answer is sent again whatever the
first had begun. While an Experiment splits traffic nothing is: retries would hide the errors that tell a bad arm from a
good one. Copies are sent once, and nobody waits for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from millrace_core.api import names
from millrace_core.api.group import API_VERSION
from millrace_core.base import duration
from millrace_operators.resilience import Resilience
from millrace_operators.routing.state import (
    CONTENDERS,
    WHOLE,
    Champion,
    DesiredRoute,
    HeaderRule,
    LiveRoute,
    Object,
    Previewed,
    RouteObjects,
    RouteTarget,
    Split,
)

ISTIO: Final = "networking.istio.io/v1"
COMPONENT: Final = "app.kubernetes.io/component"
ARMS_COMPONENT: Final = "arms"
PREVIEW_COMPONENT: Final = "preview"

# No revision has this name.
_NOT_YET: Final = "none"
# Envoy's conditions: nothing has reached the pod; it has broken off, or was late; it is not ready or is stopping (503,
# and by gRPC UNAVAILABLE).
RETRY_ON: Final = "connect-failure,refused-stream,reset-before-request,reset,503,unavailable"
# Where clients call, and where pods listen.
PORT: Final = 80
TARGET_PORT: Final = "http"
GRPC_PORT: Final = 8081
GRPC_TARGET_PORT: Final = "grpc"
_GRPC: Final = {"content-type": {"prefix": "application/grpc"}}


def route_objects(desired: DesiredRoute, live: LiveRoute) -> RouteObjects | None:
    """All of them; None where there is no deployment to lead to, and the route has to go."""
    place, pointed = (desired.service, desired.namespace, desired.targets), desired.pointed
    if pointed is None:
        return None
    needed, delegate = _needed(desired, pointed), bool(desired.roots)
    attempts = route_attempts(desired.resilience, desired.try_seconds, desired.split)
    route = (
        virtual_service(*place, pointed, desired.split, attempts, delegate=delegate)
        if live.mesh
        else plain_virtual_service(*place, attempts, delegate=delegate)
    )
    policy = traffic_policy(desired.resilience)
    return RouteObjects(
        services=(arms_service(*place), stable_service(*place, desired.champion, pointed)),
        route=route,
        rule=destination_rule(*place, _labelled(desired, needed, live.subsets), policy),
        transition=destination_rule(*place, _labelled(desired, needed | live.subsets.keys(), live.subsets), policy),
        needed=needed,
        preview=preview_service(*place, desired.previewed) if desired.previewed else None,
    )


def _needed(desired: DesiredRoute, pointed: RouteTarget) -> frozenset[str]:
    """The subsets that the route leads to, and those of a running Experiment's arms.

    An arm that comes back gets its traffic at once.
    """
    split = desired.split
    if split is None:
        return frozenset({pointed.name})
    shares = {name for name, weight in split.weights.items() if weight}
    reserved = {target.name for target in desired.targets if target.name in split.arms}
    return frozenset(shares | reserved | {rule.deployment for rule in split.rules})


def _labelled(
    desired: DesiredRoute, subsets: Collection[str], present: Mapping[str, Mapping[str, str]]
) -> list[tuple[str, dict[str, str]]]:
    """These subsets with their labels; one whose deployment has gone keeps those that it had."""
    labels = {name: dict(held) for name, held in present.items()}
    labels |= {target.name: subset_labels(target) for target in desired.targets}
    return [(name, labels.get(name, {names.DEPLOYMENT: name})) for name in sorted(subsets)]


def stable_service(
    service: str, namespace: str, targets: Sequence[RouteTarget], champion: Champion, pointed: RouteTarget
) -> Object:
    """What clients call; it selects the pods of one deployment's active revision."""
    built = _service(service, service, namespace, targets, "stable", subset_labels(pointed))
    annotations = {names.CHAMPION: champion.name} if champion.name else {}
    if champion.contenders:
        annotations[CONTENDERS] = ",".join(champion.contenders)
    if annotations:
        built["metadata"]["annotations"] = annotations
    return built


def preview_service(service: str, namespace: str, targets: Sequence[RouteTarget], previewed: Previewed) -> Object:
    """Where people try what is to take the traffic next: pods that the stable Service does not lead to."""
    labels = {names.DEPLOYMENT: previewed.deployment, names.REVISION: previewed.revision or _NOT_YET}
    return _service(names.preview_service(service), service, namespace, targets, PREVIEW_COMPONENT, labels)


def arms_service(service: str, namespace: str, targets: Sequence[RouteTarget]) -> Object:
    """All pods of the service: the host of the subsets."""
    return _service(names.arms_service(service), service, namespace, targets, ARMS_COMPONENT, {names.SERVICE: service})


def route_attempts(resilience: Resilience, try_seconds: float, split: Split | None) -> Object:
    """The fields of a rule that say how long and how often a request is tried."""
    hides = split is not None and split.mirrors is None
    if hides or not resilience.retries:
        return {"retries": {"attempts": 0}, "timeout": _duration(try_seconds)}
    retries = {"attempts": resilience.retries, "perTryTimeout": _duration(try_seconds), "retryOn": RETRY_ON}
    return {"retries": retries, "timeout": _duration(2 * try_seconds)}


def traffic_policy(resilience: Resilience) -> Object:
    """Limits, and when a pod is ejected.

    Only what a proxy finds on its way counts, and a pod's own 503, which says that another one may do better. A 500 of
    the model is an answer, which another pod would give, too, and so are a client's own deadline (408), features that
    do not come (424) and overload (429). With ``minHealthPercent`` the last pod is never ejected, so an arm whose pods
    all fail shows that it does.
    """
    pool: Object = {
        "tcp": {"connectTimeout": _duration(duration.seconds(resilience.connect_timeout))},
        "http": {
            "http1MaxPendingRequests": resilience.max_requests,
            "http2MaxRequests": resilience.max_requests,
            "maxRetries": resilience.max_retries,
        },
    }
    if not resilience.eject_after:
        return {"connectionPool": pool}
    outliers = {
        "consecutive5xxErrors": 0,
        "consecutiveGatewayErrors": resilience.eject_after,
        "interval": "1s",
        "baseEjectionTime": _duration(duration.seconds(resilience.eject_for)),
        "maxEjectionPercent": 100,
        "minHealthPercent": 1,
    }
    return {"connectionPool": pool, "outlierDetection": outliers}


def destination_rule(
    service: str,
    namespace: str,
    targets: Sequence[RouteTarget],
    subsets: Iterable[tuple[str, dict[str, str]]],
    policy: Object,
) -> Object:
    """The subsets, as (name, pod labels)."""
    return {
        "apiVersion": ISTIO,
        "kind": "DestinationRule",
        "metadata": _metadata(service, service, namespace, targets),
        "spec": {
            "host": arms_host(service, namespace),
            "trafficPolicy": policy,
            "subsets": [{"name": name, "labels": labels} for name, labels in subsets],
        },
    }


def virtual_service(
    service: str,
    namespace: str,
    targets: Sequence[RouteTarget],
    pointed: RouteTarget,
    split: Split | None,
    attempts: Object,
    *,
    delegate: bool,
) -> Object:
    """The route. A delegate has no host of its own: the user's root VirtualService points at it."""
    spec: Object = {} if delegate else {"hosts": [names.cluster_host(service, namespace)]}
    host = arms_host(service, namespace)
    if split is None:
        spec["http"] = _by_protocol(
            [{"name": "champion", "route": [_destination(host, pointed.name, WHOLE)], **attempts}]
        )
    else:
        shares = [_destination(host, name, weight) for name, weight in split.weights.items() if weight]
        rules = (
            *(_rule(host, rule) for rule in split.rules),
            *_assigned(split, shares),
            {"name": "split", "route": shares},
        )
        spec["http"] = _by_protocol({**rule, **_mirrors(host, split), **attempts} for rule in rules)
    metadata = _metadata(service, service, namespace, targets)
    if split is not None:
        metadata["labels"][names.EXPERIMENT] = split.experiment
    return {"apiVersion": ISTIO, "kind": "VirtualService", "metadata": metadata, "spec": spec}


def plain_virtual_service(
    service: str, namespace: str, targets: Sequence[RouteTarget], attempts: Object, *, delegate: bool
) -> Object:
    """The route while there are no subsets: to the stable Service, whatever was split."""
    host = names.cluster_host(service, namespace)
    spec: Object = {} if delegate else {"hosts": [host]}
    whole = {"destination": {"host": host}, "weight": WHOLE}
    spec["http"] = _by_protocol([{"name": "champion", "route": [whole], **attempts}])
    metadata = _metadata(service, service, namespace, targets)
    return {"apiVersion": ISTIO, "kind": "VirtualService", "metadata": metadata, "spec": spec}


def subset_labels(target: RouteTarget) -> dict[str, str]:
    """Pod labels of a deployment's active revision; of no pod while there is none.

    A pod that is ready may still hold another model than the others, until its ModelDeployment says what serves.
    """
    return {names.DEPLOYMENT: target.name, names.REVISION: target.revision or _NOT_YET}


def arms_host(service: str, namespace: str) -> str:
    """Host of the subsets."""
    return names.cluster_host(names.arms_service(service), namespace)


def _by_protocol(rules: Iterable[Object]) -> list[Object]:
    """Each rule for gRPC, to the port of gRPC, and then for all else."""
    found = []
    for rule in rules:
        matches = [
            {**match, "headers": {**match["headers"], **_GRPC}} for match in rule.get("match", [{"headers": {}}])
        ]
        found += [
            {**_to_port(rule, GRPC_PORT), "name": f"{rule['name']}-grpc", "match": matches},
            _to_port(rule, PORT),
        ]
    return found


def _to_port(rule: Object, port: int) -> Object:
    """The rule with its destinations, and those of copies, at a port."""
    ports: Object = {
        field: [{**each, "destination": {**each["destination"], "port": {"number": port}}} for each in rule[field]]
        for field in ("route", "mirrors")
        if field in rule
    }
    return {**rule, **ports}


def _mirrors(host: str, split: Split) -> Object:
    """Where copies go; Istio takes an absent percentage for all, so none is left out."""
    found = [
        {"destination": {"host": host, "subset": name}, "percentage": {"value": percent}}
        for name, percent in (split.mirrors or {}).items()
        if percent
    ]
    return {"mirrors": found} if found else {}


def _duration(seconds: float) -> str:
    """Seconds as Istio's fields have them."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _rule(host: str, rule: HeaderRule) -> Object:
    return {
        "name": rule.name,
        "match": [{"headers": {rule.header: {"exact": rule.value}}}],
        "route": [_destination(host, rule.deployment, WHOLE)],
    }


def _assigned(split: Split, shares: list[Object]) -> list[Object]:
    """What leads as the split does, unless a mesh asks for the arm of the unit that the request names."""
    if not split.unit_header:
        return []
    unit = {split.unit_header: {"regex": ".+"}}
    match = {"headers": unit, "withoutHeaders": {names.ARM_HEADER: {}}}
    return [{"name": names.ASSIGNED_RULE, "match": [match], "route": shares}]


def _destination(host: str, subset: str, weight: int) -> Object:
    return {"destination": {"host": host, "subset": subset}, "weight": weight}


def _service(
    name: str, service: str, namespace: str, targets: Sequence[RouteTarget], component: str, selector: dict[str, str]
) -> Object:
    metadata = _metadata(name, service, namespace, targets)
    metadata["labels"][COMPONENT] = component
    ports = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": target, "appProtocol": name}
        for name, port, target in (("http", PORT, TARGET_PORT), ("grpc", GRPC_PORT, GRPC_TARGET_PORT))
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {names.MANAGED_BY: "millrace", **selector}, "ports": ports},
    }


def _metadata(name: str, service: str, namespace: str, targets: Sequence[RouteTarget]) -> Object:
    # The route outlives each deployment but the last: all are owners, none is the controller.
    owners = [target for target in targets if not target.deleting] or targets
    return {
        "name": name,
        "namespace": namespace,
        "labels": {names.MANAGED_BY: "millrace", names.SERVICE: service},
        "ownerReferences": [
            {"apiVersion": API_VERSION, "kind": "ModelDeployment", "name": owner.name, "uid": owner.uid}
            for owner in sorted(owners, key=lambda owner: owner.age_order)
        ],
    }
