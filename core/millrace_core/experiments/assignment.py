"""Which arm a unit is given: a pure function of salt, unit, slots and weights, the same in every process.

A unit's bucket is the first 8 bytes of BLAKE2b of ``salt:unit`` (UTF-8), a big-endian number, mod 10,000. From the top
a range is held out. The buckets below it are divided into one slot for each challenger, for good; an arm has the first
buckets of its slot, as many as its weight says, and all others are the control's. So a weight that grows adds units,
and one that falls gives the last ones back; no unit goes from one challenger to another.

Of a bandit the weights go to and fro, and there are no slots: the challengers' buckets follow one another as the
weights say now. That is the arm of a unit that is new; one that was given an arm before keeps it, which is not this
module's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from typing import Final, NamedTuple

BUCKETS: Final = 10_000
_PER_PERCENT: Final = BUCKETS // 100


class Slot(NamedTuple):
    """A challenger's buckets: ``size`` of them from ``start`` on."""

    start: int
    size: int


class Assigned(NamedTuple):
    """What a unit was given. A unit that is held out has the control's arm and counts nowhere."""

    arm: str
    bucket: int
    holdout: bool = False


def bucket(salt: str, unit: str) -> int:
    """The bucket of a unit, 0 to 9,999."""
    digest = hashlib.blake2b(f"{salt}:{unit}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def slots(shares: Mapping[str, int], holdout: int = 0) -> dict[str, Slot]:
    """One slot for each challenger; together they are all buckets that are not held out.

    Args:
        shares: by challenger the largest weight that is planned, in percent; what they leave is divided equally.
        holdout: percent of units that are held out.
    """
    room = BUCKETS - holdout * _PER_PERCENT
    spare = 100 - sum(shares.values())
    wanted = {arm: share * len(shares) + spare for arm, share in shares.items()}
    whole = 100 * len(shares)
    found: dict[str, Slot] = {}
    start = passed = 0
    for arm, share in wanted.items():
        passed += share
        end = int(Fraction(room * passed, whole))
        found[arm] = Slot(start, end - start)
        start = end
    return found


@dataclass(frozen=True)
class Assignment:
    """How the units of one experiment are assigned just now.

    Args:
        salt: that is mixed with units, so that two experiments are independent.
        control: the arm of all that no challenger has.
        slots: by challenger; empty: they follow the weights.
        weights: percent by arm; an arm whose weight is more than its slot holds has its slot. Without slots their order
            is that of the buckets.
        holdout: percent of units that are held out.
    """

    salt: str
    control: str
    slots: Mapping[str, Slot]
    weights: Mapping[str, int]
    holdout: int = 0
    _ranges: tuple[tuple[int, int, str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        room = self.held_out_from
        ranges = tuple(
            (slot.start, slot.start + min(slot.size, self.weights.get(arm, 0) * room // 100), arm)
            for arm, slot in self.slots.items()
        )
        object.__setattr__(self, "_ranges", ranges or self._by_weights(room))

    def _by_weights(self, room: int) -> tuple[tuple[int, int, str], ...]:
        challengers = [arm for arm in self.weights if arm != self.control]
        ends = [*accumulate((self.weights[arm] for arm in challengers), initial=0)]
        return tuple(
            (start * room // 100, end * room // 100, arm)
            for start, end, arm in zip(ends, ends[1:], challengers, strict=False)
        )

    @property
    def keeps(self) -> bool:
        """Whether a unit keeps the arm that it was given first, whatever the weights are now."""
        return not self.slots

    @property
    def held_out_from(self) -> int:
        """The first bucket that is held out."""
        return BUCKETS - self.holdout * _PER_PERCENT

    def of(self, unit: str) -> Assigned:
        """What a unit is given."""
        return self.at(bucket(self.salt, unit))

    def at(self, bucket: int) -> Assigned:
        """What the units of a bucket are given."""
        if bucket >= self.held_out_from:
            return Assigned(self.control, bucket, holdout=True)
        for start, end, arm in self._ranges:
            if start <= bucket < end:
                return Assigned(arm, bucket)
        return Assigned(self.control, bucket)
