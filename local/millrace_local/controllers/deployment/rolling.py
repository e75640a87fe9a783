"""The arithmetic of a rolling update, in replica counts alone.

It is the same as Kubernetes': never more than ``replicas + surge`` pods wanted, never fewer than
``replicas - unavailable`` of them available, unhealthy old pods first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Size:
    """One ReplicaSet in numbers.

    Attributes:
        name: its name.
        desired: pods that its spec.replicas keeps.
        available: pods of it that are available.
        maximum: the most pods its Deployment allowed when it was last scaled, 0 when never noted.
    """

    name: str
    desired: int
    available: int
    maximum: int = 0


@dataclass(frozen=True)
class Bounds:
    """How far a rolling update may go above and below ``replicas``, in pods."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        """The most pods wanted at any moment; none at all for a Deployment of no replicas."""
        return self.replicas + self.surge if self.replicas else 0

    @property
    def least(self) -> int:
        """The fewest pods that must stay available."""
        return self.replicas - self.unavailable


def bounds(strategy: Mapping[str, Any], replicas: int) -> Bounds:
    """Resolves ``maxSurge`` (percentages round up) and ``maxUnavailable`` (they round down) of a strategy.

    Where both come to 0, one pod may be unavailable: otherwise nothing could move.
    """
    if strategy.get("type") == "Recreate":
        return Bounds(replicas, 0, replicas)
    rolling = strategy.get("rollingUpdate") or {}
    surge = math.ceil(_share(rolling.get("maxSurge", "25%"), replicas))
    unavailable = math.floor(_share(rolling.get("maxUnavailable", "25%"), replicas))
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(replicas, surge, min(unavailable, replicas))


def _share(value: int | str, total: int) -> float:
    if isinstance(value, str) and value.endswith("%"):
        return int(value[:-1]) * total / 100
    return int(value)


def grown(limits: Bounds, new: Size, olds: Sequence[Size]) -> int:
    """The replicas of the new ReplicaSet for this step of a rolling update."""
    if new.desired >= limits.replicas:
        return limits.replicas
    room = limits.replicas + limits.surge - new.desired - sum(old.desired for old in olds)
    return new.desired + max(0, min(room, limits.replicas - new.desired))


def shrunk(limits: Bounds, new: Size, olds: Sequence[Size]) -> dict[str, int]:
    """The replicas of the old ReplicaSets (oldest first) that this step of a rolling update scales down."""
    total = new.desired + sum(old.desired for old in olds)
    unready_new = max(0, new.desired - new.available)
    removable = total - limits.least - unready_new
    if removable <= 0:
        return {}
    left: list[Size] = []
    for old in olds:
        unhealthy = min(removable, max(0, old.desired - old.available))
        removable -= unhealthy
        left.append(replace(old, desired=old.desired - unhealthy))
    spare = new.available + sum(old.available for old in olds) - limits.least
    sizes: dict[str, int] = {}
    for before, old in zip(olds, left, strict=True):
        count = max(0, min(old.desired, spare))
        spare -= count
        if old.desired - count != before.desired:
            sizes[old.name] = old.desired - count
    return sizes


def proportional(limits: Bounds, sets: Sequence[Size]) -> dict[str, int]:
    """Spreads a change of ``replicas`` in mid-rollout over the ReplicaSets (newest first) by their sizes.

    What rounding leaves over goes to the largest, as far as it can take it, then to the next.
    """
    missing = limits.most - sum(item.desired for item in sets)
    growing = missing > 0
    # Among equals the newer one grows first and the older one shrinks first.
    by_size = sorted(sets if growing else reversed(sets), key=lambda item: -item.desired)
    sizes: dict[str, int] = {}
    added = 0
    for item in by_size:
        share = _fraction(item, limits) if missing else 0
        allowed = missing - added
        change = min(share, allowed) if growing else max(share, allowed)
        sizes[item.name] = item.desired + change
        added += change
    left = missing - added
    for item in by_size:
        size = max(0, sizes[item.name] + left)
        left -= size - sizes[item.name]
        sizes[item.name] = size
    return sizes


def _fraction(item: Size, limits: Bounds) -> int:
    if limits.replicas == 0:
        return -item.desired
    maximum = item.maximum or limits.most
    return math.floor(item.desired * limits.most / maximum + 0.5) - item.desired
