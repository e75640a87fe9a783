"""What happens next to an Experiment: an ordered list of small functions, first hit wins, its reason is written.

Each looks at one fact and answers with a ``Move``, or None where the fact is not given. A move without changes still
hits: it keeps the later ones from acting.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from millrace_core.api import conditions
from millrace_core.api.experiment import TERMINAL
from millrace_core.base import timestamps
from millrace_operators.experiment.acceptance import objection
from millrace_operators.experiment.observed import (
    ENDING,
    PAUSED,
    PENDING,
    READY,
    RUNNING,
    SPLITTING,
    UNREADY_DEADLINE,
    Observed,
)
from millrace_operators.experiment.orders import obey, paused
from millrace_operators.experiment.ramp import frozen_steps
from millrace_operators.experiment.verdict import FINAL_PHASE, INCONCLUSIVE, ROLLBACK, Move, promote, roll_back


def decide(seen: Observed) -> Move:
    """The first hit of the policy. At most one step of the ramp is taken."""
    return next(move for verdict in POLICY if (move := verdict(seen)) is not None)


def over(seen: Observed) -> Move | None:
    """The end is final; only a command is still answered."""
    if seen.phase not in TERMINAL:
        return None
    return obey(seen) or Move("Completed", f"{seen.phase}: {_why(seen)}")


def deleted(seen: Observed) -> Move | None:
    """Deletion in the middle is a rollback; a promotion that has begun is carried through."""
    if not seen.deleting or seen.phase in ENDING:
        return None
    if seen.phase in SPLITTING:
        return roll_back(ROLLBACK, conditions.DELETING, "the Experiment is being deleted")
    return Move(conditions.DELETING, "deleted before it started")


def ending(seen: Observed) -> Move | None:
    """Traffic goes to one arm; once every proxy knows, the Experiment is over."""
    if seen.phase not in ENDING:
        return None
    if seen.command and (answer := obey(seen)) is not None:
        return answer
    applied = seen.applied_at()
    if seen.mesh and (applied is None or seen.now < applied + seen.settle):
        return Move(seen.phase, f"{_why(seen)}; the route is settling")
    verdict = seen.status.decision.verdict if seen.status.decision else INCONCLUSIVE
    phase = FINAL_PHASE[verdict]
    changes = {"phase": phase, "finished_at": timestamps.render(seen.now)}
    return Move(phase, _why(seen), changes, warning=phase != "Succeeded")


def unacceptable(seen: Observed) -> Move | None:
    """What speaks against it keeps it from starting, as long as that is so."""
    if seen.phase not in (PENDING, READY) or (error := objection(seen)) is None:
        return None
    return _back_to_pending(seen, error.reason, str(error))


def challenger_lost(seen: Observed) -> Move | None:
    """A comparison without one of its arms says nothing."""
    lost = [arm.name for arm in seen.challengers if seen.lost(arm)]
    if not lost or seen.phase not in (RUNNING, PAUSED):
        return None
    return roll_back(INCONCLUSIVE, "ChallengerLost", f"the deployment of {', '.join(lost)} is gone")


def control_lost(seen: Observed) -> Move | None:
    """Everything stays as it is: there is nothing to go back to."""
    if seen.phase not in (RUNNING, PAUSED) or seen.ready(seen.control):
        return None
    message = (
        f"the deployment {seen.control.deployment!r} of the control is not ready; weights are frozen. "
        "Mend it, or end the Experiment by a promote or abort command"
    )
    return Move("ControlLost", message, warning=True)


def challenger_unready_too_long(seen: Observed) -> Move | None:
    """A canary whose challenger does not come back is rolled back; an A/B test waits for it, at weight 0."""
    since = unready_since(seen)
    if since is None or seen.now < since + UNREADY_DEADLINE:
        return None
    names = ", ".join(arm.name for arm in seen.unready)
    return roll_back(INCONCLUSIVE, "ChallengerUnready", f"{names} was not ready for {UNREADY_DEADLINE}")


def route_fought_over(seen: Observed) -> Move | None:
    """Somebody else keeps editing the route: what is measured would mean nothing."""
    if seen.phase != RUNNING or not seen.fight:
        return None
    message = "the route was edited by somebody else three times in a minute; find out who, then send a resume command"
    move = paused(seen, "RouteFight", message)
    return Move(move.reason, move.message, move.changes, warning=True)


def halted(seen: Observed) -> Move | None:
    """A pause lasts until a command ends it."""
    if seen.phase != PAUSED:
        return None
    return Move("Paused", "paused; weights stay as they are until a resume, promote or abort command")


def targets_not_ready(seen: Observed) -> Move | None:
    """Before the start all arms must be ready; later no step is taken while one is not."""
    if not seen.unready:
        return None
    message = "waiting for " + ", ".join(f"{arm.name} (ModelDeployment {arm.deployment})" for arm in seen.unready)
    if seen.phase == READY:
        return _back_to_pending(seen, "TargetsNotReady", message)
    return Move("TargetsNotReady", message)


def mesh_absent(seen: Observed) -> Move | None:
    """Without a mesh nothing can split traffic."""
    if seen.mesh or seen.phase == RUNNING:
        return None
    return _back_to_pending(seen, "MeshAbsent", "the cluster serves no VirtualService and DestinationRule kinds")


def startable(seen: Observed) -> Move | None:
    """Everything stands: freeze what was resolved, and ask for the first split."""
    if seen.phase != PENDING:
        return None
    changes = {"phase": READY, "steps": frozen_steps(seen.spec), "step_index": 0}
    return Move("Ready", "all arms are ready; the route is being prepared", changes)


def started(seen: Observed) -> Move | None:
    """The route holds the first split."""
    if seen.phase != READY:
        return None
    applied = seen.applied_at()
    if applied is None:
        return Move("Ready", "all arms are ready; the route is being prepared")
    at = timestamps.render(applied)
    return Move("Running", "traffic is split", {"phase": RUNNING, "started_at": at, "step_started_at": at})


def step_due(seen: Observed) -> Move | None:
    """The step's settle and hold are over: the next one, or the promotion at the end of a canary."""
    due = next_step_at(seen)
    if due is None or seen.now < due:
        return None
    steps, index = seen.status.steps or [], seen.status.step_index or 0
    if index + 1 == len(steps):
        arm = seen.challengers[0].name
        return promote(arm, "RampCompleted", f"{arm} went through every step")
    step = steps[index + 1]
    changes = {"step_index": index + 1, "step_started_at": timestamps.render(seen.now)}
    return Move("StepTaken", f"step {index + 2} of {len(steps)}: {step.weight}% for {step.hold}", changes)


