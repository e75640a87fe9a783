"""Which buckets of units each challenger has for good: resolved once, when an Experiment becomes Ready, and frozen."""

from __future__ import annotations

from millrace_core.api.experiment import ExperimentStatus
from millrace_core.api.experiment_assignment import AssignmentStatus, Slot
from millrace_core.experiments.assignment import slots
from millrace_operators.experiment.observation import ROUTED, Observation
from millrace_operators.experiment.types import type_of
from millrace_operators.experiment.weights import weights_at


def with_assignment(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    """The status with salt and slots while something is frozen; the slots have room for the largest planned weights.

    Where weights go to and fro nothing is planned, and there are no slots.
    """
    if status.phase not in ROUTED or status.assignment is not None:
        return status
    spec = observation.spec
    planned = weights_at(spec, status.steps, len(status.steps or [1]) - 1)
    shares = {arm.name: planned[arm.name] for arm in observation.challengers}
    frozen_slots = {} if type_of(spec.type).reweights else slots(shares, spec.assignment.holdout)
    frozen = AssignmentStatus(
        salt=spec.assignment.salt or str(observation.document["metadata"].get("uid", "")),
        holdout=spec.assignment.holdout,
        slots=[Slot(arm=arm, start=slot.start, size=slot.size) for arm, slot in frozen_slots.items()],
    )
    return status.model_copy(update={"assignment": frozen})
