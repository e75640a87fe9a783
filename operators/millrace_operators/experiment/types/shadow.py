"""Shadow: copies a part of the requests to its challenger, step by step, and ends; nobody gets the copies' answers."""

from __future__ import annotations

from typing import ClassVar, Final

from millrace_core.api.experiment import ExperimentSpec, ExperimentStatus, FrozenStep
from millrace_operators.experiment.observation import Observation
from millrace_operators.experiment.types.canary import Canary
from millrace_operators.experiment.verdict import Verdict, passed

DEFAULT_STEPS: Final = (
    FrozenStep(weight=5, hold="10m"),
    FrozenStep(weight=25, hold="10m"),
    FrozenStep(weight=100, hold="1h"),
)


class Shadow(Canary):
    """The control answers everything; what takes a canary back ends the copies, which is all that there is to take."""

    mirrors: ClassVar[bool] = True

    def frozen_steps(self, spec: ExperimentSpec) -> list[FrozenStep] | None:
        """The spec's steps, else copies of 5 and 25 percent for 10 minutes each, and of all for an hour."""
        return super().frozen_steps(spec) if spec.steps else list(DEFAULT_STEPS)

    def winner_of_ramp(self, observation: Observation) -> str | None:  # noqa: ARG002 it has none
        """Nobody: what people do with its answers is not known."""
        return None

    def after_ramp(self, observation: Observation) -> Verdict | None:
        """The end: nothing that is looked at spoke against the challenger."""
        arm, steps = observation.challengers[0].name, observation.status.steps or []
        return passed("ShadowCompleted", f"{arm} had copies through all {len(steps)} steps, and nothing took it back")

    def copied(self, spec: ExperimentSpec, status: ExperimentStatus) -> dict[str, int]:
        """The step's percentage, to the challenger."""
        steps = status.steps or []
        challenger = next(arm.name for arm in spec.arms if not arm.control)
        return {challenger: steps[status.step_index or 0].weight} if steps else {}
