"""What follows once it is known whether the route holds what was decided: weights that count as applied, and epochs.

Epochs: stretches of time in which everything that could move a result but the arms themselves is the same.

One begins when the route holds other weights, when the ramp still ahead is changed, when an arm serves from another
revision, and with each reweighting of a Bandit, whose past weighs less with each: results are compared within epochs,
so that the change is not taken for an effect. A new revision of an arm is not held back until the end, because it may
be the mend that a person is waiting for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from millrace_core.api.experiment import TERMINAL, ExperimentStatus, Weights
from millrace_core.api.experiment_history import Epoch
from millrace_operators.experiment.decision import Decision
from millrace_operators.experiment.observation import ROUTED, SPLITTING, Observation
from millrace_operators.routing.state import RouteChanges

WEIGHTS_CHANGED: Final = "WeightsChanged"
REWEIGHTED: Final = "Reweighted"
STEPS_CHANGED: Final = "StepsChanged"
REVISION_CHANGED: Final = "RevisionChanged"

# As many as the schema lets the status hold; the oldest are dropped, and units that came in them count no more. Each
# keeps its number, by which the gateway counts.
MAX_EPOCHS: Final = 100


def confirmed(decision: Decision, changes: RouteChanges, *, programmed: bool) -> Decision:
    """What follows once the route is known: since when the weights are applied, the epochs, and whether it may go."""
    observation, status = decision.observation, decision.status
    weights = status.weights or Weights()
    if programmed and not weights.applied_at:
        now, desired = observation.now, weights.desired or {}
        weights = Weights(desired=desired, applied=desired, applied_at=now, mirrored=weights.mirrored)
        status = status.model_copy(update={"weights": weights})
    release = _may_go(decision, changes)
    status = _with_epochs(observation, status, edited=decision.edited, programmed=programmed)
    return replace(decision, programmed=programmed, release=release, status=status)


def _may_go(decision: Decision, changes: RouteChanges) -> bool:
    observation, phase = decision.observation, decision.status.phase
    if not observation.deleting or phase in ROUTED:
        return False
    never_started = phase not in TERMINAL
    return never_started or changes.settled or not observation.mesh


def _with_epochs(
    observation: Observation, status: ExperimentStatus, *, edited: bool, programmed: bool
) -> ExperimentStatus:
    """The status with the epochs that begin now.

    Args:
        edited: whether the steps still ahead were changed while traffic is split.
        programmed: whether the route holds what the status wants.
    """
    if edited and status.epochs:
        last = status.epochs[-1]
        changes = {"number": last.number + 1, "start": observation.now, "reason": STEPS_CHANGED}
        status = _with(status, last.model_copy(update=changes))
    return _of_the_route(observation, status) if programmed else status


def _of_the_route(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    last = status.epochs[-1] if status.epochs else None
    weights, revisions = (status.weights or Weights()).applied or {}, _revisions(observation, last)
    if last is not None and status.bandit is not None and last.start < status.bandit.reweighted_at:
        reason = REWEIGHTED
    elif last is None or last.weights != weights:
        reason = WEIGHTS_CHANGED
    elif status.phase in SPLITTING and last.revisions != revisions:
        reason = REVISION_CHANGED
    else:
        return status
    number = last.number + 1 if last else 0
    epoch = Epoch(number=number, start=observation.now, weights=weights, revisions=revisions, reason=reason)
    return _with(status, epoch)


def _with(status: ExperimentStatus, epoch: Epoch) -> ExperimentStatus:
    return status.model_copy(update={"epochs": [*(status.epochs or []), epoch][-MAX_EPOCHS:]})


def _revisions(observation: Observation, last: Epoch | None) -> dict[str, str]:
    """The revision that serves, by arm; of an arm that has none just now the one that it had."""
    before = (last.revisions if last else None) or {}
    found = {name: held.target.revision if held.target else "" for name, held in observation.arms.items()}
    return {name: revision or before.get(name, "") for name, revision in found.items()}
