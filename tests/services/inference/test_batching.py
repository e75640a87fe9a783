"""What may share a run, how many rows it should have, and that everybody gets their own rows back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_services.inference import batching
from millrace_services.inference.batching import (
    TO_LEARN,
    UNKNOWN,
    Batching,
    MixedRowsError,
    best_rows,
    bucket,
    buckets,
    cost_key,
    joined,
    rows_and_kind,
    rows_on_loop,
    split,
    together,
)
from millrace_services.inference.tensors import OutputTensor


class Waiting(NamedTuple):
    rows: int
    key: tuple[object, ...] | None
    number: int = 0


waiting = st.lists(
    st.builds(Waiting, st.integers(1, 9), st.sampled_from([("a",), ("b",), None]), st.integers()), min_size=1
)


@given(waiting, st.integers(1, 20))
def test_a_batch_is_the_first_and_those_of_its_key_that_fit_in_their_order(line, most):
    line = [each._replace(number=number) for number, each in enumerate(line)]
    batch = together(line, lambda head: most)
    assert batch[0] is line[0], "who came first never waits for others"
    assert [each.number for each in batch] == sorted(each.number for each in batch)
    assert {each.key for each in batch} == {line[0].key}
    assert len(batch) == 1 or sum(each.rows for each in batch) <= most
    if line[0].key is None:
        assert len(batch) == 1, "what has no key runs alone"
        return
    left = most - sum(each.rows for each in batch)
    out = [each for each in line if each.key == line[0].key and each not in batch]
    assert all(each.rows > left for each in out), "nobody is left out who would fit"


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_joined_rows_split_again_are_what_each_sent(counts):
    feeds = [
        {"x": np.full((rows, 2), n, np.float32), "s": np.full((rows,), f"text {n}", object)}
        for n, rows in enumerate(counts)
    ]
    run = joined(feeds)
    parts = split([OutputTensor(run["x"]), OutputTensor(run["s"], ["class"])], counts)
    for sent, (x, s) in zip(feeds, parts, strict=True):
        assert np.array_equal(x.values, sent["x"])
        assert s.values.tolist() == sent["s"].tolist()
        assert s.classes == ["class"]
        assert len(parts) == 1 or np.shares_memory(x.values, run["x"]), "views, not copies"


@pytest.mark.parametrize("shape", [(), (4, 2), (6, 2)], ids=["scalar", "fewer", "more"])
def test_a_run_that_gives_other_rows_than_it_was_given_gives_nobody_any(shape):
    with pytest.raises(MixedRowsError, match="5 rows went in"):
        split([OutputTensor(np.zeros((5, 1))), OutputTensor(np.zeros(shape))], [2, 3])


def test_requests_of_a_kind_agree_in_names_types_and_sizes_beside_the_rows():
    def kind(**feeds):
        return rows_and_kind({name: np.zeros(shape, dtype) for name, (shape, dtype) in feeds.items()})[1]

    one = kind(x=((1, 3), "f4"), y=((1,), "i8"))
    assert one == kind(x=((7, 3), "f4"), y=((7,), "i8"))
    for other in (
        kind(x=((1, 4), "f4"), y=((1,), "i8")),
        kind(x=((1, 3), "f8"), y=((1,), "i8")),
        kind(z=((1, 3), "f4"), y=((1,), "i8")),
        kind(x=((1, 3), "f4")),
        kind(x=((1, 3, 1), "f4"), y=((1,), "i8")),
    ):
        assert one != other


def test_strings_of_very_different_lengths_are_of_different_kinds():
    short, long, like = (rows_and_kind({"s": np.array(texts, object)}) for texts in (["ab"], ["ab" * 99], ["cd", "x"]))
    assert short[1] == like[1] != long[1]
    assert (short[0], like[0]) == (1, 2)


@pytest.mark.parametrize("shapes", [[()], [(2, 1), ()], [(2, 1), (3, 1)], [(0, 1)], []])
def test_inputs_without_rows_or_with_different_numbers_of_them_share_no_run(shapes):
    assert rows_and_kind({f"x{n}": np.zeros(shape) for n, shape in enumerate(shapes)})[0] == 0


def test_costs_are_known_by_rows_up_to_a_power_of_two_where_rows_may_be_shared_and_else_by_all_sizes():
    def key(rows, most):
        return cost_key(Batching(most), {"x": np.zeros((rows, 3), np.float32)})[2]

    assert key(5, 64) == key(8, 64) != key(9, 64)
    assert key(5, 1) == ((5, 3),)
    assert cost_key(Batching(64), {"x": np.zeros(())})[2] == ((),)


@given(st.integers(1, 4096))
def test_buckets_are_powers_of_two_and_the_most(most):
    assert bucket(most) // 2 < most <= bucket(most)
    found = list(buckets(most))
    assert found[-1] == most
    assert found[:-1] == [2**n for n in range(len(found) - 1)]


def costs(*seconds: float):
    """Seconds at 1, 2, 4, … rows."""
    return lambda rows: seconds[rows.bit_length() - 1] if rows.bit_length() <= len(seconds) else UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "most", "rows"),
    [
        ((1, 1, 1, 1), 8, 8),  # rows cost nothing
        ((1, 2, 4, 8), 8, 1),  # rows cost all: a longer run has no sense
        ((1, 1.9, 3.8, 7.6), 8, 1),  # nearly
        ((1, 2, 3, 4), 8, 8),  # it pays later
        ((1, 1, 2, 4), 8, 2),
        ((1, 1, 1, 1), 4, 4),
        ((1, 1, 1, 1), 3, 3),  # its bucket is 4
        ((1, 1, 1, 200), 8, 4),  # too long
        ((200, 1, 1, 1), 8, 8),  # nobody can help that one row takes long
        ((1, 1), 8, 4),  # tried: 2 at most
        ((60, 60), 8, 2),  # not tried: 120
        ((), 8, 1),
        ((UNKNOWN, UNKNOWN, 1), 16, 8),  # clients never send fewer than 3
    ],
)
def test_a_run_has_the_fewest_rows_of_those_that_make_a_row_cheap(seconds, most, rows):
    assert best_rows(costs(*seconds), most, 100) == rows


@pytest.mark.parametrize(
    ("seconds", "rows", "most", "found"),
    [
        ((65, 70, 80, 100), 1, 8, 8),
        ((65, 70, 80, 100), 4, 8, 8),
        ((65, 70, 80, 1001), 1, 8, 4),  # the loop is not held longer
        ((5, 6, 7, 8), 1, 8, 0),  # saves less than it costs
        ((65, 130, 260, 520), 1, 1, 0),
        ((65,), 1, 8, TO_LEARN),
        ((65, 70), 1, 8, 2),
    ],
)
def test_requests_share_a_run_on_the_loop_where_it_saves_more_than_it_costs(seconds, rows, most, found):
    cost = costs(*seconds)
    assert rows_on_loop(cost, cost, rows, most, longest=1000, sharing=10) == found


def test_metadata_says_how_many_rows_share_a_run_or_why_none_do():
    assert Batching(64).described() == "up to 64 rows"
    assert Batching(1, "its rows mix").described() == "never: its rows mix"
    assert batching.Batching().rows == 1
