"""A metric of units, by its kind: sufficient statistics of an arm in, estimates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.stats import lift, proportion
from millrace_core.stats.epochs import Flat, over_epochs
from millrace_core.stats.mean import cuped, mean, ratio
from millrace_core.stats.results import Effect, Estimate, Inconclusive, difference
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
    found = [estimates(kind_, epoch.sums[control], epoch.sums[challenger]) for epoch in epochs]
    pairs = [each for each in found if not isinstance(each, Inconclusive)]
    whole = estimates(kind_, _sum(epochs, control), _sum(epochs, challenger))
    if isinstance(whole, Inconclusive):
        return whole
    if not pairs:
        return next(each for each in found if isinstance(each, Inconclusive))
    judged = [_effect(kind_, *pair) for pair in pairs]
    effects = [each for each in judged if isinstance(each, Effect)]
    still = [pair for pair, each in zip(pairs, judged, strict=True) if isinstance(each, Inconclusive)]
    if not effects:
        return next(each for each in judged if isinstance(each, Inconclusive))
    over = over_epochs(effects, [Flat(t.value - c.value, c.n + t.n) for c, t in still])
    return over if isinstance(over, Inconclusive) else Pair(*whole, over, _lift(pairs, still))


def _lift(
    pairs: Sequence[tuple[Estimate, Estimate]], still: Sequence[tuple[Estimate, Estimate]]
) -> Effect | Inconclusive:
    """Over the same epochs; there is none where the control of one may be 0."""
    lifts = [lift.relative(*pair) for pair in pairs if pair not in still]
    found = [each for each in lifts if isinstance(each, Effect)]
    if len(found) < len(lifts) or any(control.value == 0 for control, _ in still):
        return lift.NEAR_ZERO
    return over_epochs(found, [Flat((t.value - c.value) / abs(c.value), c.n + t.n) for c, t in still])


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
