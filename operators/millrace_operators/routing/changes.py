"""What to write now so that the route becomes what it should be, without a request that finds no way.

A VirtualService may point at a subset only once every proxy knows the subset, and a subset may go only once no proxy
points at it any more. So a change takes up to three turns: subsets added to the DestinationRule; after the settle time
the VirtualService; after another settle time what is left over is removed. When each began stands in annotations, so a
restart goes on where the last operator stopped.

Where the mesh serves VirtualServices and no DestinationRules there are no subsets, so the VirtualService points at the
stable Service, and plain clients reach the champion. The subsets come back in the same turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from millrace_core.api import names
from millrace_core.base import timestamps
from millrace_kube.ownership import difference
from millrace_operators.routing import desired as objects
from millrace_operators.routing.state import (
    CHANGED_AT,
    FIGHT_EDITS,
    REWRITTEN_AT,
    DesiredRoute,
    LiveRoute,
    Object,
    RouteChanges,
    RouteNotes,
    notes_of,
)

# Annotation of the VirtualService and the DestinationRule: hash of the spec that Millrace applied last. What is stored
# may differ from it: by defaults and webhooks, which are left alone.
_WRITTEN: Final = f"{names.APPLIED_HASH}-spec"
_ANCIENT: Final = datetime(1970, 1, 1, tzinfo=UTC)


def route_changes(desired: DesiredRoute, live: LiveRoute, now: datetime) -> RouteChanges:
    """The next writes. Where all is as desired they change nothing."""
    if _must_wait(desired):
        return RouteChanges(programmed=False, settled=False, waits_for=tuple(sorted(desired.unknown)))
    pointed = desired.pointed
    if pointed is None:
        return RouteChanges(delete=live.objects, settled=not live.objects)
    place = (desired.service, desired.namespace, desired.targets)
    services: tuple[Object, ...] = (
        objects.arms_service(*place),
        objects.stable_service(*place, desired.champion, pointed),
    )
    if all(target.deleting for target in desired.targets):
        # Nothing is made anew for a service that goes: its namespace may refuse it.
        services = tuple(item for item, held in zip(services, (live.arms, live.stable), strict=True) if held)
        if live.virtual is None or (live.mesh and live.rule is None):
            return RouteChanges(apply=services)
    if not live.mesh:
        return _without_subsets(desired, live, services, now)
    route = objects.virtual_service(*place, pointed, desired.split, delegate=bool(desired.roots))
    return _mesh_changes(desired, live, route, services, now)


def _must_wait(desired: DesiredRoute) -> bool:
    """Whether the route has to stay as it is: that a deployment is gone must be known before anything follows from it.

    What was decided does not follow from it: all traffic may go to an arm that is known.
    """
    decided = desired.split is not None and desired.split.final and bool(desired.targets)
    return bool(desired.unknown) and (desired.champion.name in desired.unknown or not decided)


def _without_subsets(
    desired: DesiredRoute, live: LiveRoute, services: tuple[Object, ...], now: datetime
) -> RouteChanges:
    """What there is of a mesh must not point at what cannot exist."""
    if live.virtual is None:
        return RouteChanges(apply=services, programmed=False)
    route = objects.plain_virtual_service(
        desired.service, desired.namespace, desired.targets, delegate=bool(desired.roots)
    )
    planned = _Planned(route, live.virtual_notes, not _wrote(route, live.virtual), _edited(route, live.virtual))
    if planned.edited and live.calm_at is not None:
        return RouteChanges(apply=services, again_at=live.calm_at, programmed=False, settled=False)
    return RouteChanges(apply=(*services, _stamped(planned, now)), programmed=False, rewritten=_rewritten([planned]))


def _mesh_changes(
    desired: DesiredRoute, live: LiveRoute, route: Object, services: tuple[Object, ...], now: datetime
) -> RouteChanges:
    settle = timedelta(seconds=desired.settle)
    present = _subsets(live.rule)
    needed = _pointed_at(route) | _reserved(desired)
    route_edited = _edited(route, live.virtual)
    current = _wrote(route, live.virtual) and not route_edited
    # Nothing is to be lost where nothing leads anywhere yet: no route, or one to subsets that are gone.
    first = live.virtual is None or (live.rule is None and bool(_pointed_at(live.virtual)))
    added = bool(needed - present.keys())
    known_at = now if added else live.rule_notes.changed_at or _ANCIENT
    # What was already routed so, before somebody edited it, every proxy knows.
    undone = not added and _wrote(route, live.virtual)
    point = current or first or undone or (not added and now >= known_at + settle)
    free_at = (live.virtual_notes.changed_at or _ANCIENT) + settle
    removable = live.virtual is None or (current and now >= free_at)
    rule = _rule(desired, needed if removable else needed | present.keys(), present)
    planned = [_Planned(rule, live.rule_notes, added or live.rule is None, _edited(rule, live.rule))]
    if (route_edited or planned[0].edited) and live.calm_at is not None:
        return RouteChanges(apply=services, again_at=live.calm_at, programmed=False, settled=False)
    if point:
        planned.append(_Planned(route, live.virtual_notes, not current, route_edited))
    left_over = bool(present.keys() - needed)
    return RouteChanges(
        apply=(*services, *(_stamped(one, now) for one in planned)),
        again_at=known_at + settle if not point else free_at if left_over and current and not removable else None,
        programmed=current and not added,
        settled=current and not added and not left_over,
        rewritten=_rewritten(planned),
    )


class _Planned(NamedTuple):
    """An object of the mesh that is to be applied, what is noted at the one of before, and what happened to it."""

    item: Object
    notes: RouteNotes
    changed: bool
    edited: bool


def _rewritten(planned: Iterable[_Planned]) -> tuple[str, ...]:
    return tuple(f"{item['kind']} {item['metadata']['name']}" for item, _, _, edited in planned if edited)


def _rule(desired: DesiredRoute, subsets: Iterable[str], present: Mapping[str, dict[str, str]]) -> Object:
    """The DestinationRule with these subsets; one whose deployment has gone keeps the labels it had."""
    labels = dict(present) | {target.name: objects.subset_labels(target) for target in desired.targets}
    pairs = [(name, labels.get(name, {names.DEPLOYMENT: name})) for name in sorted(subsets)]
    return objects.destination_rule(desired.service, desired.namespace, desired.targets, pairs)


def _pointed_at(route: Object) -> set[str]:
    """The subsets that a route leads to, ours or as somebody has left it."""
    rules = (route.get("spec") or {}).get("http") or []
    found = [(target.get("destination") or {}).get("subset") for rule in rules for target in rule.get("route") or []]
    return {subset for subset in found if subset}


def _reserved(desired: DesiredRoute) -> set[str]:
    """Subsets of a running Experiment's arms, so that one that comes back gets its traffic at once."""
    existing = {target.name for target in desired.targets}
    return existing & set(desired.split.arms) if desired.split else set()


