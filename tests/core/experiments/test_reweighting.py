"""A bandit's weights: a whole split above every floor, towards what is better and not towards what had better days."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.experiments.metric import Epoch
from millrace_core.experiments.reweighting import MOST_STEP, Learnt, learn, reweighted, seed
from millrace_core.stats.results import Inconclusive
from millrace_core.stats.sums import Counts, Moments, Pairs
from tests.examples import examples

DRAWS = seed("uid", 0)


def period(**arms: tuple[int, int]) -> Epoch:
    """Units and clicks by arm; they came as the weights say."""
    return Epoch(
        {arm: Counts(n, did) for arm, (n, did) in arms.items()}, {arm: float(n) for arm, (n, _) in arms.items()}
    )


def of(*periods: Epoch, decay: float = 1.0, kind: Any = "proportion", **more: Any) -> Learnt:
    ages = [float(age) for age in range(len(periods) - 1, -1, -1)]
    return learn(kind, periods, ages, decay=decay, draws=DRAWS, **more)


def best(learnt: Learnt) -> dict[str, float]:
    assert not isinstance(learnt.best, Inconclusive), learnt.best
    return dict(learnt.best)


def test_an_arm_that_had_its_traffic_on_bad_days_is_not_taken_for_a_bad_arm() -> None:
    """Both are alike on each day; pooled, v2 would have 6% beside 14% (Simpson's paradox)."""
    good, bad = period(control=(9000, 1350), v2=(1000, 150)), period(control=(1000, 50), v2=(9000, 450))
    found = of(good, bad)
    assert found.values == pytest.approx({"control": 0.1, "v2": 0.1})
    assert best(found)["v2"] == pytest.approx(0.5, abs=0.02)


def test_what_was_learnt_weighs_less_with_every_period() -> None:
    past, now = period(control=(5000, 500), v2=(5000, 600)), period(control=(1000, 120), v2=(1000, 100))
    assert best(of(past, now))["v2"] > 0.9
    assert best(of(past, now, decay=0.05))["v2"] < 0.2


def test_the_same_seed_draws_the_same_and_the_next_reweighting_another() -> None:
    periods = period(control=(1000, 100), v2=(1000, 110))
    again = [learn("proportion", [periods], [0], decay=1, draws=seed(uid, n)).best for uid, n in (("a", 1), ("a", 1))]
    others = [learn("proportion", [periods], [0], decay=1, draws=seed(uid, n)).best for uid, n in (("a", 2), ("b", 1))]
    assert again[0] == again[1]
    assert again[0] not in others


def test_less_may_be_better() -> None:
    assert best(of(period(control=(1000, 100), v2=(1000, 150)), increase=False))["v2"] < 0.01


@pytest.mark.parametrize(
    ("kind", "arms", "reason"),
    [
        ("proportion", {"a": Counts(99, 9), "b": Counts(1000, 9)}, "TooFewUnits"),
        ("proportion", {"a": Counts(), "b": Counts(1000, 9)}, "TooFewUnits"),
        ("proportion", {"a": Counts(), "b": Counts()}, "TooFewUnits"),
        ("mean", {"a": Moments(200), "b": Moments(200, Fraction(9), Fraction(9))}, "NoVariance"),
        ("ratio", {"a": Pairs(Moments(200), Moments(200)), "b": Pairs(Moments(200), Moments(200))}, "NoCommonPeriod"),
    ],
)
def test_what_cannot_be_said_moves_no_weight(kind: Any, arms: dict[str, Any], reason: str) -> None:
    found = learn(kind, [Epoch(arms, {"a": 50.0, "b": 50.0})], [0], decay=1, draws=DRAWS).best
    assert isinstance(found, Inconclusive)
    assert found.reason == reason


def test_a_period_in_which_an_arm_had_nobody_says_nothing_of_the_others() -> None:
    alone = Epoch({"a": Counts(5000, 4000), "b": Counts()}, {"a": 100.0, "b": 0.0})
    both = period(a=(1000, 100), b=(1000, 200))
    assert of(alone, both).values == {"a": 0.1, "b": 0.2}
    assert of(alone, both).units == {"a": 6000, "b": 1000}


def test_means_and_ratios_are_told_apart_by_their_own_spread() -> None:
    low, high = Moments(1000, Fraction(1000), Fraction(2000)), Moments(1000, Fraction(1100), Fraction(2210))
    weights = {"a": 50.0, "b": 50.0}
    means = learn("mean", [Epoch({"a": low, "b": high}, weights)], [0], decay=1, draws=DRAWS)
    assert best(means)["b"] == pytest.approx(0.987, abs=0.01), "0.1 is 2.24 standard errors"
    ones = Moments(1000, Fraction(1000), Fraction(1000))
    pairs = {"a": Pairs(low, ones, Fraction(1000)), "b": Pairs(high, ones, Fraction(1100))}
    assert best(learn("ratio", [Epoch(pairs, weights)], [0], decay=1, draws=DRAWS))["b"] == pytest.approx(
        best(means)["b"], abs=0.001
    )


def test_units_that_do_not_come_as_weighted_are_seen_within_periods_and_few_are_not_tested() -> None:
    even = {"a": 50.0, "b": 50.0}
    off = Epoch({"a": Counts(1200, 1), "b": Counts(1000, 1)}, even)
    found = of(off, period(a=(100, 1), b=(900, 1))).sample_ratio
    assert found is not None
    assert found < 0.001
    assert of(Epoch({"a": Counts(9, 1), "b": Counts(0)}, even)).sample_ratio is None


@st.composite
def splits(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, float], float]:
    """Weights, chances and a floor of two to ten arms; the weights are above the floor already."""
    arms = [f"arm{index}" for index in range(draw(st.integers(2, 10)))]
    least = draw(st.integers(1, 100 // len(arms)))
    cuts = sorted(draw(st.integers(0, 100 - least * len(arms))) for _ in arms[1:])
    ends = [0, *cuts, 100 - least * len(arms)]
    current = {arm: least + b - a for arm, a, b in zip(arms, ends, ends[1:], strict=False)}
    chances = [draw(st.floats(0, 1)) for _ in arms]
    chances = chances if sum(chances) > 0.01 else [1.0] * len(arms)
    floor = min(least / 100 + draw(st.floats(0, 0.0099)), 1 / len(arms))
    return current, dict(zip(arms, chances, strict=True)), floor


@settings(max_examples=examples(2))
@given(splits())
def test_weights_are_whole_percent_of_all_traffic_above_every_floor_and_no_step_is_too_large(
    case: tuple[dict[str, int], dict[str, float], float],
) -> None:
    current, chances, floor = case
    found = reweighted(current, chances, floor)
    assert list(found) == list(current)
    assert sum(found.values()) == 100
    assert all(isinstance(weight, int) for weight in found.values())
    assert min(found.values()) >= int(floor * 100 + 1e-9)
    assert max(abs(found[arm] - current[arm]) for arm in current) <= MOST_STEP


def test_a_sure_winner_gets_all_but_the_floors_in_steps() -> None:
    weights, seen = {"a": 34, "b": 33, "c": 33}, []
    for _ in range(4):
        weights = reweighted(weights, {"a": 0.0, "b": 0.0, "c": 1.0}, 0.05)
        seen.append(tuple(weights.values()))
    assert seen == [(24, 23, 53), (14, 13, 73), (5, 5, 90), (5, 5, 90)]


def test_floors_that_are_more_than_all_traffic_are_refused() -> None:
    with pytest.raises(RejectError) as refused:
        reweighted({"a": 34, "b": 33, "c": 33}, {"a": 1.0, "b": 0.0, "c": 0.0}, 0.4)
    assert refused.value.field == "bandit.floor"
