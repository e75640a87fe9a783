"""Adjusted p-values of several tests, in the order of the tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.stats.arguments import Floats, finite_array


def holm(p: Sequence[float]) -> list[float]:
    """For the family-wise error rate: every rejected hypothesis is false with probability 1 − alpha.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian J. of Statistics 6 (1979).
    """
    values, order = _sorted(p)
    adjusted = np.maximum.accumulate(np.minimum(values * np.arange(len(values), 0, -1), 1.0))
    return _unsorted(adjusted, order)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """For the false discovery rate: of the rejected hypotheses a share of alpha is true, on average.

    Source: Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate", J. R. Statist. Soc. B 57 (1995).
    """
    values, order = _sorted(p)
    scaled = values * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return _unsorted(adjusted, order)


def _sorted(p: Sequence[float]) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    values = finite_array(p, "p") if len(p) else np.zeros(0)
    if ((values < 0) | (values > 1)).any():
        raise RejectError(f"probabilities from 0 to 1 are expected, {shown(values.tolist())} came", field="p")
    order = np.argsort(values, kind="stable")
    return values[order], order


def _unsorted(adjusted: Floats, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[float]:
    found = np.empty_like(adjusted)
    found[order] = adjusted
    return [float(each) for each in found]
