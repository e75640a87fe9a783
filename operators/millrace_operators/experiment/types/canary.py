"""Canary: walks its steps, gives up a challenger that does not come back, and promotes at the end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, Final

from millrace_core.api.experiment import ExperimentSpec, FrozenStep
from millrace_operators.experiment.observation import HOLDING, RUNNING, Observation
from millrace_operators.experiment.types.base import ExperimentType, OfType
from millrace_operators.experiment.verdict import INCONCLUSIVE, Verdict, roll_back

DEFAULT_STEPS: Final = (
    FrozenStep(weight=5, hold="10m"),
    FrozenStep(weight=25, hold="10m"),
    FrozenStep(weight=50, hold="10m"),
    FrozenStep(weight=100, hold="0s"),
)

# A challenger that is not Ready for so long is given up, as Deployments are after their progress deadline.
UNREADY_DEADLINE: Final = timedelta(minutes=10)


def challenger_unready_too_long(observation: Observation) -> Verdict | None:
    """A challenger that does not come back ends the canary."""
    since = _unready_since(observation)
    if since is None or observation.now < since + UNREADY_DEADLINE:
        return None
    names = ", ".join(arm.name for arm in observation.unready)
    return roll_back(INCONCLUSIVE, "ChallengerUnready", f"{names} was not ready for {UNREADY_DEADLINE}")


class Canary(ExperimentType):
    """One challenger, step by step."""

    verdicts: ClassVar[tuple[OfType, ...]] = (challenger_unready_too_long,)
    rolls_back_without_data: ClassVar[bool] = True

    def frozen_steps(self, spec: ExperimentSpec) -> list[FrozenStep] | None:
        """The spec's steps, else 5, 25, 50 and 100 percent."""
        return super().frozen_steps(spec) or list(DEFAULT_STEPS)

    def winner_of_ramp(self, observation: Observation) -> str | None:
        """The challenger."""
        return observation.challengers[0].name

    def next_look(self, observation: Observation) -> datetime | None:
        """When an unready challenger is given up."""
        since = _unready_since(observation)
        return since + UNREADY_DEADLINE if since else None


def _unready_since(observation: Observation) -> datetime | None:
    """Since when a challenger is not ready while it runs; None where all are, or it is not recorded yet."""
    since = observation.status.challenger_unready_since
    if observation.phase not in (RUNNING, HOLDING) or not observation.challenger_unready or since is None:
        return None
    return since
