"""What happens next to an Experiment: an ordered list of small functions, first hit wins, its reason is written.

Each looks at one thing and answers with a ``Verdict``, or None where there is nothing to say. A verdict without changes
still hits: it keeps the later ones from acting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from millrace_core.api import conditions
from millrace_core.api.experiment import TERMINAL
from millrace_core.identity.experiment_definition import experiment_definition
from millrace_operators.experiment.acceptance import objection
from millrace_operators.experiment.command import commanded
from millrace_operators.experiment.guardrails import harmful, step_waits_for_look, without_data
from millrace_operators.experiment.observation import (
    ENDING,
    HOLDING,
    LIVE,
    PAUSED,
    PENDING,
    READY,
    RUNNING,
    SPLITTING,
    Observation,
)
from millrace_operators.experiment.primary import out_of_time, primary_decided, split_differs
from millrace_operators.experiment.reweighting import reweighting_due
from millrace_operators.experiment.schedule import next_step_at
from millrace_operators.experiment.size import plan_of
from millrace_operators.experiment.types import type_of
from millrace_operators.experiment.verdict import (
    FINAL_PHASE,
    INCONCLUSIVE,
    ROLLBACK,
    Verdict,
    pause,
    roll_back,
)

# What is resolved when all stands ready, and let go when it does not any more.
_FROZEN: Final = ("definition", "steps", "step_index", "assignment", "plan")


def judge(observation: Observation) -> Verdict:
    """The first hit of the policy. At most one step of the ramp is taken."""
    return next(verdict for rule in POLICY if (verdict := rule(observation)) is not None)


def over(observation: Observation) -> Verdict | None:
    """The end is final; only a command is still answered."""
    if observation.phase not in TERMINAL:
        return None
    return commanded(observation) or Verdict("Completed", f"{observation.phase}: {_why(observation)}")


def deleted(observation: Observation) -> Verdict | None:
    """Deletion in the middle is a rollback; a promotion that has begun is carried through."""
    if not observation.deleting or observation.phase in ENDING:
        return None
    if observation.phase in SPLITTING:
        return roll_back(ROLLBACK, conditions.DELETING, "the Experiment is being deleted")
    return Verdict(conditions.DELETING, "deleted before it started")


def ending(observation: Observation) -> Verdict | None:
    """Traffic goes to one arm; once every proxy knows, the Experiment is over."""
    if observation.phase not in ENDING:
        return None
    if observation.command and (answer := commanded(observation)) is not None:
        return answer
    applied = observation.applied_at()
    if observation.mesh and (applied is None or observation.now < applied + observation.settle):
        return Verdict(observation.phase, f"{_why(observation)}; the route is settling")
    verdict = observation.status.decision.verdict if observation.status.decision else INCONCLUSIVE
    phase = FINAL_PHASE[verdict]
    changes = {"phase": phase, "finished_at": observation.now}
    return Verdict(phase, _why(observation), changes, warning=phase != "Succeeded")


def unacceptable(observation: Observation) -> Verdict | None:
    """What speaks against it keeps it from starting, as long as that is so."""
    if observation.phase not in (PENDING, READY) or (error := objection(observation)) is None:
        return None
    return _back_to_pending(observation, error.reason, str(error))


def challenger_lost(observation: Observation) -> Verdict | None:
    """A comparison without one of its arms says nothing. A control that may come back is waited for first."""
    lost = [arm.name for arm in observation.challengers if arm.name in observation.lost]
    control = observation.control.name
    if not lost or observation.phase not in LIVE:
        return None
    if control not in observation.ready and control not in observation.lost:
        return None
    return roll_back(INCONCLUSIVE, "ChallengerLost", f"the deployment of {', '.join(lost)} is gone")


def deployment_unknown(observation: Observation) -> Verdict | None:
    """Nothing is decided on a deployment that is missing from the cache, while the API server does not confirm it."""
    if not observation.unknown or observation.phase not in LIVE:
        return None
    names = ", ".join(arm.deployment for arm in observation.unknown)
    return Verdict("DeploymentUnknown", f"it is not known whether {names} exists; weights are frozen until it is")


def control_lost(observation: Observation) -> Verdict | None:
    """Everything stays as it is: there is nothing to go back to."""
    if observation.phase not in LIVE or observation.control.name in observation.ready:
        return None
    message = (
        f"the deployment {observation.control.deployment!r} of the control is not ready; weights are frozen. "
        "Mend it, or end the Experiment by a promote or abort command"
    )
    return Verdict("ControlLost", message, warning=True)


def judged_by_type(observation: Observation) -> Verdict | None:
    """What the experiment's type alone looks at, while it runs."""
    if observation.phase not in LIVE:
        return None
    rules = type_of(observation.spec.type).verdicts
    return next((verdict for rule in rules if (verdict := rule(observation)) is not None), None)


