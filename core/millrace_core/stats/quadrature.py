"""Gauss–Legendre quadrature, whose points are computed once."""

from __future__ import annotations

from functools import cache

import numpy as np

from millrace_core.stats.arguments import Floats


def integral_points(low: float, high: float, count: int) -> tuple[Floats, Floats]:
    """Points between two ends, and the weights by which values there sum up to their integral."""
    nodes, node_weights = _unit(count)
    half = (high - low) / 2
    return low + (nodes + 1) * half, node_weights * half


@cache
def _unit(count: int) -> tuple[Floats, Floats]:
    nodes, node_weights = np.polynomial.legendre.leggauss(count)
    return nodes, node_weights
