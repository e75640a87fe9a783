"""What ran when a process was ended, and what is made of it."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace_services.inference.flight import INLINE, LANE, MOST_MEMBERS, FlightRecord, Suspects, key_of


def test_what_a_process_ran_is_there_after_its_end():
    record = FlightRecord()
    pid = os.fork()
    if pid == 0:
        record.set_warm()
        record.begin(LANE, [6])
        record.end(LANE)
        record.begin(LANE, [8, 9])
        record.begin(INLINE, [7])
        os._exit(0)
    os.waitpid(pid, 0)
    assert record.warm
    assert record.take() == [7, 8, 9]
    assert (record.take(), record.warm) == ([], False)


def test_an_input_that_ran_alone_is_refused_and_one_of_two_when_it_is_found_again():
    suspects = Suspects()
    suspects.blame([1])
    suspects.blame([2, 3])
    assert suspects.refused() == {1}
    suspects.blame([3, 4])
    assert suspects.refused() == {1, 3}


def test_an_input_that_ran_alone_when_the_process_was_killed_from_outside_is_refused_when_that_happens_again():
    suspects = Suspects()
    suspects.blame([1], killed=True)
    assert (suspects.refused(), suspects.suspected()) == (frozenset(), {1})
    suspects.blame([1], killed=True)
    assert suspects.refused() == {1}


def test_the_inputs_of_a_shared_run_are_run_alone_until_one_is_found_again():
    suspects = Suspects()
    suspects.blame(range(1, 65))
    assert (suspects.refused(), suspects.suspected()) == (frozenset(), frozenset(range(1, 65)))
    suspects.blame([7])
    assert (suspects.refused(), suspects.suspected()) == ({7}, frozenset(range(1, 65)) - {7})


def test_a_run_may_have_as_many_members_as_there_may_be_rows_and_none_reaches_into_the_other_slot():
    record = FlightRecord()
    record.begin(INLINE, range(1, MOST_MEMBERS + 1))
    record.begin(LANE, range(MOST_MEMBERS + 1, 2 * MOST_MEMBERS + 1))
    assert record.take() == list(range(1, 2 * MOST_MEMBERS + 1))


def test_only_so_many_inputs_are_remembered():
    suspects = Suspects()
    for key in range(1, 10_000):
        suspects.blame([key])
    assert len(suspects.refused()) == 2 * MOST_MEMBERS
    assert 9_999 in suspects.refused()


arrays = st.builds(
    lambda values, kind, split: np.array(values, kind).reshape((2, -1) if split and len(values) % 2 == 0 else -1),
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.sampled_from(["i4", "f4", "O"]),
    st.booleans(),
)


@given(arrays, arrays)
def test_keys_are_equal_where_inputs_are(one, other):
    same = one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    assert (key_of({"x": one}) == key_of({"x": other})) == same
    assert key_of({"x": one}) not in (0, key_of({"y": one}))
