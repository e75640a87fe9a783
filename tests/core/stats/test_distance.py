"""Distances of distributions: published values, scipy, and bins that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance as peer

from millrace_core.base.errors import RejectError
from millrace_core.stats.distance import jensen_shannon, psi, wasserstein

QUARTERS, RISING = [25, 25, 25, 25], [10, 20, 30, 40]
COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8).filter(
    lambda bins: sum(a for a, _ in bins) > 0 and sum(b for _, b in bins) > 0
)


def test_the_population_stability_index_has_the_published_values() -> None:
    assert psi(QUARTERS, RISING) == pytest.approx(0.228217, abs=1e-6)
    assert psi([0.5, 0.5], [0.6, 0.4]) == pytest.approx(0.0405465, abs=1e-7)


def test_an_empty_bin_counts_as_a_ten_thousandth() -> None:
    assert psi([1, 0], [1, 1]) == pytest.approx((0.5 - 1) * np.log(0.5) + (0.5 - 1e-4) * np.log(0.5 / 1e-4))


def test_jensen_shannon_has_the_published_value() -> None:
    assert jensen_shannon(QUARTERS, RISING) == pytest.approx(0.200503, abs=1e-6)
    assert jensen_shannon([1, 0], [0, 1]) == pytest.approx(1)


def test_wasserstein_of_counts_is_that_of_the_values_in_them() -> None:
    assert wasserstein([0, 1, 3, 5, 6, 8], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]) == pytest.approx(5)


@given(COUNTS)
def test_distances_are_those_of_scipy(bins: list[tuple[int, int]]) -> None:
    reference, observed = zip(*bins, strict=True)
    places = np.arange(len(bins)) ** 1.5
    # scipy's is the root of a number that rounding may make negative, where both are the same.
    distance = np.nan_to_num(peer.jensenshannon(reference, observed, 2))
    assert jensen_shannon(reference, observed) == pytest.approx(distance, abs=1e-7)
    expected = stats.wasserstein_distance(places, places, reference, observed)
    assert wasserstein(places, reference, observed) == pytest.approx(expected, abs=1e-9)
    assert psi(reference, observed) == pytest.approx(psi(observed, reference))


@pytest.mark.parametrize("observed", [[1], [0, 0], [-1, 2], [float("nan"), 1]])
def test_bins_that_do_not_fit_are_refused(observed: list[float]) -> None:
    for found in (psi, jensen_shannon):
        with pytest.raises(RejectError) as refused:
            found([1, 1], observed)
        assert refused.value.field == "observed"
    with pytest.raises(RejectError) as refused:
        wasserstein([2, 1], [1, 1], [1, 1])
    assert refused.value.field == "positions"
