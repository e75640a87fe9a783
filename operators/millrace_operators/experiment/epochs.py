"""Epochs: stretches of time in which everything that could move a result but the arms themselves is the same.

One begins when the route holds other weights, when the ramp still ahead is changed, and when an arm serves from another
revision: results are compared within epochs, so that the change is not taken for an effect. A new revision of an arm is
not held back until the end, because it may be the mend that a person is waiting for.
"""

from __future__ import annotations

from typing import Final

from millrace_core.api.experiment import Epoch, ExperimentStatus, Weights
from millrace_operators.experiment.observation import SPLITTING, Observation

WEIGHTS_CHANGED: Final = "WeightsChanged"
STEPS_CHANGED: Final = "StepsChanged"
REVISION_CHANGED: Final = "RevisionChanged"

# As many as the schema lets the status hold; the oldest are dropped.
MAX_EPOCHS: Final = 100


def with_epoch(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    """The status with the epoch that is in force, where the route holds what the status wants."""
    last = status.epochs[-1] if status.epochs else None
    weights, revisions = (status.weights or Weights()).applied or {}, _revisions(observation, last)
    if last is None or last.weights != weights:
        reason = WEIGHTS_CHANGED
    elif status.phase in SPLITTING and last.revisions != revisions:
        reason = REVISION_CHANGED
    else:
        return status
    return _with(status, Epoch(start=observation.now, weights=weights, revisions=revisions, reason=reason))


def with_epoch_of_steps(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    """The status with an epoch that the change of the ramp begins, where traffic is split already."""
    if not status.epochs or not steps_changed(observation, status):
        return status
    start = {"start": observation.now, "reason": STEPS_CHANGED}
    return _with(status, status.epochs[-1].model_copy(update=start))


def steps_changed(observation: Observation, status: ExperimentStatus) -> bool:
    """Whether the ramp of an Experiment that has begun is another than it was stored."""
    before = observation.status.steps
    return status.phase in SPLITTING and before is not None and before != status.steps


def _with(status: ExperimentStatus, epoch: Epoch) -> ExperimentStatus:
    return status.model_copy(update={"epochs": [*(status.epochs or []), epoch][-MAX_EPOCHS:]})


def _revisions(observation: Observation, last: Epoch | None) -> dict[str, str]:
    """The revision that serves, by arm; of an arm that has none just now the one that it had."""
    before = (last.revisions if last else None) or {}
    found = {name: held.target.revision if held.target else "" for name, held in observation.arms.items()}
    return {name: revision or before.get(name, "") for name, revision in found.items()}
