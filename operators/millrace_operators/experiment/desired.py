"""What an Experiment asks of the route, from its spec and status alone."""

from __future__ import annotations

from millrace_core.api.experiment import ExperimentStatus
from millrace_core.api.names import ARM_HEADER
from millrace_operators.experiment.observation import ENDING, PROMOTING, ROUTED, SPLITTING, Observation
from millrace_operators.experiment.types import type_of
from millrace_operators.routing.state import HeaderRule, Split


def split_of(observation: Observation, status: ExperimentStatus) -> Split | None:
    """The split in terms of deployments; None while the Experiment has no part in the route.

    Header rules of an arm that is not ready lead to the control, as do those of one that gets copies alone.
    """
    spec = observation.spec
    weights = status.weights.desired if status.weights else None
    if status.phase not in ROUTED or not weights:
        return None
    deployments = {arm.name: arm.deployment for arm in spec.arms}
    control = observation.control.name
    winner = status.decision.arm if status.phase == PROMOTING and status.decision and status.decision.arm else control
    previewed = type_of(spec.type).previewed(spec, status) if status.phase in SPLITTING else None
    mirrored = status.weights.mirrored if status.weights else None
    return Split(
        experiment=observation.name,
        champion=deployments[winner],
        weights={deployments[arm]: weight for arm, weight in weights.items()},
        rules=_rules(observation) if status.phase in SPLITTING else (),
        arms=tuple(deployments.values()),
        settle=observation.settle.total_seconds(),
        final=status.phase in ENDING,
        preview=deployments[previewed] if previewed else "",
        mirrors=None if mirrored is None else {deployments[arm]: percent for arm, percent in mirrored.items()},
        unit_header=_unit_header(observation, status),
    )


def _unit_header(observation: Observation, status: ExperimentStatus) -> str:
    """Where units may have different arms; the gateway gives them from the start on, which the route is ready for."""
    weights, assignment = status.weights, status.assignment
    if status.phase not in SPLITTING or weights is None or assignment is None or weights.mirrored is not None:
        return ""
    several = sum(weight > 0 for weight in (weights.desired or {}).values()) > 1
    return observation.spec.assignment.header if several or assignment.holdout else ""


def _rules(observation: Observation) -> tuple[HeaderRule, ...]:
    spec, control = observation.spec, observation.control
    reached = {control.name} if type_of(spec.type).mirrors else observation.ready
    leads_to = {arm.name: (arm if arm.name in reached else control).deployment for arm in spec.arms}
    overrides = [
        (f"override-{index}", item.header, item.value, item.arm) for index, item in enumerate(spec.overrides or ())
    ]
    assigned = [(f"arm-{arm}", ARM_HEADER, arm, arm) for arm in leads_to]
    return tuple(HeaderRule(name, header, value, leads_to[arm]) for name, header, value, arm in (*overrides, *assigned))
