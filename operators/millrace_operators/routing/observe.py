"""A service's route, read from the objects of the cluster into plain values: their one parser."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from millrace_core.api import names
from millrace_core.api.modeldeployment_inference import Queue
from millrace_core.base import duration, timestamps
from millrace_core.base.errors import RejectError
from millrace_kube.resources import (
    Object,
    annotations_of,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_operators.routing.desired import COMPONENT, PREVIEW_COMPONENT
from millrace_operators.routing.state import (
    CHANGED_AT,
    CONTENDERS,
    FIGHT_EDITS,
    FIGHT_WINDOW,
    REWRITTEN_AT,
    WRITTEN,
    Champion,
    LiveRoute,
    RootVirtualService,
    RouteNotes,
    RouteTarget,
)

_DEFAULT_WAIT: Final = str(Queue().timeout)


def read_live(
    *,
    stable: Object | None = None,
    arms: Object | None = None,
    rule: Object | None = None,
    virtual: Object | None = None,
    preview: Object | None = None,
    mesh: bool = True,
    now: datetime,
) -> LiveRoute:
    """The route that these objects make; a VirtualService of somebody else's is no part of it."""
    ours = virtual if virtual is not None and _ours(virtual) else None
    champion = recorded_champion(stable)
    objects = [item for item in (stable, arms, rule, ours, preview) if item is not None]
    owners = {owner["name"] for item in objects for owner in item["metadata"].get("ownerReferences") or ()}
    notes = [_read_notes(rule), _read_notes(ours)]
    ends = [one.rewritten_at[-FIGHT_EDITS] + FIGHT_WINDOW for one in notes if len(one.rewritten_at) >= FIGHT_EDITS]
    return LiveRoute(
        stable=stable,
        arms=arms,
        rule=rule,
        virtual=ours,
        mesh=mesh,
        champion=champion,
        deployments=frozenset(owners | {champion.name}) - {""},
        subsets=_subsets(rule),
        pointed=_pointed_at(ours),
        rule_notes=notes[0],
        virtual_notes=notes[1],
        calm_at=max((end for end in ends if now < end), default=None),
        preview=preview,
    )


def _read_notes(item: Object | None) -> RouteNotes:
    notes = annotations_of(item) if item is not None else {}
    changed, undone = notes.get(CHANGED_AT), notes.get(REWRITTEN_AT, "")
    return RouteNotes(
        changed_at=timestamps.parse(changed) if changed else None,
        rewritten_at=tuple(timestamps.parse(text) for text in undone.split(",") if text),
        written=notes.get(WRITTEN),
    )


def _subsets(rule: Object | None) -> dict[str, dict[str, str]]:
    found = ((rule or {}).get("spec") or {}).get("subsets") or []
    return {subset["name"]: subset.get("labels") or {} for subset in found}


def _pointed_at(virtual: Object | None) -> frozenset[str]:
    rules = ((virtual or {}).get("spec") or {}).get("http") or []
    found = [(target.get("destination") or {}).get("subset") for rule in rules for target in rule.get("route") or []]
    return frozenset(subset for subset in found if subset)


def recorded_champion(stable: Object | None) -> Champion:
    """The champion as the stable Service records it."""
    notes = annotations_of(stable) if stable is not None else {}
    contenders = notes.get(CONTENDERS, "")
    return Champion(notes.get(names.CHAMPION, ""), tuple(contenders.split(",")) if contenders else ())


def preview_of(found: Object | None) -> Object | None:
    """The Service under the name of a service's preview, unless a service of that name has it."""
    return found if found is not None and labels_of(found).get(COMPONENT) == PREVIEW_COMPONENT else None


def targets(deployments: Iterable[Object], service: str) -> list[RouteTarget]:
    """The deployments of a service, oldest first."""
    found = [target(item) for item in deployments if service_of(item) == service]
    return sorted(found, key=lambda item: item.age_order)


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
        waits=_waits(deployment),
        preview=(status.get("rollout") or {}).get("preview") or "",
    )


def _waits(deployment: Object) -> float:
    """Seconds that a request may wait for its turn; a queue that cannot be read is refused elsewhere."""
    queue = ((deployment["spec"].get("inference") or {}).get("queue") or {}).get("timeout")
    try:
        return duration.seconds(str(queue or _DEFAULT_WAIT))
    except RejectError:
        return duration.seconds(_DEFAULT_WAIT)


def service_of(deployment: Object) -> str:
    """The service that a ModelDeployment serves behind."""
    return str(deployment["spec"].get("service") or name_of(deployment))


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
