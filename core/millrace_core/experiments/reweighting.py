"""A bandit's next weights: what units say of which arm is best, and how far the weights go towards it.

A period is the epoch between two reweightings. An arm's metric is the mean over periods, each weighted alike in all
arms, since weights that follow the metric would else make a bad day look like a bad arm. Nothing that is missing or
cannot be computed moves a weight.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.experiments.metric import Epoch, Kind, Sums, units
from millrace_core.stats import bandit
from millrace_core.stats.bandit import BetaBernoulli, Gaussian, OverPeriods, Posterior
from millrace_core.stats.mean import mean, ratio
from millrace_core.stats.results import NO_VARIANCE, Inconclusive
from millrace_core.stats.sample_ratio import SampleRatio
from millrace_core.stats.sums import Counts, Moments, Pairs

WHOLE: Final = 100
# Percent of the traffic by which no arm's weight changes more at once.
MOST_STEP: Final = 20
# Units that an arm has to expect in a period for its split to be tested: below them χ² does not hold (Cochran's rule).
_EXPECTED: Final = 5
_EXACT: Final = 9


@dataclass(frozen=True)
class Learnt:
    """What units say so far.

    Attributes:
        units: by arm, of all periods.
        best: the probability by arm that it is the best one, which sum to 1.
        values: the metric by arm, over the periods in which all arms have units; empty where there is none.
        sample_ratio: p of the split of units beside the weights; None before there are enough.
    """

    units: Mapping[str, int]
    best: Mapping[str, float] | Inconclusive
    values: Mapping[str, float] = field(default_factory=dict)
    sample_ratio: float | None = None


def seed(uid: str, number: int) -> tuple[int, int]:
    """Of the draws before the reweighting of that number: an operator that begins again draws the same."""
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=8).digest(), "big"), number


def learn(
    kind: Kind,
    periods: Sequence[Epoch],
    ages: Sequence[float],
    *,
    decay: float,
    draws: tuple[int, int],
    increase: bool = True,
    least: int = bandit.LEAST_UNITS,
) -> Learnt:
    """What the units of all periods say.

    Args:
        kind: of the metric.
        periods: at least one, with the same arms.
        ages: of each period, counted in periods.
        decay: how much of its weight a period keeps in each later one.
        draws: their ``seed``.
        increase: whether more is better.
        least: units that each arm needs in the periods that count.
    """
    arms = list(periods[0].sums)
    counted = {arm: sum(units(each.sums[arm]) for each in periods) for arm in arms}
    split = _sample_ratio(periods)
    compared = [
        (each, values, age)
        for each, age in zip(periods, ages, strict=True)
        if (values := _values(kind, each)) is not None
    ]
    if not compared:
        return Learnt(counted, _nothing(counted, least), {}, split)
    youngest = min(age for _, _, age in compared)
    shares = [sum(map(units, each.sums.values())) * decay ** (age - youngest) for each, _, age in compared]
    posteriors: dict[str, Posterior] = {}
    means: dict[str, float] = {}
    for arm in arms:
        sums = [each.sums[arm] for each, _, _ in compared]
        over = bandit.over_periods([values[arm] for _, values, _ in compared], list(map(units, sums)), shares)
        found = _posterior(sums, over)
        if isinstance(found, Inconclusive):
            return Learnt(counted, found, {}, split)
        posteriors[arm], means[arm] = found, over.value
    best = bandit.probability_best(posteriors, draws, increase=increase, least=least)
    return Learnt(counted, best, means, split)


def reweighted(current: Mapping[str, int], best: Mapping[str, float], floor: float) -> dict[str, int]:
    """The next weights, in whole percent; they sum to 100.

    No weight changes by more than ``MOST_STEP``, and none goes below the floor, which counts in whole percent, rounded
    down.

    Args:
        current: in whole percent, by arm.
        best: the probability by arm that it is the best one.
        floor: the least share of an arm, 0 to 1.

    Raises:
        RejectError: the floors are more than all traffic (field ``bandit.floor``), or the arms differ.
    """
    total = math.fsum(best.values())
    least = math.floor(round(floor * WHOLE, _EXACT)) / WHOLE
    wanted = bandit.weights({arm: chance / total for arm, chance in best.items()}, least)
    shares = {arm: percent / WHOLE for arm, percent in current.items()}
    return _whole(bandit.stepped(shares, wanted, MOST_STEP / WHOLE))


def _whole(shares: Mapping[str, float]) -> dict[str, int]:
    """In whole percent, by largest remainder; ties go to the earlier arm."""
    quotas = {arm: round(share * WHOLE, _EXACT) for arm, share in shares.items()}
    found = {arm: math.floor(quota) for arm, quota in quotas.items()}
    for arm in sorted(quotas, key=lambda arm: found[arm] - quotas[arm])[: WHOLE - sum(found.values())]:
        found[arm] += 1
    return found


def _sample_ratio(periods: Sequence[Epoch]) -> float | None:
    ratio_ = SampleRatio()
    for each in periods:
        weighted = [weight for weight in each.weights.values() if weight > 0]
        n = sum(units(each.sums[arm]) for arm, weight in each.weights.items() if weight > 0)
        if weighted and n * min(weighted) / math.fsum(weighted) >= _EXPECTED:
            ratio_.update({arm: units(sums) for arm, sums in each.sums.items()}, each.weights)
    p = ratio_.get()
    return None if isinstance(p, Inconclusive) else p


def _nothing(counted: Mapping[str, int], least: int) -> Inconclusive:
    few = min(counted, key=lambda arm: counted[arm])
    if counted[few] < least:
        return Inconclusive(
            "TooFewUnits", f"{few} has {counted[few]:,} units; {least:,} are needed before any reweighting"
        )
    return Inconclusive("NoCommonPeriod", "there is no period in which every arm has a value of the metric")


def _values(kind: Kind, period: Epoch) -> dict[str, float] | None:
    """The metric by arm; None where an arm has none, so that the period tells nothing of one beside the other."""
    found = {arm: _value(kind, sums) for arm, sums in period.sums.items()}
    there = {arm: value for arm, value in found.items() if value is not None}
    return there if len(there) == len(found) else None


def _value(kind: Kind, sums: Sums) -> float | None:
    if units(sums) == 0:
        return None
    match kind, sums:
        case "proportion", Counts():
            return sums.successes / sums.n
        case "mean", Moments():
            return float(sums.mean)
        case "ratio", Pairs():
            return _share(sums)
    raise RejectError(f"{type(sums).__name__} are no sums of a {kind}", field="kind")


def _share(pairs: Pairs) -> float | None:
    try:
        return float(pairs.y.sum / pairs.x.sum)
    except (ZeroDivisionError, OverflowError):
        return None


def _posterior(sums: Sequence[Sums], over: OverPeriods) -> Posterior | Inconclusive:
    """The variance of a unit is that of all its periods together: of a short one alone it would be chance."""
    total = sums[0]
    for each in sums[1:]:
        total = total + each  # type: ignore[operator]
    if isinstance(total, Counts):
        return BetaBernoulli(total.n, over.value * over.n, (1 - over.value) * over.n)
    estimate = mean(total) if isinstance(total, Moments) else ratio(total)
    if isinstance(estimate, Inconclusive):
        return estimate
    if not estimate.variance > 0:
        return NO_VARIANCE
    return Gaussian(total.n, over.value, math.sqrt(estimate.variance / over.n), max(over.n - 1, 1.0))
