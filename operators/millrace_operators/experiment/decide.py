"""One turn of a service, decided: from what was observed to every status, the split, the route and the next look. Pure.

The policy judges each Experiment in turn; the first that nothing stands against has the service. The route is planned
once, for what was decided, and says at the same time whether the live one is that already: then the weights count as
applied, and the policy sees it at the next turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from millrace_core.api.experiment import TERMINAL, ExperimentStatus, Weights
from millrace_core.identity.experiment_definition import experiment_definition
from millrace_operators.experiment.acceptance import objection
from millrace_operators.experiment.assignment import with_assignment
from millrace_operators.experiment.confirmation import confirmed
from millrace_operators.experiment.decision import Decision, ServiceDecision
from millrace_operators.experiment.desired import split_of
from millrace_operators.experiment.health import with_health
from millrace_operators.experiment.looks import look_times, with_look
from millrace_operators.experiment.observation import (
    ENDING,
    HOLDING,
    ROUTED,
    RUNNING,
    SPLITTING,
    Observation,
    ServiceObservation,
)
from millrace_operators.experiment.policy import judge
from millrace_operators.experiment.ramp import with_steps_ahead
from millrace_operators.experiment.schedule import ASK_AGAIN, times_to_look
from millrace_operators.experiment.weights import copies, desired_weights
from millrace_operators.routing.champion import desired_route
from millrace_operators.routing.changes import route_changes
from millrace_operators.routing.compare import compared
from millrace_operators.routing.desired import route_objects
from millrace_operators.routing.state import Champion, RouteChanges


def decide(service: ServiceObservation) -> ServiceDecision:
    """What becomes of every Experiment of the service and of its route."""
    held = next((item.name for item in service.unreadable if item.routed and not item.deleting), "")
    decisions = _in_order(service.experiments, held)
    asking = next((decision for decision in decisions if decision.split is not None), None)
    champion, changes = _route(service, asking, held)
    programmed = asking if changes.programmed and not service.route.undelegated else None
    decisions = [confirmed(item, changes, programmed=item is programmed) for item in decisions]
    unknown = service.now + ASK_AGAIN if service.route.unknown else None
    after = [item.observation.after(item.status) for item in decisions]
    looks = [time for item in after for time in (*times_to_look(item), *look_times(item))]
    looks += [time for time in (changes.again_at, unknown) if time is not None]
    return ServiceDecision(
        route=service.route,
        experiments=tuple(decisions),
        unreadable=service.unreadable,
        champion=champion,
        changes=changes,
        # What is due already and was not done waits for something to happen, not for the time.
        next_look=min((time for time in looks if time > service.now), default=None),
    )


def _route(service: ServiceObservation, asking: Decision | None, held: str) -> tuple[Champion, RouteChanges]:
    """The champion and the next writes; none while an Experiment that cannot be read has the route."""
    if held and asking is None:
        return service.route.live.champion, RouteChanges(programmed=False, settled=False)
    live, desired = service.route.live, desired_route(service.route, asking.split if asking else None)
    objects = route_objects(desired, live)
    wanted = compared(objects, live)
    return desired.champion, route_changes(desired, wanted, live, service.now)


def _in_order(experiments: Sequence[Observation], holder: str) -> list[Decision]:
    """Each Experiment's decision; the first that nothing stands against has the service, and blocks the others."""
    decisions: list[Decision] = []
    for alone in experiments:
        observation = replace(alone, blocker=holder) if holder else alone
        decision = decide_experiment(observation)
        decisions.append(decision)
        phase = decision.status.phase
        unfit = phase not in ROUTED and (observation.deleting or objection(observation) is not None)
        if not holder and phase not in TERMINAL and not unfit:
            holder = observation.name
    return decisions


def decide_experiment(observation: Observation) -> Decision:
    """The policy's verdict, and the status and the split that follow from it."""
    current = with_steps_ahead(observation)
    looked = with_look(observation.after(current))
    verdict = judge(observation.after(looked))
    status = looked.model_copy(update={"phase": observation.phase, **verdict.changes})
    status = with_health(observation, status)
    status = _with_definition(observation, _with_weights(observation, _with_unready_since(observation, status)))
    status = with_assignment(observation, status)
    edited = status.phase in SPLITTING and current is not observation.status
    return Decision(observation, verdict, status, split_of(observation, status), edited)


def _with_definition(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    """The status with the definition while something is frozen: somebody may have taken a wrong one away."""
    if status.phase not in ROUTED or status.definition is not None:
        return status
    return status.model_copy(update={"definition": experiment_definition(observation.spec)})


def _with_unready_since(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    """The status with the time since when a challenger is not ready; a pause and an unready control end it."""
    running = status.phase in (RUNNING, HOLDING) and observation.challenger_unready
    since = (status.challenger_unready_since or observation.now) if running else None
    return status.model_copy(update={"challenger_unready_since": since})


def _with_weights(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    """The status with the weights wanted in its phase; a change of them is unconfirmed until the route holds it."""
    if status.phase not in ROUTED:
        return status
    before = status.weights or Weights()
    desired, mirrored = desired_weights(observation, status), copies(observation, status)
    entered = status.phase != observation.phase and (status.phase in ENDING or observation.phase not in ROUTED)
    if (desired, mirrored) == (before.desired, before.mirrored) and not entered:
        return status
    return status.model_copy(update={"weights": Weights(desired=desired, applied=before.applied, mirrored=mirrored)})
