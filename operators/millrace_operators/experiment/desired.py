"""What an Experiment asks of the route, from its spec and status alone."""

from __future__ import annotations

from collections.abc import Mapping

from millrace_core.api.experiment import ExperimentSpec, ExperimentStatus
from millrace_core.api.names import ARM_HEADER
from millrace_core.base import duration
from millrace_operators.experiment.observed import PROMOTING, ROUTED, SPLITTING
from millrace_operators.routing.state import HeaderRule, Split


def split(name: str, spec: ExperimentSpec, status: ExperimentStatus, ready: Mapping[str, bool]) -> Split | None:
    """The split in terms of deployments; None while the Experiment has no part in the route.

    Args:
        ready: by arm name; header rules of an arm that is not ready lead to the control.
    """
    weights = status.weights.desired if status.weights else None
    if status.phase not in ROUTED or not weights:
        return None
    deployments = {arm.name: arm.deployment for arm in spec.arms}
    control = next(arm.name for arm in spec.arms if arm.control)
    winner = status.decision.arm if status.phase == PROMOTING and status.decision and status.decision.arm else control
    return Split(
        experiment=name,
        champion=deployments[winner],
        weights={deployments[arm]: weight for arm, weight in weights.items()},
        rules=_rules(spec, deployments, control, ready) if status.phase in SPLITTING else (),
        arms=tuple(deployments.values()),
        settle=duration.seconds(spec.routing.settle),
    )


def _rules(
    spec: ExperimentSpec, deployments: Mapping[str, str], control: str, ready: Mapping[str, bool]
) -> tuple[HeaderRule, ...]:
    overrides = [
        (f"override-{index}", item.header, item.value, item.arm) for index, item in enumerate(spec.overrides or ())
    ]
    assigned = [(f"arm-{arm}", ARM_HEADER, arm, arm) for arm in deployments]
    return tuple(
        HeaderRule(name, header, value, deployments[arm if ready[arm] else control])
        for name, header, value, arm in (*overrides, *assigned)
    )