def _subsets(rule: Object | None) -> dict[str, dict[str, str]]:
    found = ((rule or {}).get("spec") or {}).get("subsets") or []
    return {subset["name"]: subset.get("labels") or {} for subset in found}


def _stamped(planned: _Planned, now: datetime) -> Object:
    """The object with its notes: when it changed, what was written, and when edits of others were undone."""
    item, before = planned.item, planned.notes
    changed_at = now if planned.changed else before.changed_at
    undone = (*before.rewritten_at, now)[-FIGHT_EDITS:] if planned.edited else before.rewritten_at
    notes = {_WRITTEN: _digest(item)}
    if changed_at is not None:
        notes[CHANGED_AT] = timestamps.render(changed_at)
    if undone:
        notes[REWRITTEN_AT] = ",".join(timestamps.render(time) for time in undone)
    return {**item, "metadata": {**item["metadata"], "annotations": notes}}


def _wrote(item: Object, live: Object | None) -> bool:
    """Whether the spec that was applied last is the wanted one."""
    return notes_of(live).get(_WRITTEN) == _digest(item)


def _edited(item: Object, live: Object | None) -> bool:
    """Whether another manager has changed what Millrace applied, as far as that is told from what is wanted now.

    What was removed has no owner, nor what was never applied: it tells something only where nothing new is wanted.
    """
    if live is None or _WRITTEN not in notes_of(live):
        return False
    place = {key: value for key, value in item["metadata"].items() if key in ("namespace", "name")}
    found = difference({**item, "metadata": place}, live)
    return found.of_others or (_wrote(item, live) and bool(found.edits))


def _digest(item: Object) -> str:
    return names.digest(item["spec"])[:16]
