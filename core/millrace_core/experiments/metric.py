"""A metric of units, by its kind: sufficient statistics of an arm in, estimates out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.stats import lift, proportion
from millrace_core.stats.epochs import over_epochs
from millrace_core.stats.mean import cuped, mean, ratio
from millrace_core.stats.results import NO_UNITS, Effect, Estimate, Inconclusive, difference
from millrace_core.stats.sums import Counts, Moments, Pairs

Kind = Literal["proportion", "mean", "ratio"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

# Of one arm and epoch: a share's counts, a mean's moments (with a covariate: pairs), a ratio's pairs.
Sums = Counts | Moments | Pairs


@dataclass(frozen=True)
class Epoch:
    """A stretch of constant weights.

    Attributes:
        sums: by arm.
        weights: of traffic, by arm; they need not sum to 1.
    """

    sums: Mapping[str, Sums]
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Pair:
    """Control and one challenger.

    Attributes:
        control: over all epochs together, to be shown.
        treatment: the same.
        effect: treatment minus control, within epochs.
        lift: the same relative to the control; ``Inconclusive`` where the control may be 0.
    """

    control: Estimate
    treatment: Estimate
    effect: Effect
    lift: Effect | Inconclusive = field(default=lift.NEAR_ZERO)


def kind(name: str) -> Kind:
    """The kind of that name.

    Raises:
        RejectError: there is none (field ``kind``).
    """
    for each in KINDS:
        if each == name:
            return each
    raise RejectError(f"one of {', '.join(KINDS)} is expected, {shown(name)} came", field="kind")


def no_sums(kind_: Kind, *, covariate: bool = False) -> Sums:
    """What an arm without units has."""
    if kind_ == "proportion":
        return Counts()
    return Pairs() if kind_ == "ratio" or covariate else Moments()


def units(sums: Sums) -> int:
    """How many there are."""
    return sums.n


def compare(kind_: Kind, epochs: list[Epoch], control: str, challenger: str) -> Pair | Inconclusive:
    """Both arms of a pair, and the effect over the epochs in which both have units that can be compared."""
    effects, lifts = [], []
    for epoch in epochs:
        found = estimates(kind_, epoch.sums[control], epoch.sums[challenger])
        if isinstance(found, Inconclusive):
            continue
        effect = _effect(kind_, *found)
        relative = lift.relative(*found)
        if isinstance(effect, Effect):
            effects.append(effect)
            lifts += [relative] if isinstance(relative, Effect) else []
    whole = estimates(kind_, _sum(epochs, control), _sum(epochs, challenger))
    if isinstance(whole, Inconclusive):
        return whole
    if not effects:
        return NO_UNITS if len(epochs) > 1 else _why(kind_, *whole)
    over = over_epochs(effects)
    if isinstance(over, Inconclusive):
        return over
    return Pair(*whole, over, over_epochs(lifts) if len(lifts) == len(effects) else lift.NEAR_ZERO)


def _why(kind_: Kind, control: Estimate, treatment: Estimate) -> Inconclusive:
    found = _effect(kind_, control, treatment)
    return found if isinstance(found, Inconclusive) else NO_UNITS


def _effect(kind_: Kind, control: Estimate, treatment: Estimate) -> Effect | Inconclusive:
    return proportion.effect(control, treatment) if kind_ == "proportion" else difference(control, treatment)


def estimates(kind_: Kind, control: Sums, treatment: Sums) -> tuple[Estimate, Estimate] | Inconclusive:
    """The metric of both arms; a mean with a covariate is adjusted by it."""
    if kind_ == "mean" and isinstance(control, Pairs) and isinstance(treatment, Pairs):
        adjusted = cuped([control, treatment])
        return adjusted if isinstance(adjusted, Inconclusive) else (adjusted[0], adjusted[1])
    a, b = _estimate(kind_, control), _estimate(kind_, treatment)
    if isinstance(a, Inconclusive):
        return a
    return b if isinstance(b, Inconclusive) else (a, b)


def _estimate(kind_: Kind, sums: Sums) -> Estimate | Inconclusive:
    match kind_, sums:
        case "proportion", Counts():
            return proportion.estimate(sums)
        case "mean", Moments():
            return mean(sums)
        case "ratio", Pairs():
            return ratio(sums)
    raise RejectError(f"{type(sums).__name__} are no sums of a {kind_}", field="kind")


def _sum(epochs: list[Epoch], arm: str) -> Sums:
    total = epochs[0].sums[arm]
    for epoch in epochs[1:]:
        total = total + epoch.sums[arm]  # type: ignore[operator]
    return total
