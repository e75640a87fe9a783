"""What an experiment type may say. Everything here is pure, and every part of it may be left as it is.

The state machine is the same for all types: arms become ready, traffic is split, steps are taken, traffic goes to one
arm. A type adds to it what it has to know, where its steps come from, verdicts of its own, and what follows the last
step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from millrace_core.api.experiment import Experiment, ExperimentSpec, ExperimentStatus, FrozenStep
from millrace_operators.experiment.observation import Observation
from millrace_operators.experiment.verdict import Verdict, promote, won
from millrace_operators.facts.fact import FactRequest

OfType = Callable[[Observation], Verdict | None]


class ExperimentType:
    """A type that holds its weights until a command ends it; subclasses say what they do else.

    Attributes:
        verdicts: looked at in order while it runs and its arms exist; the first that is not None wins.
        rolls_back_without_data: what becomes of it when a guardrail had no data for ``maxHold``; else it is paused.
        asks_before_steps: where ``spec.onSuccess`` is Pause, whether a person is waited for before each further step
            of the ramp; else after the last.
        mirrors: whether the control answers everything and the weights of steps say how much of it is copied.
        reweights: whether its weights follow the primary metric.
    """

    verdicts: ClassVar[tuple[OfType, ...]] = ()
    rolls_back_without_data: ClassVar[bool] = False
    asks_before_steps: ClassVar[bool] = False
    mirrors: ClassVar[bool] = False
    reweights: ClassVar[bool] = False

    def facts(self, experiment: Experiment) -> Sequence[FactRequest[Any]]:  # noqa: ARG002 for subclasses
        """What its verdicts have to know beside the cluster; they find it in ``observation.facts``."""
        return ()

    def frozen_steps(self, spec: ExperimentSpec) -> list[FrozenStep] | None:
        """The ramp as it is frozen at the start; None where the arms' weights hold from the start to the end."""
        if not spec.steps:
            return None
        return [FrozenStep(weight=step.weight, hold=step.hold) for step in spec.steps]

    def winner_of_ramp(self, observation: Observation) -> str | None:  # noqa: ARG002 for subclasses
        """The arm that is promoted when the last step's hold is over; None: the split stays."""
        return None

    def after_ramp(self, observation: Observation) -> Verdict | None:
        """What follows when the last step's hold is over; None: nothing, the split stays."""
        arm = self.winner_of_ramp(observation)
        if arm is None:
            return None
        message = f"{arm} went through every step"
        if self.asks_before_steps:
            return promote(arm, "RampCompleted", message)
        return won(observation, arm, "RampCompleted", message)

    def own_weights(self, spec: ExperimentSpec, status: ExperimentStatus) -> dict[str, int] | None:  # noqa: ARG002
        """Percent by arm while traffic is split; None: as the arms and the steps say."""
        return None

    def copied(self, spec: ExperimentSpec, status: ExperimentStatus) -> dict[str, int]:  # noqa: ARG002 for subclasses
        """Percent of the requests that are copied, by arm."""
        return {}

    def previewed(self, spec: ExperimentSpec, status: ExperimentStatus) -> str | None:  # noqa: ARG002 for subclasses
        """The arm that the preview Service leads to while traffic is split; None: none."""
        return None

    def promoted_by_command(self, observation: Observation, arm: str) -> Verdict | None:  # noqa: ARG002 for subclasses
        """What a promote command leads to; None: the end, with all traffic at ``arm``."""
        return None

    def next_look(self, observation: Observation) -> datetime | None:  # noqa: ARG002 for subclasses
        """When one of its verdicts may turn although nothing happens."""
        return None
