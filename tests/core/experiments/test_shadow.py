"""Outputs of a shadow beside those of its control: agreement, and distances as scipy has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance as peer

from millrace_core.base.errors import RejectError
from millrace_core.experiments.shadow import compare_output

ROWS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=60)


def test_numbers_agree_within_the_tolerance_absolute_below_one_and_relative_above() -> None:
    found = compare_output("score", [0.5, 0.5, 1000.0, 1000.0], [0.505, 0.52, 1005.0, 1020.0], 0.01)
    assert (found.pairs, found.agreement) == (4, 0.5)
    assert found.mean_difference == pytest.approx((0.005 + 0.02 + 5 + 20) / 4)


@given(ROWS)
def test_the_wasserstein_distance_is_scipys(rows: list[tuple[float, float]]) -> None:
    ours, theirs = ([row[side] for row in rows] for side in (0, 1))
    expected = stats.wasserstein_distance(ours, theirs)
    assert compare_output("score", ours, theirs, 0).wasserstein == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_labels_are_compared_as_they_are_and_have_no_mean() -> None:
    found = compare_output("label", ["a", "a", "b", "b"], ["a", "b", "b", "c"], 0)
    assert found.agreement == 0.5
    assert found.jensen_shannon == pytest.approx(peer.jensenshannon([2, 2, 0], [1, 2, 1], base=2))
    assert (found.wasserstein, found.mean_difference) == (None, None)
    assert compare_output("class", [0, 1], [0, 2], 5).agreement == 0.5, (
        "of whole numbers, which are labels, none is near"
    )
    assert compare_output("flag", [True, False], [True, True], 0).agreement == 0.5


def test_the_same_outputs_agree_and_are_nowhere_apart() -> None:
    values = [0.1, 0.2, 0.2, 0.9, math.nan, math.inf]
    found = compare_output("score", values, list(values), 0)
    assert (found.agreement, found.psi, found.jensen_shannon, found.wasserstein) == (1.0, 0.0, 0.0, 0.0)


def test_bins_are_the_controls_deciles_with_one_for_what_is_no_number() -> None:
    ours = np.arange(1000) / 1000
    moved = ours + 0.1
    found = compare_output("score", ours.tolist(), moved.tolist(), 0)
    # All but the first and the last tenth stay; those are empty, and twice as full.
    assert found.jensen_shannon == pytest.approx(peer.jensenshannon([1] * 10, [0, *[1] * 8, 2], base=2), abs=0.01)
    lost = compare_output("score", ours.tolist(), [*ours[:500].tolist(), *[math.nan] * 500], 0)
    assert (lost.agreement, lost.psi > 1) == (0.5, True)


def test_lists_agree_when_all_of_them_does_and_each_element_counts_in_the_distributions() -> None:
    found = compare_output("p", [[0.2, 0.8], [0.4, 0.6]], [[0.2, 0.8], [0.6, 0.4]], 1e-6)
    assert found.agreement == 0.5
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance([0.2, 0.8, 0.4, 0.6], [0.2, 0.8, 0.6, 0.4]))
    assert compare_output("p", [[0.2, 0.8]], [[0.2]], 1).agreement == 0.0
    assert compare_output("p", [[[0.2], [0.8]]], [[[0.2], [0.8]]], 0).agreement == 1.0


def test_a_shadow_that_says_nothing_agrees_nowhere_and_has_no_distance_in_units() -> None:
    found = compare_output("score", [0.1, 0.2], [None, None], 1)
    assert (found.agreement, found.wasserstein) == (0.0, None)
    assert found.jensen_shannon == pytest.approx(1.0)


@pytest.mark.parametrize(("ours", "theirs", "tolerance"), [([], [], 0.0), ([1.0], [], 0.0), ([1.0], [1.0], math.nan)])
def test_what_cannot_be_compared_is_refused(ours: list[float], theirs: list[float], tolerance: float) -> None:
    with pytest.raises(RejectError):
        compare_output("score", ours, theirs, tolerance)
