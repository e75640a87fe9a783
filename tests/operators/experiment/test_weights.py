"""Percentages: they sum to 100, follow the shares, and never fall on a ramp."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from millrace_operators.experiment.weights import apportion, only, ramp, without_unready
from millrace_operators.routing.state import WHOLE

shares = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 100), min_size=1, max_size=9)
ready_flags = st.lists(st.booleans(), min_size=10, max_size=10)


def test_thirds_go_to_the_earliest_by_largest_remainder() -> None:
    assert apportion(100, {"a": 1, "b": 1, "c": 1}) == {"a": 34, "b": 33, "c": 33}


def test_the_largest_remainder_gets_the_odd_unit() -> None:
    assert apportion(10, {"a": 50, "b": 26, "c": 24}) == {"a": 5, "b": 3, "c": 2}


@given(st.integers(0, 100), shares)
def test_integers_sum_to_the_total_and_lie_within_one_of_their_quota(total: int, stated: dict[str, int]) -> None:
    found = apportion(total, stated)
    whole = sum(stated.values())
    assert sum(found.values()) == (total if whole else 0)
    assert all(abs(found[name] * whole - total * share) < whole or whole == 0 for name, share in stated.items())


def test_plain_largest_remainders_would_take_a_seat_back_but_a_ramp_does_not() -> None:
    """The Alabama paradox: with 15, 15, 9, 5, 5, 2 of 51 the fourth loses a seat when 25 become 26."""
    stated = dict(zip("abcdef", (15, 15, 9, 5, 5, 2), strict=True))
    before, after = apportion(25, stated), apportion(26, stated)
    assert after["d"] < before["d"] or after["e"] < before["e"]
    kept = apportion(26, stated, before)
    assert all(kept[name] >= before[name] for name in stated)


@given(shares, st.lists(st.integers(0, 100), min_size=1, max_size=12).map(sorted))
def test_no_challenger_falls_on_a_ramp_and_the_sum_is_always_100(stated: dict[str, int], totals: list[int]) -> None:
    steps = [ramp("control!", stated, totals[: count + 1]) for count in range(len(totals))]
    for split in steps:
        assert sum(split.values()) == WHOLE
        assert min(split.values()) >= 0
    for earlier, later in itertools.pairwise(steps):
        assert all(later[name] >= earlier[name] for name in stated)


@given(shares, st.integers(0, 100), ready_flags)
def test_an_unready_challenger_has_weight_0_and_its_share_goes_to_the_control(
    stated: dict[str, int], total: int, flags: list[bool]
) -> None:
    split = ramp("control!", stated, [total])
    ready = {name for name, flag in zip(split, flags, strict=False) if flag}
    found = without_unready(split, "control!", ready)
    assert sum(found.values()) == WHOLE
    assert all(found[name] == (weight if name in ready else 0) for name, weight in split.items() if name != "control!")
    assert found["control!"] >= split["control!"]


def test_all_traffic_to_one() -> None:
    assert only("b", ["a", "b"]) == {"a": 0, "b": 100}
