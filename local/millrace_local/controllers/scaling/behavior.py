"""How fast a number of replicas may change: the ``behavior`` of a HorizontalPodAutoscaler. Pure.

Reference: Kubernetes' "Configurable scaling behavior", and its controller's limits by scaling rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

_PERCENT: Final = "Percent"
_DISABLED: Final = "Disabled"
_LEAST: Final = "Min"


@dataclass(frozen=True)
class Policy:
    """At most ``value`` pods, or percent of them where ``percent``, within ``seconds``."""

    percent: bool
    value: int
    seconds: float


@dataclass(frozen=True)
class Direction:
    """The rules of one direction.

    Attributes:
        window: seconds in which a recommendation must hold.
        select: Max (the policy that allows most), Min or Disabled.
    """

    window: float
    policies: tuple[Policy, ...]
    select: str = "Max"


@dataclass(frozen=True)
class Behavior:
    """The rules of both directions."""

    up: Direction
    down: Direction


# A change of the number of replicas, and when it was made.
Change = tuple[datetime, int]

UP: Final = Direction(0, (Policy(True, 100, 15), Policy(False, 4, 15)))
DOWN: Final = Direction(300, (Policy(True, 100, 15),))


def read(behavior: Mapping[str, Any] | None) -> Behavior:
    """Reads ``behavior``, with Kubernetes' defaults for what it lacks."""
    given = behavior or {}
    return Behavior(_direction(given.get("scaleUp"), UP), _direction(given.get("scaleDown"), DOWN))


def limited(behavior: Behavior, wanted: int, current: int, changes: Sequence[Change], now: datetime) -> int:
    """``wanted``, or as far towards it as the policies allow now.

    Args:
        changes: those made before, at least of the longest period of a policy.
    """
    if wanted > current:
        rules, pick = behavior.up, max
        if rules.select == _LEAST:
            pick = min
        limits = [_above(policy, current, changes, now) for policy in rules.policies]
        limit = current if rules.select == _DISABLED else max(current, pick(limits, default=wanted))
        return min(wanted, limit)
    if wanted < current:
        rules, pick = behavior.down, min
        if rules.select == _LEAST:
            pick = max
        limits = [_below(policy, current, changes, now) for policy in rules.policies]
        limit = current if rules.select == _DISABLED else min(current, pick(limits, default=wanted))
        return max(wanted, limit)
    return current


def remembered(behavior: Behavior, changes: Iterable[Change], now: datetime) -> tuple[Change, ...]:
    """The changes that a policy may still look at."""
    policies = (*behavior.up.policies, *behavior.down.policies)
    start = now - timedelta(seconds=max((policy.seconds for policy in policies), default=0))
    return tuple(change for change in changes if change[0] > start)


def _direction(given: Mapping[str, Any] | None, default: Direction) -> Direction:
    given = given or {}
    policies = tuple(
        Policy(item["type"] == _PERCENT, int(item["value"]), float(item["periodSeconds"]))
        for item in given.get("policies") or ()
    )
    window = given.get("stabilizationWindowSeconds")
    return Direction(
        default.window if window is None else float(window),
        policies or default.policies,
        given.get("selectPolicy") or default.select,
    )


def _above(policy: Policy, current: int, changes: Sequence[Change], now: datetime) -> int:
    start = _at_start(policy, current, changes, now)
    return math.ceil(start * (1 + policy.value / 100)) if policy.percent else start + policy.value


def _below(policy: Policy, current: int, changes: Sequence[Change], now: datetime) -> int:
    start = _at_start(policy, current, changes, now)
    return int(start * (1 - policy.value / 100)) if policy.percent else start - policy.value


def _at_start(policy: Policy, current: int, changes: Sequence[Change], now: datetime) -> int:
    """The replicas at the start of the policy's period."""
    since = now - timedelta(seconds=policy.seconds)
    return current - sum(change for at, change in changes if at > since)
