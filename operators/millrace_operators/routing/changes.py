"""What to write now so that the route becomes what it should be, without a request that finds no way.

A VirtualService may point at a subset only once every proxy knows the subset, and a subset may go only once no proxy
points at it any more. So a change takes up to three turns: subsets added to the DestinationRule; after the settle time
the VirtualService; after another settle time what is left over is removed. When each began stands in annotations, so a
restart goes on where the last operator stopped.

Where the mesh serves VirtualServices and no DestinationRules there are no subsets, so the VirtualService points at the
stable Service, and plain clients reach the champion. The subsets come back in the same turns.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from millrace_core.base import timestamps
from millrace_operators.routing.state import (
    CHANGED_AT,
    FIGHT_EDITS,
    REWRITTEN_AT,
    WRITTEN,
    ComparedObject,
    ComparedRoute,
    DesiredRoute,
    LiveRoute,
    Object,
    RouteChanges,
)

_ANCIENT: Final = datetime(1970, 1, 1, tzinfo=UTC)


def route_changes(desired: DesiredRoute, wanted: ComparedRoute | None, live: LiveRoute, now: datetime) -> RouteChanges:
    """The next writes. Where all is as desired they change nothing.

    Args:
        wanted: the objects of the desired route, held against ``live``; None: the route has to go.
    """
    if _must_wait(desired):
        return RouteChanges(programmed=False, settled=False, waits_for=tuple(sorted(desired.unknown)))
    if wanted is None:
        return RouteChanges(delete=live.objects, settled=not live.objects)
    services: tuple[Object, ...] = (*wanted.services, *([wanted.preview] if wanted.preview else ()))
    gone = (live.preview,) if live.preview and not wanted.preview else ()
    if all(target.deleting for target in desired.targets):
        # Nothing is made anew for a service that goes: its namespace may refuse it.
        kept = zip(wanted.services, (live.arms, live.stable), strict=True)
        services = tuple(item for item, held in kept if held)
        gone = (live.preview,) if live.preview else ()
        if live.virtual is None or (live.mesh and live.rule is None):
            return RouteChanges(apply=services, delete=gone)
    settle = timedelta(seconds=desired.settle)
    changes, planned = _with_subsets(wanted, settle, live, now) if live.mesh else _without_subsets(wanted.route, live)
    return replace(
        changes,
        apply=(*services, *(_stamped(of, now, changed=changed) for of, changed in planned)),
        delete=gone,
        rewritten=tuple(f"{of.item['kind']} {of.item['metadata']['name']}" for of, _ in planned if of.edited),
    )


def _must_wait(desired: DesiredRoute) -> bool:
    """Whether the route has to stay as it is: that a deployment is gone must be known before anything follows from it.

    What was decided does not follow from it: all traffic may go to an arm that is known.
    """
    decided = desired.split is not None and desired.split.final and bool(desired.targets)
    return bool(desired.unknown) and (desired.champion.name in desired.unknown or not decided)


class _Planned(NamedTuple):
    """An object of the mesh that is to be applied, and whether it becomes another one by it."""

    of: ComparedObject
    changed: bool


def _left_alone(until: datetime) -> tuple[RouteChanges, list[_Planned]]:
    """The mesh while somebody else keeps editing it."""
    return RouteChanges(again_at=until, programmed=False, settled=False), []


def _without_subsets(route: ComparedObject, live: LiveRoute) -> tuple[RouteChanges, list[_Planned]]:
    """What there is of a mesh must not point at what cannot exist."""
    if route.edited and live.calm_at is not None:
        return _left_alone(live.calm_at)
    planned = [_Planned(route, changed=not route.applied)] if live.virtual is not None else []
    return RouteChanges(programmed=False), planned


def _with_subsets(
    wanted: ComparedRoute, settle: timedelta, live: LiveRoute, now: datetime
) -> tuple[RouteChanges, list[_Planned]]:
    route, present = wanted.route, live.subsets.keys()
    added, left_over = bool(wanted.needed - present), bool(present - wanted.needed)
    current = route.applied and not route.edited
    # Nothing is to be lost where nothing leads anywhere yet: no route, or one to subsets that are gone.
    first = live.virtual is None or (live.rule is None and bool(live.pointed))
    known_at = now if added else live.rule_notes.changed_at or _ANCIENT
    # What was already routed so, before somebody edited it, every proxy knows.
    undone = not added and route.applied
    point = current or first or undone or (not added and now >= known_at + settle)
    free_at = (live.virtual_notes.changed_at or _ANCIENT) + settle
    removable = live.virtual is None or (current and now >= free_at)
    rule = wanted.rule if removable else wanted.transition
    if (route.edited or rule.edited) and live.calm_at is not None:
        return _left_alone(live.calm_at)
    planned = [_Planned(rule, changed=added or live.rule is None)]
    if point:
        planned.append(_Planned(route, changed=not current))
    changes = RouteChanges(
        again_at=known_at + settle if not point else free_at if left_over and current and not removable else None,
        programmed=current and not added,
        settled=current and not added and not left_over,
    )
    return changes, planned


def _stamped(planned: ComparedObject, now: datetime, *, changed: bool) -> Object:
    """The object with its notes: when it changed, what was written, and when edits of others were undone."""
    item, before = planned.item, planned.notes
    changed_at = now if changed else before.changed_at
    undone = (*before.rewritten_at, now)[-FIGHT_EDITS:] if planned.edited else before.rewritten_at
    notes = {WRITTEN: planned.digest}
    if changed_at is not None:
        notes[CHANGED_AT] = timestamps.render(changed_at)
    if undone:
        notes[REWRITTEN_AT] = ",".join(timestamps.render(time) for time in undone)
    return {**item, "metadata": {**item["metadata"], "annotations": notes}}
