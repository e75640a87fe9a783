"""What a model says of labelled rows, as metrics take it: classes, scores of the positive class, or values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from millrace_core.stats.results import Inconclusive

Array = NDArray[Any]

_TWO: Final = 2
_MATRIX: Final = 2
_SHOWN: Final = 5
# How far the probabilities of a row may be from 1 together: those of float16 are.
_SUM_TOLERANCE: Final = 1e-2


@dataclass(frozen=True)
class Predictions:
    """The outputs of a model over the holdout's rows.

    Attributes:
        labels: [n], what is true; None stands for a null.
        predicted: [n], the classes that the model says itself; None where it says none.
        scores: [n], one score or value a row, or [n, k], one score a class; None where it says none.
        classes: of the columns of ``scores``, in their order; empty: 0 to k - 1.
        positive: the class that counts as positive; empty: 1, or true.
        threshold: from which score on a row is positive; None: 0.5.
    """

    labels: Array
    predicted: Array | None = None
    scores: Array | None = None
    classes: Sequence[Any] = field(default=())
    positive: str = ""
    threshold: float | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.labels)

    @cached_property
    def truth(self) -> Array:
        """[n], the labels as texts of classes: 1, 1.0 and true are one class."""
        return class_names(self.labels)

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The classes of the labels, sorted."""
        return tuple(sorted({*self.truth.tolist()}))


def class_names(values: Array) -> Array:
    """Classes as texts, in one form whatever type they came in."""
    return np.array([_name(value) for value in values.tolist()], dtype=object)


