"""What is decided about a service and its Experiments, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from millrace_core.api.experiment import ExperimentStatus
from millrace_operators.experiment.observation import Observation, Unreadable
from millrace_operators.experiment.verdict import Verdict
from millrace_operators.routing.state import Champion, RouteChanges, RouteObservation, Split


@dataclass(frozen=True)
class Decision:
    """What is decided about one Experiment.

    Attributes:
        observation: what it was decided on.
        verdict: the policy's, with its reason.
        status: the next status, without conditions.
        split: what it asks of the route; None while it has no part in it.
        edited: whether the steps still ahead are others than those that were stored.
        programmed: whether the live route is what it asks for.
        release: whether a deleted Experiment may go: no traffic is split any more and nothing is left in the route.
    """

    observation: Observation
    verdict: Verdict
    status: ExperimentStatus
    split: Split | None
    edited: bool = False
    programmed: bool = False
    release: bool = False


@dataclass(frozen=True)
class ServiceDecision:
    """What is decided about a service.

    Attributes:
        champion: as it is to be recorded.
        changes: the next writes to the route.
        next_look: when to look again although nothing happens, later than now; None: no need.
    """

    route: RouteObservation
    experiments: tuple[Decision, ...]
    unreadable: tuple[Unreadable, ...]
    champion: Champion
    changes: RouteChanges
    next_look: datetime | None
