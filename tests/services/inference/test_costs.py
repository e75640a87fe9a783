"""What runs take is learned by shapes, and what is not known is not short."""

from __future__ import annotations

import numpy as np

from millrace_services.inference.costs import Costs, shapes_of

UNKNOWN = float("inf")


def test_a_longer_run_counts_at_once_and_a_shorter_one_by_half():
    costs = Costs()
    assert costs.expected(((1, 3),)) == UNKNOWN
    for seconds, expected in ((8.0, 8.0), (4.0, 6.0), (10.0, 10.0), (2.0, 6.0)):
        costs.learn(((1, 3),), seconds)
        assert costs.expected(((1, 3),)) == expected
    assert costs.expected(((2, 3),)) == UNKNOWN


def test_the_shortest_run_is_known_beside_what_is_to_expect():
    costs = Costs(most=1)
    assert costs.least(((1, 3),)) == UNKNOWN
    for seconds, least in ((8.0, 8.0), (4.0, 4.0), (10.0, 4.0)):
        costs.learn(((1, 3),), seconds)
        assert costs.least(((1, 3),)) == least
    costs.learn(((2, 3),), 1.0)
    assert (costs.least(((1, 3),)), costs.least(((2, 3),))) == (UNKNOWN, 1.0)
    costs.distrust()
    assert costs.least(((2, 3),)) == UNKNOWN


def test_only_so_many_shapes_are_known():
    costs = Costs(most=2)
    for rows in (1, 2, 2, 3):
        costs.learn(((rows,),), 1.0)
    assert [costs.expected(((rows,),)) for rows in (1, 2, 3)] == [UNKNOWN, 1.0, 1.0]


def test_of_a_model_whose_values_decide_no_cost_is_known():
    costs = Costs()
    costs.learn(((1,),), 1.0)
    costs.distrust()
    costs.learn(((1,),), 1.0)
    assert costs.expected(((1,),)) == UNKNOWN


def test_strings_are_known_by_their_lengths_too():
    short, long = (shapes_of({"s": np.array([text], dtype=object)}) for text in ("ab", "ab" * 1000))
    assert short != long
    assert short == shapes_of({"s": np.array(["xyz"], dtype=object)})
