"""Which run of a view a stored row is from, and what a full pass takes away. Pure.

A *pass* is a run after which the store has what the source has, and nothing else from before: a full run, or the first
run of a changed definition. Each pass begins a new *generation* of the view. The view's meta key has the present one;
writers learn it before they write, and every row is stamped with it (``row``).

A pass takes away a row that is *void*: it is of a generation before the pass, and the pass has had to see it in the
source. Rows later than the pass's end it cannot have seen, so they stay, but for those that are later than all that a
push may be. A pass that did not end is taken up by the next one under a new generation; what runs wrote in between is
void then, too, but pushes since the first try stay, unless a run has written a newer row of the entity since. The
store's write rule and its sweep decide this, key by key.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

# How much later than now the event time of a pushed row may be, unless it is set otherwise; microseconds.
TOLERANCE: Final = 5 * 60 * 1_000_000

# Generations are seconds, so that they go on growing where a store has forgotten the last one. A stamp has 31 bits for
# them; the clock takes half of that, so that there is always a next one.
_EPOCH: Final = 1_600_000_000
_MOST: Final = 2**30
_TIME_OFFSET: Final = 2**63


def stamp(generation: int, *, pushed: bool = False) -> int:
    """The stamp of a row, 32 bits: its generation, and whether it was pushed (the last bit)."""
    return 2 * generation + pushed


def earliest(now: int) -> int:
    """The least number of a generation that begins now (microseconds)."""
    return min(max(now // 1_000_000 - _EPOCH, 1), _MOST)


class Generation(NamedTuple):
    """What a writer has to know: the present generation, and of which one on rows are sure to stay.

    ``doubtful`` is 0, but while a full run has not ended the generation of its first try: older rows may yet go.
    """

    number: int = 0
    doubtful: int = 0


NO_GENERATION: Final = Generation()


class FullPass(NamedTuple):
    """One pass.

    Attributes:
        generation: its own.
        since: that of the first pass that did not end; its own where the last one did.
        upto: the last event time that it reads, microseconds.
        horizon: the last event time that a row may have which it leaves alone, microseconds.
    """

    generation: int
    since: int
    upto: int
    horizon: int

    def packed(self) -> bytes:
        """As the scripts in the store take it: two 32-bit numbers and two times, as rows have them."""
        return struct.pack(">IIQQ", self.since, self.generation, *map(packable, (self.upto, self.horizon)))


def packable(moment: int) -> int:
    """A time in microseconds as rows have it; beyond 64 bits it is the first or the last."""
    return min(max(moment + _TIME_OFFSET, 0), 2**64 - 1)
