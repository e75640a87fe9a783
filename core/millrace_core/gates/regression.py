"""Metrics of values: root mean squared error, mean absolute error, coefficient of determination."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from millrace_core.gates.measured import Measured, mean
from millrace_core.gates.predictions import Predictions, values
from millrace_core.stats.results import Inconclusive


def rmse(predictions: Predictions) -> Measured | Inconclusive:
    """The root of the mean squared error, in the label's unit; the interval is that of the mean, rooted."""
    found = values(predictions)
    if isinstance(found, Inconclusive):
        return found
    squared = mean((found[0] - found[1]) ** 2)
    return replace(
        squared,
        value=math.sqrt(squared.value),
        low=None if squared.low is None else math.sqrt(max(0.0, squared.low)),
        high=None if squared.high is None else math.sqrt(squared.high),
    )


def mae(predictions: Predictions) -> Measured | Inconclusive:
    """The mean absolute error, in the label's unit."""
    found = values(predictions)
    return found if isinstance(found, Inconclusive) else mean(np.abs(found[0] - found[1]))


def r2(predictions: Predictions) -> Measured | Inconclusive:
    """1 − Σ(y − f)² / Σ(y − ȳ)²: 1 is perfect, 0 as good as the mean of the labels, below 0 worse than that."""
    found = values(predictions)
    if isinstance(found, Inconclusive):
        return found
    given, true = found
    spread = float(((true - true.mean()) ** 2).sum())
    if spread == 0:
        return Inconclusive("NoVariance", f"all {len(true)} labels are {true[0]:g}")
    return Measured(1 - float(((true - given) ** 2).sum()) / spread, len(true))