def _name(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def unusable_labels(labels: Array) -> Inconclusive | None:
    """Why labels are no truth: some are null, NaN or infinite."""
    missing = sum(value is None or value != value for value in labels.tolist())  # noqa: PLR0124 NaN alone is not itself
    if missing:
        return Inconclusive("NullLabels", f"{missing} of {len(labels)} labels are null; leave those rows out")
    endless = sum(isinstance(value, float) and math.isinf(value) for value in labels.tolist())
    if endless:
        return Inconclusive("NotFinite", f"{endless} of {len(labels)} labels are infinite; leave those rows out")
    return None


def not_finite(values: Array) -> Inconclusive | None:
    """Why outputs are no numbers to compute with."""
    if values.dtype.kind != "f":
        return None
    bad = len(values) - int(np.isfinite(values.reshape(len(values), -1)).all(axis=1).sum())
    if bad:
        return Inconclusive("NotFinite", f"the model gives NaN or infinity for {bad} of {len(values)} rows")
    return None


def positive_class(predictions: Predictions) -> str | Inconclusive:
    """The class that counts as positive, of two."""
    known = predictions.known
    if len(known) > _TWO:
        return Inconclusive("MoreClasses", f"the labels have {len(known)} classes, this metric is about two")
    wanted = predictions.positive and _name(predictions.positive)
    if wanted in ("true", "false"):
        wanted = str(int(wanted == "true"))
    if wanted:
        if wanted in known:
            return wanted
        return Inconclusive(
            "NoPositives", f"no label is {wanted}, the class of holdout.positive; they are {_list(known)}"
        )
    if "1" in known:
        return "1"
    return Inconclusive("WhichIsPositive", f"the labels are {_list(known)}: say in holdout.positive which is positive")


def one_class(predictions: Predictions) -> Inconclusive | None:
    """Why labels tell no model from another: they are all the same."""
    if len(predictions.known) < _TWO:
        return Inconclusive("OneClass", f"all {predictions.rows} labels are {_list(predictions.known)}")
    return None


def predicted_classes(predictions: Predictions) -> Array | Inconclusive:
    """[n], the class of each row as a text: the model's own, the one of the highest score, or by the threshold."""
    if predictions.predicted is not None:
        said = class_names(predictions.predicted)
        if not {*said.tolist()} & {*predictions.known}:
            return _strangers(said.tolist(), predictions)
        return said
    scores = predictions.scores
    if scores is None:
        return Inconclusive("NoPredictions", "the model gives neither classes nor scores")
    return _highest(predictions, scores) if scores.ndim == _MATRIX else _by_threshold(predictions, scores)


def _highest(predictions: Predictions, scores: Array) -> Array | Inconclusive:
    classes = columns(predictions)
    if isinstance(classes, Inconclusive):
        return classes
    names: Array = np.array(classes, dtype=object)[scores.argmax(axis=1)]
    return names


def _by_threshold(predictions: Predictions, scores: Array) -> Array | Inconclusive:
    positive = positive_class(predictions)
    if isinstance(positive, Inconclusive):
        return positive
    if predictions.threshold is None and (outside := _outside_unit(scores)) is not None:
        return Inconclusive(
            "NoThreshold", f"a score is {outside:g}, outside of 0 to 1: say in holdout.threshold where positive begins"
        )
    threshold = 0.5 if predictions.threshold is None else predictions.threshold
    negative = next(name for name in (*predictions.known, f"not {positive}") if name != positive)
    return np.where(scores >= threshold, positive, negative).astype(object)


def positive_scores(predictions: Predictions) -> tuple[Array, Array] | Inconclusive:
    """[n] scores of the positive class, and [n] whether the label is that class."""
    if (same := one_class(predictions)) is not None:
        return same
    scores, positive = predictions.scores, positive_class(predictions)
    if scores is None:
        return Inconclusive("NoScores", "the model gives classes only, no scores; export it with its probabilities")
    if isinstance(positive, Inconclusive):
        return positive
    if scores.ndim == _MATRIX:
        classes = columns(predictions)
        if isinstance(classes, Inconclusive):
            return classes
        scores = scores[:, classes.index(positive)]
    return scores, predictions.truth == positive


def probabilities(predictions: Predictions) -> tuple[Array, Array] | Inconclusive:
    """As ``positive_scores``, of scores that are probabilities."""
    found = positive_scores(predictions)
    if not isinstance(found, Inconclusive) and (outside := _outside_unit(found[0])) is not None:
        return Inconclusive("NoProbabilities", f"a score is {outside:g}: this metric takes probabilities, 0 to 1")
    return found


def columns(predictions: Predictions) -> list[str] | Inconclusive:
    """The classes of the columns of the scores; every label is among them."""
    scores = predictions.scores
    width = scores.shape[1] if scores is not None and scores.ndim == _MATRIX else 0
    found = class_names(np.array(predictions.classes or range(width), dtype=object)).tolist()
    return found if {*predictions.known} <= {*found} else _strangers(found, predictions)


def row_probabilities(predictions: Predictions) -> tuple[Array, Array] | Inconclusive:
    """[n, k] probabilities of the classes, and [n] the column of the label, for more than two classes."""
    scores, classes = predictions.scores, columns(predictions)
    if isinstance(classes, Inconclusive):
        return classes
    if scores is None or _outside_unit(scores) is not None or abs(scores.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        return Inconclusive("NoProbabilities", "the scores of a row are no probabilities, which are 1 together")
    places = {name: place for place, name in enumerate(classes)}
    return scores, np.array([places[name] for name in predictions.truth])


def values(predictions: Predictions) -> tuple[Array, Array] | Inconclusive:
    """[n] values that the model gives, and [n] the true ones, as float64."""
    given = predictions.scores if predictions.scores is not None else predictions.predicted
    if given is None or given.ndim != 1 or given.dtype.kind not in "fiu":
        return Inconclusive("NoValues", "the model gives no number per row")
    if not all(isinstance(label, (int, float)) for label in predictions.labels.tolist()):
        return Inconclusive("NoValues", "the label holds no numbers")
    return given.astype(np.float64), np.array(predictions.labels, dtype=np.float64)


def _outside_unit(scores: Array) -> float | None:
    worst = [float(scores.min()), float(scores.max())]
    return next((value for value in worst if not 0 <= value <= 1), None)


def _strangers(said: Sequence[str], predictions: Predictions) -> Inconclusive:
    return Inconclusive(
        "OtherClasses", f"the model's classes are {_list(sorted({*said}))}, the labels are {_list(predictions.known)}"
    )


def _list(found: Sequence[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(name[:40] for name in found[:_SHOWN]) + more
