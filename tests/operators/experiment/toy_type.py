"""An experiment type with statistics, as small as one can be: a fact that it needs, its source, and verdicts from it.

All that a new type writes stands in this file; what registers it is one line in ``TYPES``, and one in ``sources``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from millrace_core.api.experiment import Experiment
from millrace_operators.experiment.observation import RUNNING, Observation
from millrace_operators.experiment.types.base import ExperimentType, OfType
from millrace_operators.experiment.verdict import ROLLBACK, Verdict, promote, roll_back
from millrace_operators.facts.fact import FactRequest, Known, describe
from millrace_operators.facts.source import FactSource, Reading


@dataclass(frozen=True)
class Lift(FactRequest[float]):
    """By how much the challenger is better."""

    experiment: str

    def __str__(self) -> str:
        return f"the lift of {self.experiment}"


class Lifts(FactSource):
    name = "the outcomes"
    answers = Lift
    max_age = timedelta(minutes=1)

    def __init__(self, lift: float, at: datetime) -> None:
        self.lift, self.at = lift, at

    async def read(self, request: Lift) -> Reading[float]:
        return Reading(self.lift, self.at)


def lift_unknown(observation: Observation) -> Verdict | None:
    fact = observation.facts.get(Lift(observation.name))
    if isinstance(fact, Known):
        return None
    return Verdict("NoLift", describe(Lift(observation.name), fact))


def lift_decided(observation: Observation) -> Verdict | None:
    fact = observation.facts.get(Lift(observation.name))
    if not isinstance(fact, Known) or abs(fact.value) < 0.1:
        return None
    if fact.value < 0:
        return roll_back(ROLLBACK, "Worse", "the challenger is worse")
    return promote(observation.challengers[0].name, "Better", "the challenger is better")


class Toy(ExperimentType):
    verdicts: ClassVar[tuple[OfType, ...]] = (lift_unknown, lift_decided)

    def facts(self, experiment: Experiment) -> Sequence[FactRequest[Any]]:
        running = experiment.status is not None and experiment.status.phase == RUNNING
        return [Lift(experiment.metadata["name"])] if running else []

    def next_look(self, observation: Observation) -> datetime | None:
        return observation.now + timedelta(minutes=1) if observation.phase == RUNNING else None
