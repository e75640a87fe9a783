"""Sample ratio mismatch: whether units came to the arms as the weights say."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy import special

from millrace_core.base.errors import RejectError
from millrace_core.stats import arguments
from millrace_core.stats.results import NO_UNITS, Inconclusive


class SampleRatio:
    """Pearson's χ² of the units per arm, summed over epochs: χ² and degrees of freedom both add up.

    Arms of weight 0 are left out; so are their units, which overrides and late requests bring.

    Source: A. Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019.
    """

    def __init__(self) -> None:
        self._statistic = 0.0
        self._freedom = 0

    def update(self, units: Mapping[str, int], weights: Mapping[str, float]) -> None:
        """Adds an epoch: units and weight by arm; an arm without units has 0.

        Raises:
            RejectError: a count or a weight is none, no weight is above 0, or units came to an arm that has no weight.
        """
        shares = arguments.weights(weights.values(), "weights")
        unknown = sorted(units.keys() - weights.keys())
        if unknown:
            raise RejectError(f"the arm {unknown[0]!r} has units and no weight", field=f"weights.{unknown[0]}")
        counted = {arm: arguments.count(units.get(arm, 0), f"units.{arm}") for arm in weights}
        expected = {arm: float(share) for arm, share in zip(weights, shares, strict=True) if share > 0}
        n, total = sum(counted[arm] for arm in expected), math.fsum(expected.values())
        if n == 0 or len(expected) == 1:
            return
        for arm, share in expected.items():
            mean = n * share / total
            self._statistic += (counted[arm] - mean) ** 2 / mean
        self._freedom += len(expected) - 1

    def get(self) -> float | Inconclusive:
        """p: how often chance alone makes a split that is this far from the weights, or farther."""
        return float(special.chdtrc(self._freedom, self._statistic)) if self._freedom else NO_UNITS