def route_fought_over(observation: Observation) -> Verdict | None:
    """Somebody else keeps editing the route: what is measured would mean nothing."""
    if observation.phase not in (RUNNING, HOLDING) or not observation.fight:
        return None
    message = "the route was edited by somebody else three times in a minute; find out who, then send a resume command"
    return pause(observation, "RouteFight", message, warning=True)


def halted(observation: Observation) -> Verdict | None:
    """A pause lasts until a command ends it."""
    if observation.phase != PAUSED:
        return None
    return Verdict("Paused", "paused; weights stay as they are until a resume, promote or abort command")


def targets_not_ready(observation: Observation) -> Verdict | None:
    """Before the start all arms must be ready; later no step is taken while one is not."""
    if not observation.unready:
        return None
    waits_for = ", ".join(f"{arm.name} (ModelDeployment {arm.deployment})" for arm in observation.unready)
    message = f"waiting for {waits_for}"
    if observation.phase == READY:
        return _back_to_pending(observation, "TargetsNotReady", message)
    return Verdict("TargetsNotReady", message)


def mesh_absent(observation: Observation) -> Verdict | None:
    """Without a mesh nothing can split traffic."""
    if observation.mesh or observation.phase in (RUNNING, HOLDING):
        return None
    return _back_to_pending(observation, "MeshAbsent", "the cluster serves no VirtualService and DestinationRule kinds")


def startable(observation: Observation) -> Verdict | None:
    """Everything stands: freeze what was resolved, and ask for the first split."""
    if observation.phase != PENDING:
        return None
    steps = type_of(observation.spec.type).frozen_steps(observation.spec)
    changes = {
        "phase": READY,
        "definition": experiment_definition(observation.spec),
        "steps": steps,
        "step_index": 0,
        "plan": plan_of(observation.spec, steps),
    }
    return Verdict("Ready", "all arms are ready; the route is being prepared", changes)


def started(observation: Observation) -> Verdict | None:
    """The route holds the first split."""
    if observation.phase != READY:
        return None
    applied = observation.applied_at()
    if applied is None:
        return Verdict("Ready", "all arms are ready; the route is being prepared")
    changes = {"phase": RUNNING, "started_at": applied, "step_started_at": applied}
    return Verdict("Running", "traffic is split", changes)


def step_due(observation: Observation) -> Verdict | None:
    """The step's settle and hold are over: the next one, or what its type does after the last."""
    due = next_step_at(observation)
    if due is None or observation.now < due:
        return None
    steps, index = observation.status.steps or [], observation.status.step_index or 0
    kind = type_of(observation.spec.type)
    if index + 1 == len(steps):
        return kind.after_ramp(observation)
    step = steps[index + 1]
    if kind.asks_before_steps and observation.spec.on_success == "Pause":
        message = f"step {index + 2} of {len(steps)}, {step.weight}%, waits for a promote command; or abort by one"
        return pause(observation, "AwaitingPromotion", message)
    changes = {"step_index": index + 1, "step_started_at": observation.now}
    return Verdict("StepTaken", f"step {index + 2} of {len(steps)}: {step.weight}% for {step.hold}", changes)


def going_on(observation: Observation) -> Verdict | None:
    """Nothing is due."""
    return Verdict(observation.phase, "traffic is split; nothing is due")


POLICY: Final[tuple[Callable[[Observation], Verdict | None], ...]] = (
    over,
    deleted,
    ending,
    commanded,
    unacceptable,
    challenger_lost,
    deployment_unknown,
    control_lost,
    judged_by_type,
    harmful,
    route_fought_over,
    halted,
    without_data,
    out_of_time,
    split_differs,
    primary_decided,
    mesh_absent,
    targets_not_ready,
    startable,
    started,
    step_waits_for_look,
    step_due,
    reweighting_due,
    going_on,
)


def _back_to_pending(observation: Observation, reason: str, message: str) -> Verdict:
    if observation.phase != READY:
        return Verdict(reason, message)
    return Verdict(reason, message, dict.fromkeys(_FROZEN) | {"phase": PENDING, "weights": None})


def _why(observation: Observation) -> str:
    return observation.status.decision.reason if observation.status.decision else ""
