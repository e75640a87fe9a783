"""What share of the traffic each arm should have: by the steps, by who is ready, and by how the experiment ends."""

from __future__ import annotations

from collections.abc import Sequence

from millrace_core.api.experiment import ExperimentSpec, ExperimentStatus, FrozenStep
from millrace_operators.experiment.observation import PROMOTING, SPLITTING, Observation
from millrace_operators.routing.weights import WHOLE, only, ramp, without_unready


def desired_weights(observation: Observation, status: ExperimentStatus) -> dict[str, int]:
    """Percent by arm name in the phase of ``status``, which is one in which traffic is routed; sums to 100.

    While the control is not ready nothing is moved: there is nowhere to move it to. Nor is anything while nobody can
    say whether an arm's deployment exists.
    """
    arms = [arm.name for arm in observation.spec.arms]
    if status.phase == PROMOTING and status.decision is not None and status.decision.arm is not None:
        return only(status.decision.arm, arms)
    if status.phase not in SPLITTING:
        return only(observation.control.name, arms)
    frozen = not observation.ready(observation.control) or bool(observation.unknown)
    if frozen and status.weights is not None and status.weights.desired:
        return status.weights.desired
    ready = {arm.name: observation.ready(arm) for arm in observation.spec.arms}
    nominal = weights_at(observation.spec, status.steps, status.step_index or 0)
    return without_unready(nominal, observation.control.name, ready)


def weights_at(spec: ExperimentSpec, steps: Sequence[FrozenStep] | None, index: int) -> dict[str, int]:
    """Percent by arm name at the step ``index``, before readiness has its say; sums to 100.

    Without steps each challenger has its own weight. With steps the weights are shares of the step's percentage, equal
    unless each challenger has one.
    """
    control = next(arm.name for arm in spec.arms if arm.control)
    weights = {arm.name: arm.weight for arm in spec.arms if not arm.control}
    given = {name: weight for name, weight in weights.items() if weight is not None}
    if not steps:
        return {control: WHOLE - sum(given.values()), **dict.fromkeys(weights, 0), **given}
    shares = given if given.keys() == weights.keys() and any(given.values()) else dict.fromkeys(weights, 1)
    return ramp(control, shares, [step.weight for step in steps[: index + 1]])