def going_on(seen: Observed) -> Move | None:
    """Nothing is due."""
    return Move(seen.phase, "traffic is split; nothing is due")


POLICY: Final[tuple[Callable[[Observed], Move | None], ...]] = (
    over,
    deleted,
    ending,
    obey,
    unacceptable,
    challenger_lost,
    control_lost,
    challenger_unready_too_long,
    route_fought_over,
    halted,
    mesh_absent,
    targets_not_ready,
    startable,
    started,
    step_due,
    going_on,
)


def next_step_at(seen: Observed) -> datetime | None:
    """When the next step or the promotion is due; None where none is."""
    last = (seen.status.step_index or 0) + 1 >= len(seen.status.steps or [])
    if seen.phase != RUNNING or seen.unready or (last and seen.spec.type == "ABTest"):
        return None
    return seen.step_due_at()


def unready_since(seen: Observed) -> datetime | None:
    """Since when a running canary's challenger is not ready; None where it is, or not yet recorded."""
    if seen.spec.type != "Canary" or seen.phase != RUNNING or not seen.unready:
        return None
    found = conditions.find(
        [item.model_dump(by_alias=True) for item in seen.status.conditions or ()], conditions.TARGETS_READY
    )
    if found is None or found["status"] != "False":
        return None
    return timestamps.parse(found["lastTransitionTime"])


def wake_at(seen: Observed) -> datetime | None:
    """When to look again although nothing happens."""
    applied, unready = seen.applied_at(), unready_since(seen)
    times = [
        next_step_at(seen),
        applied + seen.settle if applied and seen.phase in ENDING else None,
        unready + UNREADY_DEADLINE if unready else None,
    ]
    return min((time for time in times if time is not None), default=None)


def _back_to_pending(seen: Observed, reason: str, message: str) -> Move:
    changes = {"phase": PENDING, "weights": None, "steps": None, "step_index": None} if seen.phase == READY else {}
    return Move(reason, message, changes)


def _why(seen: Observed) -> str:
    return seen.status.decision.reason if seen.status.decision else ""
