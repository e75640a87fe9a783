"""Units and arms: a unit keeps its arm while a ramp goes on, and shares are what the weights say."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from millrace_core.experiments.assignment import BUCKETS, Assignment, Slot, bucket, slots
from tests.examples import examples


def assignment(weights: dict[str, int], planned: dict[str, int] | None = None, holdout: int = 0) -> Assignment:
    return Assignment("salt", "control", slots(planned or weights, holdout), weights, holdout)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, int]:
    """Planned weights of one to five challengers, at most 100 together."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=1, max_size=5)))
    return {f"arm{at}": after - before for at, (before, after) in enumerate(zip([0, *cuts], cuts, strict=False))}


@settings(max_examples=examples(0.3))
@given(plans(), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_a_ramp_never_moves_a_treated_unit_back(planned: dict[str, int], holdout: int, a: float, b: float) -> None:
    low, high = sorted((a, b))
    before = assignment({arm: int(weight * low) for arm, weight in planned.items()}, planned, holdout)
    after = assignment({arm: int(weight * high) for arm, weight in planned.items()}, planned, holdout)
    for each in range(BUCKETS):
        was, now = before.at(each), after.at(each)
        assert was.holdout == now.holdout
        assert was.arm in ("control", now.arm)


@settings(max_examples=examples(0.3))
@given(plans(), st.integers(0, 100))
def test_shares_of_buckets_are_the_weights_within_one_bucket_and_the_holdout_is_exact(
    planned: dict[str, int], holdout: int
) -> None:
    made = assignment(planned, planned, holdout)
    found = [made.at(each) for each in range(BUCKETS)]
    assert sum(each.holdout for each in found) == holdout * BUCKETS // 100
    counts = Counter(each.arm for each in found if not each.holdout)
    room = made.held_out_from
    for arm, weight in planned.items():
        assert abs(counts[arm] - weight * room / 100) <= len(planned)
    assert all(each.arm == "control" for each in found if each.holdout)


@settings(max_examples=examples(0.5))
@given(plans(), st.integers(0, 100))
def test_slots_are_all_buckets_that_are_not_held_out_and_none_overlaps(planned: dict[str, int], holdout: int) -> None:
    end = 0
    for slot in slots(planned, holdout).values():
        assert slot.start == end
        end += slot.size
    assert end == BUCKETS - holdout * BUCKETS // 100


def test_a_weight_beyond_its_slot_takes_no_bucket_of_another_arm() -> None:
    made = Assignment("salt", "control", {"a": Slot(0, 5000), "b": Slot(5000, 5000)}, {"a": 80, "b": 20})
    counts = Counter(made.at(each).arm for each in range(BUCKETS))
    assert counts == {"a": 5000, "b": 2000, "control": 3000}


def test_a_bucket_is_a_number_that_others_can_compute() -> None:
    assert [bucket("salt", unit) for unit in ("1", "2", "ü")] == [7444, 6258, 4665]


def test_two_salts_are_independent_and_buckets_are_uniform() -> None:
    units = [f"user-{number}" for number in range(50_000)]
    first = [bucket("one", unit) * 10 // BUCKETS for unit in units]
    second = [bucket("two", unit) * 10 // BUCKETS for unit in units]
    table = [[0] * 10 for _ in range(10)]
    for a, b in zip(first, second, strict=True):
        table[a][b] += 1
    assert stats.chi2_contingency(table).pvalue > 1e-4
    assert stats.chisquare([first.count(each) for each in range(10)]).pvalue > 1e-4
