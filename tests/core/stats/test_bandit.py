"""Bandits: weights that are always a split of all traffic, seeded draws, and arms that are told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.stats import bandit
from millrace_core.stats.bandit import BetaBernoulli, Gaussian
from millrace_core.stats.proportion import probability_better
from millrace_core.stats.results import Inconclusive
from millrace_core.stats.sums import Counts, RunningMoments
from tests.examples import examples


def beta(n: int, successes: int) -> BetaBernoulli:
    arm = BetaBernoulli()
    arm.update(Counts(n, successes))
    return arm


def gaussian(values: object) -> Gaussian:
    running = RunningMoments()
    running.update(values)
    arm = Gaussian()
    arm.update(running.get())
    return arm


def test_the_chance_of_the_best_of_two_is_the_exact_one() -> None:
    found = bandit.probability_best({"a": beta(1000, 120), "b": beta(1000, 145)}, 1)
    assert not isinstance(found, Inconclusive)
    assert found["b"] == pytest.approx(probability_better(Counts(1000, 120), Counts(1000, 145)), abs=0.01)
    assert sum(found.values()) == pytest.approx(1)


def test_the_same_seed_draws_the_same_and_less_may_be_better() -> None:
    arms = {"a": beta(1000, 120), "b": beta(1000, 145)}
    first, second = (bandit.probability_best(arms, (7, 3)) for _ in range(2))
    assert first == second != bandit.probability_best(arms, (7, 4))
    falling = bandit.probability_best(arms, (7, 3), increase=False)
    assert not isinstance(falling, Inconclusive)
    assert falling["a"] > 0.9


def test_an_arm_with_few_units_is_waited_for() -> None:
    found = bandit.probability_best({"a": beta(1000, 1), "b": beta(99, 1)}, 1)
    assert isinstance(found, Inconclusive)
    assert "the arm b has 99 units" in found.message


def test_the_posterior_of_a_mean_is_that_of_all_periods_together() -> None:
    values = np.random.default_rng(9).normal(3, 2, 500)
    parts = gaussian(values[:100])
    running = RunningMoments()
    running.update(values[100:])
    parts.update(running.get())
    assert parts.get() == pytest.approx(gaussian(values).get())
    mean, error, freedom = parts.get()
    assert (mean, error, freedom) == pytest.approx((values.mean(), values.std(ddof=1) / math.sqrt(500), 499))
    drawn = parts.draw(np.random.default_rng(1), 20_000)
    assert (drawn.mean(), drawn.std()) == pytest.approx((mean, error), rel=0.03)


def test_decay_forgets_the_weight_of_the_past_and_not_what_it_said() -> None:
    share, mean = beta(1000, 200), gaussian(np.arange(100.0))
    before = mean.get()
    share.decay(0.5)
    mean.decay(0.5)
    assert share.get() == (101, 401)
    assert mean.get()[0] == before[0]
    assert mean.get()[1] == pytest.approx(before[1] * math.sqrt(2), rel=0.02)
    assert share.units == 1000
    with pytest.raises(RejectError) as refused:
        share.decay(1.5)
    assert refused.value.field == "bandit.decay"


SIMPLEX = (
    st.lists(st.floats(0, 1), min_size=2, max_size=10)
    .filter(lambda each: sum(each) > 0.1)
    .map(lambda each: {f"arm{index}": share / math.fsum(each) for index, share in enumerate(each)})
)


@settings(max_examples=examples(2))
@given(SIMPLEX, st.floats(0, 1), st.floats(0.001, 1), st.data())
def test_weights_are_a_split_of_all_traffic_that_respects_the_floor_and_the_step(
    best: dict[str, float], part: float, most: float, data: st.DataObject
) -> None:
    # growthbook/growthbook#6145: floors of many arms left the simplex.
    floor = part / len(best)
    wanted = bandit.weights(best, floor)
    current = bandit.weights(dict(zip(best, data.draw(st.permutations(list(best.values()))), strict=True)), floor)
    stepped = bandit.stepped(current, wanted, most)
    for weights in (wanted, stepped):
        assert math.fsum(weights.values()) == pytest.approx(1)
        assert min(weights.values()) >= floor - 1e-12
    assert max(abs(stepped[arm] - current[arm]) for arm in best) <= most + 1e-12
    if most == 1:
        assert stepped == pytest.approx(wanted)


def test_floors_that_are_more_than_all_traffic_are_refused_with_what_would_do() -> None:
    with pytest.raises(RejectError, match=r"Give at most 0\.333") as refused:
        bandit.weights({"a": 0.5, "b": 0.3, "c": 0.2}, 0.34)
    assert refused.value.field == "bandit.floor"
    with pytest.raises(RejectError):
        bandit.weights({"a": 0.5, "b": 0.6}, 0.1)
    with pytest.raises(RejectError):
        bandit.stepped({"a": 1.0}, {"b": 1.0}, 0.1)
