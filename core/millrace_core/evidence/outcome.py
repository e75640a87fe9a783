"""What came of units, as records: exposures and outcomes. ``outcome_rows`` makes rows of them."""

from __future__ import annotations

from typing import NamedTuple


class Exposure(NamedTuple):
    """A unit was first given an arm, or was given another one. ``time`` is in microseconds since 1970."""

    namespace: str
    experiment: str
    uid: str
    unit: str
    arm: str
    epoch: int
    bucket: int
    time: int


class Outcome(NamedTuple):
    """Something came of a unit.

    Attributes:
        uid: of the experiment's object.
        outcome: its name.
        time: when it came about; ``received``, when the gateway took it: microseconds since 1970.
    """

    namespace: str
    experiment: str
    uid: str
    unit: str
    outcome: str
    value: float
    time: int
    id: str
    received: int
