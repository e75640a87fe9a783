"""Bandits: weights that are always a split of all traffic, seeded draws, and arms that are told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.stats import bandit
from millrace_core.stats.bandit import BetaBernoulli, Gaussian, over_periods
from millrace_core.stats.proportion import probability_better
from millrace_core.stats.results import Inconclusive
from millrace_core.stats.sums import Counts
from tests.examples import examples


def beta(n: int, successes: int) -> BetaBernoulli:
    return BetaBernoulli(n, successes, n - successes)


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
    assert "b has 99 units" in found.message


def test_what_is_believed_of_a_mean_is_students_t() -> None:
    drawn = Gaussian(500, 3.0, 0.1, 499).draw(np.random.default_rng(1), 20_000)
    assert (drawn.mean(), drawn.std()) == pytest.approx((3.0, 0.1), rel=0.03)


def test_periods_weigh_alike_in_every_arm_and_an_uneven_sample_says_less() -> None:
    assert over_periods([0.1, 0.3], [50, 50], [1, 1]) == pytest.approx((0.2, 100))
    assert over_periods([0.1, 0.3], [90, 10], [1, 1]) == pytest.approx((0.2, 36)), "not 0.12 of 100"
    assert over_periods([0.1, 0.3], [50, 50], [0, 1]) == pytest.approx((0.3, 50)), "forgotten"


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
