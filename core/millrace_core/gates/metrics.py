"""The metrics by name: how each is computed, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

from millrace_core.gates import classification, probability, regression
from millrace_core.gates.measured import Measured
from millrace_core.gates.predictions import Predictions, not_finite, unusable_labels
from millrace_core.stats.results import Inconclusive


class Metric(NamedTuple):
    """A metric of predictions."""

    compute: Callable[[Predictions], Measured | Inconclusive]
    more_is_better: bool


METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": Metric(classification.accuracy, True),
    "f1": Metric(classification.f1, True),
    "precision": Metric(classification.precision, True),
    "recall": Metric(classification.recall, True),
    "auc": Metric(probability.auc, True),
    "logloss": Metric(probability.logloss, False),
    "brier": Metric(probability.brier, False),
    "ece": Metric(probability.ece, False),
    "rmse": Metric(regression.rmse, False),
    "mae": Metric(regression.mae, False),
    "r2": Metric(regression.r2, True),
}


def measure(name: str, predictions: Predictions, *, min_rows: int = 1) -> Measured | Inconclusive:
    """One metric; Inconclusive wherever the rows do not say it, and never a guess.

    Args:
        name: one of ``METRICS``.
        min_rows: with fewer nothing is said.
    """
    if predictions.rows < max(1, min_rows):
        return too_few(predictions.rows, min_rows)
    outputs = [each for each in (predictions.scores, predictions.predicted) if each is not None]
    unusable = unusable_labels(predictions.labels) or next(filter(None, map(not_finite, outputs)), None)
    if unusable is not None:
        return unusable
    with np.errstate(over="ignore", invalid="ignore"):
        found = METRICS[name].compute(predictions)
    if isinstance(found, Measured) and not math.isfinite(found.value):
        return Inconclusive("NotFinite", f"the {name} of these rows is beyond what a number can be")
    return found


def too_few(rows: int, min_rows: int) -> Inconclusive:
    """That the holdout is too small."""
    return Inconclusive("TooFewRows", f"the holdout has {rows} rows, {min_rows} are the fewest (holdout.minRows)")
