from __future__ import annotations

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base import retry


@given(st.floats(0, 100))
def test_waits_double_up_to_the_longest_and_are_as_much_as_there_is_patience(patience: float) -> None:
    waits = list(retry.delays(patience))
    assert waits == list(islice((min(0.1 * 2**n, 2.0) for n in range(100)), len(waits)))
    assert sum(waits) >= patience
    assert sum(waits[:-1]) < patience or not waits


def test_however_many_failures_the_wait_is_a_number() -> None:
    assert retry.delay(1, first=0.5) == 0.5
    assert retry.delay(3, first=0.5) == 2.0
    assert retry.delay(10_000, longest=30.0) == 30.0


@given(st.integers(1, 10_000), st.integers())
def test_chance_takes_off_up_to_a_half(failures: int, seed: int) -> None:
    whole = retry.delay(failures, longest=30.0)
    assert whole / 2 <= retry.delay(failures, longest=30.0, random=Random(seed)) <= whole


def test_of_failures_in_a_row_the_first_is_told_and_then_fewer_and_fewer() -> None:
    assert [number for number in range(1, 101) if retry.is_told(number)] == [1, 2, 4, 8, 16, 32, 64]
