"""What share of the traffic each arm should have: by the steps, by who is ready, and by how the experiment ends.

Percentages are integers that sum to 100, by largest remainder, on a ramp that never takes a unit back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction

from millrace_core.api.experiment import ExperimentSpec, ExperimentStatus, FrozenStep
from millrace_operators.experiment.observation import PROMOTING, SPLITTING, Observation
from millrace_operators.experiment.types import type_of
from millrace_operators.routing.state import WHOLE


def desired_weights(observation: Observation, status: ExperimentStatus) -> dict[str, int]:
    """Percent by arm name in the phase of ``status``, which is one in which traffic is routed; sums to 100.

    While the control is not ready nothing is moved: there is nowhere to move it to. Nor is anything while nobody can
    say whether an arm's deployment exists.
    """
    arms = [arm.name for arm in observation.spec.arms]
    if status.phase == PROMOTING and status.decision is not None and status.decision.arm is not None:
        return only(status.decision.arm, arms)
    if status.phase not in SPLITTING or type_of(observation.spec.type).mirrors:
        return only(observation.control.name, arms)
    frozen = observation.control.name not in observation.ready or bool(observation.unknown)
    if frozen and status.weights is not None and status.weights.desired:
        return status.weights.desired
    nominal = type_of(observation.spec.type).own_weights(observation.spec, status)
    nominal = nominal or weights_at(observation.spec, status.steps, status.step_index or 0)
    return without_unready(nominal, observation.control.name, observation.ready)


def copies(observation: Observation, status: ExperimentStatus) -> dict[str, int] | None:
    """Percent of the requests that are copied, by arm; None of a type that copies none. An unready arm gets none."""
    kind, before = type_of(observation.spec.type), status.weights.mirrored if status.weights else None
    if not kind.mirrors:
        return None
    if status.phase not in SPLITTING:
        return {}
    if observation.unknown and before is not None:
        return before
    return {arm: percent for arm, percent in kind.copied(observation.spec, status).items() if arm in observation.ready}


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


def apportion(total: int, shares: Mapping[str, int], at_least: Mapping[str, int] | None = None) -> dict[str, int]:
    """Divides ``total`` among the keys of ``shares``, in proportion and in integers.

    From zero it is the method of largest remainders (ties go to the earlier key). ``at_least`` holds what each key
    has already (together at most ``total``): nobody falls below it, which plain largest remainders do not promise when
    the total grows (the Alabama paradox).
    """
    given = {key: (at_least or {}).get(key, 0) for key in shares}
    whole = sum(shares.values())
    if whole == 0:
        return given
    quotas = {key: Fraction(total * share, whole) for key, share in shares.items()}
    for _ in range(total - sum(given.values())):
        neediest = max(given, key=lambda key: quotas[key] - given[key])
        given[neediest] += 1
    return given


def ramp(control: str, shares: Mapping[str, int], totals: Sequence[int]) -> dict[str, int]:
    """The split after the steps ``totals``: the last one's percentage to the challengers, the rest to the control.

    Args:
        control: name of the control.
        shares: each challenger's share among the challengers.
        totals: percentages of all challengers together, step by step, never falling.
    """
    challengers: dict[str, int] = dict.fromkeys(shares, 0)
    for total in totals:
        challengers = apportion(total, shares, challengers)
    return {control: WHOLE - sum(challengers.values()), **challengers}


def only(winner: str, names: Iterable[str]) -> dict[str, int]:
    """All traffic to one."""
    return {name: WHOLE if name == winner else 0 for name in names}


def without_unready(split: Mapping[str, int], control: str, ready: Collection[str]) -> dict[str, int]:
    """The split with the shares of unready challengers given to the control.

    An unready control keeps its share: nothing else may take it.
    """
    lost = sum(weight for name, weight in split.items() if name != control and name not in ready)
    return {
        name: weight + lost if name == control else (weight if name in ready else 0) for name, weight in split.items()
    }
