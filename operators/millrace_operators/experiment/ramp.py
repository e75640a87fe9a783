"""From steps to weights: what the split is at a step, before readiness has its say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from millrace_core.api.experiment import ExperimentSpec, FrozenStep
from millrace_operators.routing.weights import WHOLE, ramp

CANARY_STEPS: Final = (
    FrozenStep(weight=5, hold="10m"),
    FrozenStep(weight=25, hold="10m"),
    FrozenStep(weight=50, hold="10m"),
    FrozenStep(weight=100, hold="0s"),
)


def frozen_steps(spec: ExperimentSpec) -> list[FrozenStep] | None:
    """The ramp as it is frozen at the start; None where the arms' weights hold from the start to the end."""
    if spec.steps:
        return [FrozenStep(weight=step.weight, hold=step.hold) for step in spec.steps]
    return list(CANARY_STEPS) if spec.type == "Canary" else None


def split_at(spec: ExperimentSpec, steps: Sequence[FrozenStep] | None, index: int) -> dict[str, int]:
    """Percent by arm name at the step ``index``; sums to 100.

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
