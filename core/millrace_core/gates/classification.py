"""Metrics of classes: accuracy, precision, recall, F1.

With two classes precision, recall and F1 are those of the positive one; with more they are the unweighted mean over the
classes, a class that was never predicted counting 0. So has scikit-learn them, as ``average="binary"`` and ``"macro"``
(User guide, 3.4.4.9 "Precision, recall and F-measures").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from millrace_core.gates.measured import Measured, ratio, share
from millrace_core.gates.predictions import Predictions, one_class, positive_class, predicted_classes
from millrace_core.stats.results import Inconclusive

Array = NDArray[Any]

_TWO: Final = 2


def accuracy(predictions: Predictions) -> Measured | Inconclusive:
    """The share of rows whose class is predicted rightly."""
    said = _said(predictions)
    if isinstance(said, Inconclusive):
        return said
    return share(int((said == predictions.truth).sum()), predictions.rows, predictions.rows)


def precision(predictions: Predictions) -> Measured | Inconclusive:
    """True positives among what is predicted as positive: TP / (TP + FP)."""
    return _of_classes(predictions, _precision)


def recall(predictions: Predictions) -> Measured | Inconclusive:
    """True positives among what is positive: TP / (TP + FN)."""
    return _of_classes(predictions, lambda said, true: share(int((said & true).sum()), int(true.sum()), len(true)))


def f1(predictions: Predictions) -> Measured | Inconclusive:
    """The harmonic mean of both: 2 TP / (2 TP + FP + FN)."""
    return _of_classes(predictions, lambda said, true: ratio(2.0 * (said & true), said.astype(float) + true))


def _precision(said: Array, true: Array) -> Measured | Inconclusive:
    if not said.any():
        return Inconclusive("NothingPredicted", "the model predicts no row as positive, so precision is 0 through 0")
    return share(int((said & true).sum()), int(said.sum()), len(said))


def _of_classes(
    predictions: Predictions, metric: Callable[[Array, Array], Measured | Inconclusive]
) -> Measured | Inconclusive:
    """The metric of the positive class, or the mean over more than two."""
    said = _said(predictions)
    if isinstance(said, Inconclusive):
        return said
    classes = sorted({*predictions.known, *said.tolist()})
    if len(predictions.known) <= _TWO:
        positive = positive_class(predictions)
        if isinstance(positive, Inconclusive):
            return positive
        return metric(said == positive, predictions.truth == positive)
    return Measured(
        float(np.mean([_of_one(metric, said == name, predictions.truth == name) for name in classes])), predictions.rows
    )


def _of_one(metric: Callable[[Array, Array], Measured | Inconclusive], said: Array, true: Array) -> float:
    if not true.any():  # predicted, and never true
        return 0.0
    found = metric(said, true)
    return 0.0 if isinstance(found, Inconclusive) else found.value


def _said(predictions: Predictions) -> Array | Inconclusive:
    return one_class(predictions) or predicted_classes(predictions)
