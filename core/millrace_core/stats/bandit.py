"""Thompson sampling: weights of arms by the probability that each is the best.

Sources: W. R. Thompson, Biometrika 25 (1933); D. Russo et al., "A Tutorial on Thompson Sampling" (2018), 3 for Beta and
Bernoulli, 6.3 for a past that weighs less and less; for the Gaussian the marginal posterior of a mean with an
unknown variance (A. Gelman et al., "Bayesian Data Analysis", 3rd ed., 3.2), Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from millrace_core.base.errors import RejectError
from millrace_core.stats import arguments
from millrace_core.stats.arguments import Floats
from millrace_core.stats.results import Inconclusive

DRAWS: Final = 10_000
LEAST_UNITS: Final = 100

_EXACT: Final = 1e-9


class Posterior(Protocol):
    """What is believed of an arm's metric."""

    @property
    def units(self) -> int:
        """Units so far, whatever they still weigh."""

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """So many values that the metric may have."""


@dataclass(frozen=True)
class BetaBernoulli:
    """A share, with a uniform prior.

    Attributes:
        units: so far.
        successes, failures: of them, as they weigh; they need not be whole.
    """

    units: int
    successes: float
    failures: float

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """Shares."""
        return random.beta(1 + self.successes, 1 + self.failures, count)


@dataclass(frozen=True)
class Gaussian:
    """A mean, with a flat prior of mean and logarithm of the variance: Student's t.

    Attributes:
        units: so far.
        mean, error: of them, as they weigh.
        freedom: degrees of freedom of the error.
    """

    units: int
    mean: float
    error: float
    freedom: float

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """Means."""
        return self.mean + self.error * random.standard_t(self.freedom, count)


class OverPeriods(NamedTuple):
    """A metric of one arm over several periods.

    Attributes:
        value: the mean of the periods' values, as they weigh.
        n: of units that were sampled evenly, so many would say it as surely.
    """

    value: float
    n: float


def over_periods(values: Sequence[float], units: Sequence[int], shares: Sequence[float]) -> OverPeriods:
    """Σ wₑ vₑ, and Kish's effective number of units, 1 / Σ (wₑ² / nₑ).

    The shares are the same for all arms. So an arm that had most of the traffic on bad days is not taken for a bad arm,
    as it would be if the units of all days were pooled (Simpson's paradox).

    Source: post-stratification, W. G. Cochran, "Sampling Techniques", 3rd ed., 5A.9; L. Kish, "Survey Sampling"
    (1965), 11.7.

    Args:
        values: of the arm, by period.
        units: of the arm, above 0, by period.
        shares: how much a period weighs; they need not sum to 1.
    """
    parts = arguments.weights(shares, "shares")
    parts = parts / parts.sum()
    spread = math.fsum(share * share / n for share, n in zip(parts, units, strict=True))
    return OverPeriods(math.fsum(share * value for share, value in zip(parts, values, strict=True)), 1 / spread)


def probability_best(
    arms: Mapping[str, Posterior],
    seed: int | Sequence[int],
    *,
    increase: bool = True,
    draws: int = DRAWS,
    least: int = LEAST_UNITS,
) -> dict[str, float] | Inconclusive:
    """P(best) by arm, of seeded draws: the same arms and seed give the same answer. Ties are shared.

    Args:
        arms: by name.
        seed: such as the hash of the object's UID, and the number of the period.
        increase: whether more is better.
        draws: of each arm.
        least: units that each arm needs.
    """
    if len(arms) < 2:  # noqa: PLR2004 a comparison
        raise RejectError(f"two arms or more are expected, {len(arms)} came", field="arms")
    for name, arm in arms.items():
        if arm.units < least:
            return Inconclusive(
                "TooFewUnits", f"{name} has {arm.units:,} units; {least:,} are needed before any reweighting"
            )
    random = np.random.default_rng(seed)
    values = np.stack([arm.draw(random, draws) for arm in arms.values()])
    best = values == (values.max(axis=0) if increase else values.min(axis=0))
    shares = (best / best.sum(axis=0)).mean(axis=1)
    return dict(zip(arms, map(float, shares), strict=True))


def weights(best: Mapping[str, float], floor: float) -> dict[str, float]:
    """floor + (1 − K · floor) · P(best) by arm: never below the floor, and 1 together, whatever K is.

    Clipping at the floor and dividing by the sum instead goes below it again (growthbook/growthbook#6145).

    Raises:
        RejectError: K floors are more than 1 (field ``bandit.floor``), or P(best) does not sum to 1.
    """
    if not 0 <= arguments.finite(floor, "bandit.floor") * len(best) <= 1 + _EXACT:
        raise RejectError(
            f"{floor:g} for each of {len(best)} arms is more than all traffic, or less than none",
            hint=f"Give at most {1 / max(len(best), 1):.3g}",
            field="bandit.floor",
        )
    chances = arguments.weights(best.values(), "best")
    if abs(chances.sum() - 1) > _EXACT * len(best):
        raise RejectError(f"probabilities that sum to 1 are expected, {chances.sum():g} came", field="best")
    free = max(1 - len(best) * floor, 0.0)
    return {arm: floor + free * float(chance) for arm, chance in zip(best, chances, strict=True)}


def stepped(current: Mapping[str, float], wanted: Mapping[str, float], most: float) -> dict[str, float]:
    """Weights on the straight way from the current to the wanted ones, so far that none changes by more than ``most``.

    Between two points of the simplex every point is of it, and above every floor that both are above.

    Raises:
        RejectError: the arms differ, or ``most`` is not above 0.
    """
    if current.keys() != wanted.keys():
        raise RejectError(f"weights of {', '.join(current)} are expected, of {', '.join(wanted)} came", field="wanted")
    largest = max(abs(wanted[arm] - current[arm]) for arm in current)
    share = min(1.0, arguments.positive(most, "bandit.step") / largest) if largest else 1.0
    return {arm: (1 - share) * current[arm] + share * wanted[arm] for arm in current}
