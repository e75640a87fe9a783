"""Metrics beside scikit-learn's, and beside vectors computed by hand; where rows say nothing, nothing is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from millrace_core.gates.measured import Measured, share
from millrace_core.gates.metrics import METRICS, measure
from millrace_core.gates.predictions import Predictions
from millrace_core.gates.probability import midranks
from millrace_core.stats.results import Inconclusive
from tests.examples import examples

RANDOM = np.random.default_rng(7)
TRUE = (RANDOM.random(500) < 0.3).astype(int)
SCORES = np.round(np.clip(0.35 * TRUE + 0.65 * RANDOM.random(500), 0, 1), 2)  # with ties
MANY = RANDOM.integers(0, 4, 600)
CHANCES = RANDOM.dirichlet(np.ones(4), 600)
CHANCES[np.arange(600), MANY] += 0.5
CHANCES /= CHANCES.sum(axis=1, keepdims=True)
VALUES = RANDOM.normal(10, 3, 400)
GIVEN = VALUES + RANDOM.normal(0.5, 1, 400)


def value(name: str, predictions: Predictions) -> float:
    found = measure(name, predictions)
    assert isinstance(found, Measured), found
    return found.value


def why(name: str, predictions: Predictions, **limits: int) -> str:
    found = measure(name, predictions, **limits)
    assert isinstance(found, Inconclusive), found
    return found.reason


BINARY = Predictions(TRUE, scores=SCORES)
SAID = (SCORES >= 0.5).astype(int)
MULTI = Predictions(MANY, scores=CHANCES)
CONTINUOUS = Predictions(VALUES, scores=GIVEN)


@pytest.mark.parametrize(
    ("name", "predictions", "published"),
    [
        ("accuracy", BINARY, lambda: sk.accuracy_score(TRUE, SAID)),
        ("precision", BINARY, lambda: sk.precision_score(TRUE, SAID)),
        ("recall", BINARY, lambda: sk.recall_score(TRUE, SAID)),
        ("f1", BINARY, lambda: sk.f1_score(TRUE, SAID)),
        ("auc", BINARY, lambda: sk.roc_auc_score(TRUE, SCORES)),
        ("logloss", BINARY, lambda: sk.log_loss(TRUE, SCORES)),
        ("brier", BINARY, lambda: sk.brier_score_loss(TRUE, SCORES)),
        ("accuracy", MULTI, lambda: sk.accuracy_score(MANY, CHANCES.argmax(axis=1))),
        ("precision", MULTI, lambda: sk.precision_score(MANY, CHANCES.argmax(axis=1), average="macro")),
        ("recall", MULTI, lambda: sk.recall_score(MANY, CHANCES.argmax(axis=1), average="macro")),
        ("f1", MULTI, lambda: sk.f1_score(MANY, CHANCES.argmax(axis=1), average="macro")),
        ("logloss", MULTI, lambda: sk.log_loss(MANY, CHANCES)),
        ("rmse", CONTINUOUS, lambda: sk.root_mean_squared_error(VALUES, GIVEN)),
        ("mae", CONTINUOUS, lambda: sk.mean_absolute_error(VALUES, GIVEN)),
        ("r2", CONTINUOUS, lambda: sk.r2_score(VALUES, GIVEN)),
    ],
)
def test_a_metric_is_what_scikit_learn_publishes(name: str, predictions: Predictions, published: Any) -> None:
    assert value(name, predictions) == pytest.approx(published(), rel=1e-12)


def test_the_calibration_error_is_the_weighted_distance_of_each_bin() -> None:
    # Bin 0: 0.05 and 0.05, one of two positive; bin 9: 0.95 and 1.0, both positive.
    found = value("ece", Predictions(np.array([0, 1, 1, 1]), scores=np.array([0.05, 0.05, 0.95, 1.0])))
    assert found == pytest.approx(2 / 4 * abs(0.05 - 0.5) + 2 / 4 * abs(0.975 - 1))


def test_the_interval_of_the_area_is_delongs() -> None:
    # By hand: positives 0.6, 0.9 and negatives 0.5, 0.7. The first is above one of two, the second above both.
    found = measure("auc", Predictions(np.array([1, 1, 0, 0]), scores=np.array([0.6, 0.9, 0.5, 0.7])))
    assert isinstance(found, Measured)
    assert found.value == 0.75
    error = math.sqrt(np.var([0.5, 1.0], ddof=1) / 2 + np.var([1.0, 0.5], ddof=1) / 2)
    assert found.low == pytest.approx(0.75 - 1.959964 * error, abs=1e-6)


def test_wilsons_interval_is_the_published_one_and_stays_within_0_and_1() -> None:
    # 8 of 10: R's prop.test(8, 10, correct = FALSE).
    found = share(8, 10, 10)
    assert (found.low, found.high) == (pytest.approx(0.4901625, abs=1e-6), pytest.approx(0.9433178, abs=1e-6))
    assert share(10, 10, 10).high == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=40))
@settings(max_examples=examples(0.5))
def test_the_area_counts_pairs_and_a_tie_by_half(rows: list[tuple[int, int]]) -> None:
    true, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=float)
    found = measure("auc", Predictions(true, scores=scores, positive="1"))
    if len({*true.tolist()}) == 1:
        assert isinstance(found, Inconclusive)
        return
    pairs = [(a > b) + (a == b) / 2 for a in scores[true == 1] for b in scores[true == 0]]
    assert isinstance(found, Measured)
    assert found.value == pytest.approx(np.mean(pairs))


def test_ties_share_the_mean_of_their_ranks() -> None:
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize("labels", [[True, False] * 50, [1, 0] * 50, [1.0, 0.0] * 50, ["1", "0"] * 50])
@pytest.mark.parametrize("said", [[1, 0] * 50, [True, False] * 50, ["1", "0"] * 50])
def test_a_class_is_the_same_whatever_type_it_came_in(labels: list[Any], said: list[Any]) -> None:
    assert value("accuracy", Predictions(np.array(labels, dtype=object), predicted=np.array(said))) == 1.0


def test_the_column_of_the_positive_class_is_found_by_its_name() -> None:
    labels = np.array(["fraud", "fine"] * 50, dtype=object)
    scores = np.array([[0.9, 0.1], [0.2, 0.8]] * 50)
    predictions = Predictions(labels, scores=scores, classes=("fraud", "fine"), positive="fraud")
    assert value("auc", predictions) == 1.0
    assert value("accuracy", predictions) == 1.0


NAN = np.where(np.arange(500) == 3, np.nan, SCORES)
UNSAYABLE: list[tuple[str, Predictions, str]] = [
    ("auc", Predictions(np.ones(200, dtype=int), scores=np.linspace(0, 1, 200)), "OneClass"),
    ("f1", Predictions(np.zeros(200, dtype=int), predicted=np.zeros(200, dtype=int)), "OneClass"),
    ("accuracy", Predictions(np.ones(200, dtype=int), predicted=np.ones(200, dtype=int)), "OneClass"),
    ("auc", Predictions(TRUE, scores=NAN), "NotFinite"),
    ("rmse", Predictions(VALUES, scores=np.where(np.arange(400) == 0, np.inf, GIVEN)), "NotFinite"),
    ("auc", Predictions(np.array([None, *TRUE[1:].tolist()], dtype=object), scores=SCORES), "NullLabels"),
    ("mae", Predictions(np.where(np.arange(400) == 0, np.nan, VALUES), scores=GIVEN), "NullLabels"),
    ("auc", Predictions(TRUE, predicted=SAID), "NoScores"),
    ("auc", MULTI, "MoreClasses"),
    ("brier", Predictions(TRUE, scores=SCORES * 4 - 2), "NoProbabilities"),
    ("logloss", Predictions(MANY, scores=CHANCES * 3), "NoProbabilities"),
    ("accuracy", Predictions(TRUE, scores=SCORES * 4 - 2), "NoThreshold"),
    ("precision", Predictions(TRUE, predicted=np.zeros(500, dtype=int)), "NothingPredicted"),
    (
        "accuracy",
        Predictions(np.array(["a", "b"] * 100, dtype=object), predicted=np.zeros(200, dtype=int)),
        "OtherClasses",
    ),
    (
        "f1",
        Predictions(np.array(["a", "b"] * 100, dtype=object), predicted=np.array(["a", "b"] * 100)),
        "WhichIsPositive",
    ),
    ("f1", Predictions(TRUE, predicted=SAID, positive="fraud"), "NoPositives"),
    ("rmse", MULTI, "NoValues"),
    ("r2", Predictions(np.full(200, 3.0), scores=np.linspace(0, 1, 200)), "NoVariance"),
    ("logloss", Predictions(np.array([0, 1, 2, 7] * 50), scores=CHANCES[:200]), "OtherClasses"),
]


@pytest.mark.parametrize(("name", "predictions", "reason"), UNSAYABLE)
def test_what_rows_do_not_say_is_inconclusive_with_its_reason(name: str, predictions: Predictions, reason: str) -> None:
    assert why(name, predictions) == reason


@pytest.mark.parametrize("name", METRICS)
def test_too_few_rows_say_nothing(name: str) -> None:
    predictions = CONTINUOUS if name in ("rmse", "mae", "r2") else BINARY
    assert why(name, predictions, min_rows=predictions.rows + 1) == "TooFewRows"
    assert isinstance(measure(name, predictions, min_rows=predictions.rows), Measured)
    assert why(name, Predictions(np.array([]), scores=np.array([]))) == "TooFewRows"


def test_a_certain_mistake_has_a_finite_loss_by_the_type_of_the_scores() -> None:
    labels = np.array([1, 0] * 50)
    found = value("logloss", Predictions(labels, scores=np.array([0, 0] * 50, dtype=np.float32)))
    assert found == pytest.approx(sk.log_loss(labels, np.array([0, 0] * 50, dtype=np.float32)))
