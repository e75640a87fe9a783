"""One turn of the state machine: confirm what the route holds, decide, and write down what it should hold next."""

from __future__ import annotations

from typing import Final

from millrace_core.api.experiment import Epoch, ExperimentStatus, Weights
from millrace_core.base import timestamps
from millrace_operators.experiment.observed import ENDING, PROMOTING, ROUTED, SPLITTING, Observed
from millrace_operators.experiment.policy import decide
from millrace_operators.experiment.ramp import split_at
from millrace_operators.experiment.verdict import Move
from millrace_operators.routing.weights import only, without_unready

# As many as the schema lets the status hold; the oldest are dropped.
MAX_EPOCHS: Final = 100


def advance(seen: Observed) -> tuple[ExperimentStatus, Move]:
    """The next status (without conditions), and the verdict that led to it."""
    seen = seen.after(confirmed(seen))
    move = decide(seen)
    status = seen.status.model_copy(update={"phase": seen.phase, **move.changes})
    return _with_weights(seen, status), move


def confirmed(seen: Observed) -> ExperimentStatus:
    """The status with what the route is seen to hold: the weights applied, since when, and the epoch that began."""
    status, weights = seen.status, seen.status.weights
    if not seen.programmed or weights is None or weights.applied_at or seen.phase not in ROUTED:
        return status
    now = timestamps.render(seen.now)
    desired = weights.desired or {}
    epochs = list(status.epochs or [])
    if not epochs or epochs[-1].weights != desired:
        epochs.append(Epoch(start=now, weights=desired))
    applied = Weights(desired=desired, applied=desired, applied_at=now)
    return status.model_copy(update={"weights": applied, "epochs": epochs[-MAX_EPOCHS:]})


def _with_weights(seen: Observed, status: ExperimentStatus) -> ExperimentStatus:
    """The status with the weights wanted in its phase; a change of them is unconfirmed until the route holds it."""
    if status.phase not in ROUTED:
        return status
    before = status.weights or Weights()
    desired = _desired(seen, status)
    entered = status.phase != seen.phase and (status.phase in ENDING or seen.phase not in ROUTED)
    if desired == before.desired and not entered:
        return status
    return status.model_copy(update={"weights": Weights(desired=desired, applied=before.applied)})


def _desired(seen: Observed, status: ExperimentStatus) -> dict[str, int]:
    names = [arm.name for arm in seen.spec.arms]
    if status.phase == PROMOTING and status.decision is not None and status.decision.arm is not None:
        return only(status.decision.arm, names)
    if status.phase not in SPLITTING:
        return only(seen.control.name, names)
    if not seen.ready(seen.control) and status.weights is not None and status.weights.desired:
        return status.weights.desired
    ready = {arm.name: seen.ready(arm) for arm in seen.spec.arms}
    nominal = split_at(seen.spec, status.steps, status.step_index or 0)
    return without_unready(nominal, seen.control.name, ready)
