"""Which ids are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.evidence.sampling import keeps

FRACTIONS = st.floats(0, 1)


@given(st.text(), FRACTIONS, FRACTIONS)
def test_what_a_fraction_keeps_a_larger_one_keeps_too(identity: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert keeps(identity, high) or not keeps(identity, low)
    assert keeps(identity, 1.0)
    assert not keeps(identity, 0.0)


def test_as_many_ids_are_kept_as_the_fraction_says() -> None:
    kept = sum(keeps(f"request-{number}", 0.3) for number in range(20_000))
    assert 5_700 < kept < 6_300  # 30 % and 4.6 standard deviations
