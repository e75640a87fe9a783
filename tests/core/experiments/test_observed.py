"""The gateway's sums become epochs: units without an outcome count, and epochs without units do not."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_core.experiments.metric import Epoch, Kind
from millrace_core.experiments.observed import epochs_of
from millrace_core.experiments.sums import ExperimentSums, MetricSums
from millrace_core.stats.sums import Counts, Moments, Pairs

HALF = {"control": 50.0, "v2": 50.0}
FULL = {"control": 0.0, "v2": 100.0}


def found(kind: Kind, of: MetricSums | None, *weights: dict[str, float], first: int = 0, **answer: Any) -> list[Epoch]:
    exposures = {0: {"control": 10, "v2": 4}}
    metrics = {"m": {0: {"v2": of}}} if of else {}
    parts = {"exposures": exposures, "metrics": metrics, **answer}
    sums = ExperimentSums(as_of=datetime(2026, 1, 1, tzinfo=UTC), whole=True, **parts)
    return epochs_of(sums, "m", kind, dict(enumerate(weights or [HALF], first)))


def test_units_without_an_outcome_count_as_zero_in_every_kind() -> None:
    of = MetricSums(n=3, sum=3.0, sum_squares=3.0, sum_other=6.0, sum_other_squares=14.0, sum_products=6.0)
    assert found("proportion", of) == [Epoch({"control": Counts(10), "v2": Counts(4, 3)}, HALF)]
    assert found("mean", of)[0].sums == {"control": Moments(10), "v2": Moments(4, Fraction(3), Fraction(3))}
    ratio = found("ratio", of)[0].sums["v2"]
    assert isinstance(ratio, Pairs)
    assert (ratio.n, ratio.y.sum, ratio.x.sum, ratio.products) == (4, 3, 6, 6)


def test_epochs_without_units_and_those_that_are_not_known_yet_are_left_out() -> None:
    exposures = {0: {"control": 10, "v2": 4}, 2: {"control": 0, "v2": 7}, 3: {"control": 5}}
    epochs = found("mean", None, HALF, FULL, FULL, exposures=exposures)
    assert [epoch.weights for epoch in epochs] == [HALF, FULL]
    assert epochs[1].sums["v2"] == Moments(7)


def test_an_epoch_keeps_its_units_when_older_ones_are_dropped() -> None:
    exposures = {0: {"control": 90, "v2": 9}, 1: {"control": 10, "v2": 4}, 2: {"control": 0, "v2": 7}}
    epochs = found("mean", None, HALF, FULL, first=1, exposures=exposures)
    assert [(epoch.weights, epoch.sums["v2"]) for epoch in epochs] == [(HALF, Moments(4)), (FULL, Moments(7))]


def test_without_any_units_there_is_one_epoch_without_them() -> None:
    assert found("proportion", None, HALF, FULL, exposures={}) == [Epoch({"control": Counts(), "v2": Counts()}, FULL)]


def test_more_outcomes_than_units_are_refused() -> None:
    with pytest.raises(RejectError, match="5 successes of 4 units"):
        found("proportion", MetricSums(n=5, sum=5, sum_squares=5))
