"""Distances between a reference and what is observed, both as counts over the same frozen bins."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from millrace_core.base.errors import RejectError
from millrace_core.stats.arguments import Floats, finite_array, weights

# The least share of a bin in ``psi``, whose logarithm an empty bin would not have.
_FLOOR: Final = 1e-4


def psi(reference: Any, observed: Any) -> float:
    """The population stability index, Σ (o − r) ln(o / r) over shares of at least 10⁻⁴.

    Source: N. Siddiqi, "Credit Risk Scorecards" (2006); it is Kullback–Leibler in both directions (Jeffreys 1946).
    """
    r, o = (np.maximum(each, _FLOOR) for each in _shares(reference, observed))
    return float(((o - r) * np.log(o / r)).sum())


def jensen_shannon(reference: Any, observed: Any) -> float:
    """The Jensen–Shannon distance to base 2, from 0 (the same) to 1 (no bin in common): the root of the divergence.

    Source: D. M. Endres, J. E. Schindelin, "A new metric for probability distributions", IEEE Trans. Inf. Theory 49
    (2003).
    """
    r, o = _shares(reference, observed)
    middle = (r + o) / 2
    divergence = (_relative_entropy(r, middle) + _relative_entropy(o, middle)) / (2 * np.log(2))
    return float(np.sqrt(max(divergence, 0.0)))


def wasserstein(positions: Any, reference: Any, observed: Any) -> float:
    """The first Wasserstein distance, ∫ |R(x) − O(x)| dx, in the unit of the positions.

    Args:
        positions: of the bins, ascending: the reference's mean in each, since the outer bins have open ends.
        reference, observed: counts per bin.

    Source: S. S. Vallender, "Calculation of the Wasserstein distance between probability distributions on the line"
    (1974).
    """
    places = finite_array(positions, "positions")
    r, o = _shares(reference, observed)
    if len(places) != len(r):
        raise RejectError(f"{len(places)} positions for {len(r)} bins came", field="positions")
    if (np.diff(places) < 0).any():
        raise RejectError("ascending positions are expected", field="positions")
    apart = np.abs(np.cumsum(r) - np.cumsum(o))[:-1]
    return float(apart @ np.diff(places))


def _relative_entropy(shares: Floats, of: Floats) -> float:
    """Σ p ln(p / q), where a share of 0 adds nothing. Without scipy, which not everybody has who reads predictions."""
    there = shares > 0
    return float((shares[there] * np.log(shares[there] / of[there])).sum())


def _shares(reference: Any, observed: Any) -> tuple[Floats, Floats]:
    r, o = weights(reference, "reference"), weights(observed, "observed")
    if len(r) != len(o):
        raise RejectError(f"{len(r)} bins are expected, {len(o)} came", field="observed")
    return r / r.sum(), o / o.sum()
