"""How many replicas: a pure function of the triggers' values, the present replicas and what was recommended before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from millrace_local.controllers.scaling.behavior import Behavior, Change, limited, remembered
from millrace_local.controllers.scaling.spec import Scaling, Trigger

TOLERANCE = 0.1


@dataclass(frozen=True)
class Memory:
    """What is remembered of the polls before.

    Attributes:
        recommended: (time, replicas) of the recommendations within the stabilization windows.
        changes: (time, how many more or fewer) of the changes that limit the next one.
        active_at: when a trigger was last active.
        failures: failed polls in a row.
    """

    recommended: tuple[tuple[datetime, int], ...] = ()
    changes: tuple[Change, ...] = ()
    active_at: datetime | None = None
    failures: int = 0


@dataclass(frozen=True)
class Decision:
    """How many replicas there shall be and why; ``memory`` is for the next poll."""

    replicas: int
    reason: str
    active: bool
    fell_back: bool = False
    memory: Memory = field(default_factory=Memory)


def decide(scaling: Scaling, values: Sequence[float | None], current: int, memory: Memory, now: datetime) -> Decision:
    """Decides after one poll.

    Args:
        scaling: the ScaledObject.
        values: each trigger's value, None where the query failed.
        current: the target's present spec.replicas.
        memory: of the poll before.
        now: the present time.
    """
    failures = memory.failures + 1 if None in values else 0
    memory = replace(memory, failures=failures)
    known = [(trigger, value) for trigger, value in zip(scaling.triggers, values, strict=True) if value is not None]
    active = any(value > trigger.activation for trigger, value in known)
    if failures and scaling.fallback is not None and failures >= scaling.failures:
        replicas = max(scaling.least, min(_fallback(scaling, scaling.fallback, current), scaling.most))
        reason = f"fallback after {failures} failed polls"
        return Decision(replicas, reason, active=True, fell_back=True, memory=replace(memory, active_at=now))
    if active:
        memory = replace(memory, active_at=now)
    if not failures and not active and (scaling.least == 0 or scaling.idle is not None):
        return _idle(scaling, current, memory, now)
    wanted = max((_of_trigger(trigger, value, current) for trigger, value in known), default=current)
    wanted = max(scaling.least, 1, min(wanted, scaling.most))
    if failures:
        # A trigger without a value could want more replicas, so none are removed.
        wanted = max(wanted, min(current, scaling.most))
    wanted, memory = _stabilized(scaling.behavior, wanted, current, memory, now)
    if max(scaling.least, 1) <= current <= scaling.most:
        wanted = limited(scaling.behavior, wanted, current, memory.changes, now)
    wanted = min(wanted, scaling.most)
    if wanted != current:
        changes = (*remembered(scaling.behavior, memory.changes, now), (now, wanted - current))
        memory = replace(memory, changes=changes)
    return Decision(wanted, "by the triggers", active=active or scaling.least > 0, memory=memory)


def _fallback(scaling: Scaling, stated: int, current: int) -> int:
    match scaling.fallback_kind:
        case "currentReplicas":
            return current
        case "currentReplicasIfHigher":
            return max(current, stated)
        case "currentReplicasIfLower":
            return min(current, stated)
    return stated


def _idle(scaling: Scaling, current: int, memory: Memory, now: datetime) -> Decision:
    idle = scaling.idle if scaling.idle is not None else 0
    since = memory.active_at or now
    memory = replace(memory, active_at=since)
    if current > idle and now < since + timedelta(seconds=scaling.cooldown):
        return Decision(min(max(current, scaling.least), scaling.most), "cooling down", active=False, memory=memory)
    return Decision(idle, "inactive", active=False, memory=memory)


def _of_trigger(trigger: Trigger, value: float, current: int) -> int:
    if current == 0:
        return max(1, math.ceil(value / trigger.threshold)) if trigger.average else 1
    ratio = value / (trigger.threshold * current) if trigger.average else value / trigger.threshold
    if abs(ratio - 1) <= TOLERANCE:
        return current
    return math.ceil(ratio * current - 1e-9)


def _stabilized(behavior: Behavior, wanted: int, current: int, memory: Memory, now: datetime) -> tuple[int, Memory]:
    """Up only to the least, and down only to the most, that was recommended within the window of that direction."""
    # Without a past (a restart), the present replicas stand for it.
    past = memory.recommended or ((now, current),)

    def within(window: float) -> list[int]:
        return [wanted, *(replicas for at, replicas in past if at > now - timedelta(seconds=window))]

    final = (
        max(current, min(within(behavior.up.window)))
        if wanted > current
        else min(current, max(within(behavior.down.window)))
    )
    longest = timedelta(seconds=max(behavior.up.window, behavior.down.window))
    return final, replace(memory, recommended=(*(item for item in past if item[0] > now - longest), (now, wanted)))
