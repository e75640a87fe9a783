"""Metrics of scores and probabilities: the area under the ROC curve, log loss, Brier score, calibration error."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from millrace_core.gates.measured import Measured, around, mean
from millrace_core.gates.predictions import (
    Predictions,
    one_class,
    positive_scores,
    probabilities,
    row_probabilities,
)
from millrace_core.stats.results import Inconclusive

Array = NDArray[Any]

_MATRIX: Final = 2
_TWO: Final = 2
_BINS: Final = 10


def auc(predictions: Predictions) -> Measured | Inconclusive:
    """How often a positive row scores higher than a negative one, a tie counting half.

    Source: E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44 (1988), for the variance as well.
    """
    found = positive_scores(predictions)
    if isinstance(found, Inconclusive):
        return found
    scores, true = found
    positives, negatives = scores[true], scores[~true]
    ranks = midranks(scores)
    above = (ranks[true] - midranks(positives)) / len(negatives)
    below = 1 - (ranks[~true] - midranks(negatives)) / len(positives)
    value = float(above.mean())
    if min(len(positives), len(negatives)) < _TWO:
        return Measured(value, len(scores))
    variance = above.var(ddof=1) / len(positives) + below.var(ddof=1) / len(negatives)
    return around(value, math.sqrt(float(variance)), len(scores), least=0.0, most=1.0)


def midranks(values: Array) -> Array:
    """[n], the ranks from 1 on; what ties gets the mean of its ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Array = (last - (counts - 1) / 2)[places]
    return middle


def logloss(predictions: Predictions) -> Measured | Inconclusive:
    """The mean of −ln of the probability that the model gave to what was true.

    A probability of 0 counts as the smallest step of its type above 0, as scikit-learn's ``log_loss`` has it.
    """
    if (same := one_class(predictions)) is not None:
        return same
    scores = predictions.scores
    if scores is not None and scores.ndim == _MATRIX:
        found = row_probabilities(predictions)
        if isinstance(found, Inconclusive):
            return found
        chances, places = found
        given = chances[np.arange(len(places)), places]
    else:
        of_two = probabilities(predictions)
        if isinstance(of_two, Inconclusive):
            return of_two
        chances, true = of_two
        given = np.where(true, chances, 1 - chances)
    least = np.finfo(given.dtype).eps
    return mean(-np.log(np.clip(given.astype(np.float64), least, 1 - least)))


def brier(predictions: Predictions) -> Measured | Inconclusive:
    """The mean squared distance of the positive class's probability from 1 or 0.

    Source: G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review 78 (1950).
    """
    found = probabilities(predictions)
    if isinstance(found, Inconclusive):
        return found
    chances, true = found
    return mean((chances.astype(np.float64) - true) ** 2)


def ece(predictions: Predictions) -> Measured | Inconclusive:
    """Expected calibration error: how far the mean probability of the positive class is from its share, bin by bin.

    Ten bins of one width, each weighted with its rows. Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining
    Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    found = probabilities(predictions)
    if isinstance(found, Inconclusive):
        return found
    chances, true = found[0].astype(np.float64), found[1].astype(np.float64)
    bins = np.minimum((chances * _BINS).astype(int), _BINS - 1)
    apart = np.bincount(bins, chances - true, _BINS)
    return Measured(float(np.abs(apart).sum() / len(true)), len(true))
