"""Thompson sampling: weights of arms by the probability that each is the best.

Sources: W. R. Thompson, Biometrika 25 (1933); D. Russo et al., "A Tutorial on Thompson Sampling" (2018), 3 for Beta and
Bernoulli, 6.3 for decay; for the Gaussian the marginal posterior of a mean with an
unknown variance (A. Gelman et al., "Bayesian Data Analysis", 3rd ed., 3.2), Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from millrace_core.base.errors import RejectError
from millrace_core.stats import arguments
from millrace_core.stats.arguments import Floats
from millrace_core.stats.results import Inconclusive
from millrace_core.stats.sums import Counts, Moments

DRAWS: Final = 10_000
LEAST_UNITS: Final = 100

_EXACT: Final = 1e-9


class Posterior(Protocol):
    """What is believed of an arm's metric."""

    @property
    def units(self) -> int:
        """Units so far, whatever they still weigh."""

    def decay(self, factor: float) -> None:
        """Lets all that came so far weigh less, once per period."""

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """So many values that the metric may have."""


class BetaBernoulli:
    """A share, with a uniform prior."""

    def __init__(self) -> None:
        self.units = 0
        self._successes = 0.0
        self._failures = 0.0

    def update(self, counts: Counts) -> None:
        """Adds the units of a period."""
        self.units += counts.n
        self._successes += counts.successes
        self._failures += counts.n - counts.successes

    def get(self) -> tuple[float, float]:
        """Both parameters of the Beta distribution."""
        return 1 + self._successes, 1 + self._failures

    def decay(self, factor: float) -> None:
        """Multiplies what came so far; 1 keeps it whole."""
        factor = _decay(factor)
        self._successes, self._failures = self._successes * factor, self._failures * factor

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """Shares."""
        return random.beta(*self.get(), count)


class Gaussian:
    """A mean, with a flat prior of mean and logarithm of the variance."""

    def __init__(self) -> None:
        self.units = 0
        # In units of what weighs whole.
        self._n = self._mean = self._squares = 0.0

    def update(self, moments: Moments) -> None:
        """Adds the units of a period."""
        if moments.n == 0:
            return
        mean, n = float(moments.mean), self._n + moments.n
        spread = float(moments.variance * (moments.n - 1)) if moments.n > 1 else 0.0
        away = mean - self._mean
        # T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances".
        self._squares += spread + away * away * self._n * moments.n / n
        self._mean += away * moments.n / n
        self._n = n
        self.units += moments.n

    def get(self) -> tuple[float, float, float]:
        """Mean, standard error and degrees of freedom of Student's t; an infinite error below two units."""
        if self._n <= 1:
            return self._mean, math.inf, 1.0
        return self._mean, math.sqrt(self._squares / (self._n - 1) / self._n), self._n - 1

    def decay(self, factor: float) -> None:
        """Multiplies what came so far; 1 keeps it whole."""
        factor = _decay(factor)
        self._n, self._squares = self._n * factor, self._squares * factor

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """Means."""
        mean, error, freedom = self.get()
        return mean + error * random.standard_t(freedom, count)


def probability_best(
    arms: Mapping[str, Posterior], seed: int | Sequence[int], *, increase: bool = True, draws: int = DRAWS
) -> dict[str, float] | Inconclusive:
    """P(best) by arm, of seeded draws: the same arms and seed give the same answer. Ties are shared.

    Args:
        arms: by name.
        seed: such as the hash of the object's UID, and the number of the period.
        increase: whether more is better.
        draws: of each arm.
    """
    if len(arms) < 2:  # noqa: PLR2004 a comparison
        raise RejectError(f"two arms or more are expected, {len(arms)} came", field="arms")
    for name, arm in arms.items():
        if arm.units < LEAST_UNITS:
            return Inconclusive(
                "TooFewUnits", f"the arm {name} has {arm.units} units; a bandit needs {LEAST_UNITS} each"
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


def _decay(factor: float) -> float:
    if not 0 < arguments.finite(factor, "bandit.decay") <= 1:
        raise RejectError(f"a factor above 0 and up to 1 is expected, {factor:g} came", field="bandit.decay")
    return factor
