"""The ramp of an Experiment that has begun: what of it is frozen, and what of an edit takes effect.

The steps up to the current one have had, or have, traffic: changing them would change what was measured, so they are
frozen. The steps still ahead are those that the spec has now.
"""

from __future__ import annotations

from collections.abc import Sequence

from millrace_core.api.experiment import ExperimentStatus, FrozenStep
from millrace_operators.experiment.observation import SPLITTING, Observation
from millrace_operators.experiment.types import type_of


def with_steps_ahead(observation: Observation) -> ExperimentStatus:
    """The status with the steps still ahead as the spec has them; as it is where the spec denies a frozen step."""
    status, wanted = observation.status, _wanted(observation)
    if wanted is None or wanted == status.steps or not keeps_frozen_steps(observation):
        return status
    return status.model_copy(update={"steps": wanted})


def keeps_frozen_steps(observation: Observation) -> bool:
    """Whether the spec has the steps up to the current one as they were taken."""
    if observation.phase not in SPLITTING:
        return True
    taken = (observation.status.step_index or 0) + 1
    return _first(_wanted(observation), taken) == _first(observation.status.steps, taken)


def _wanted(observation: Observation) -> list[FrozenStep] | None:
    if observation.phase not in SPLITTING:
        return None
    return type_of(observation.spec.type).frozen_steps(observation.spec)


def _first(steps: Sequence[FrozenStep] | None, count: int) -> Sequence[FrozenStep] | None:
    return steps[:count] if steps is not None else None
