"""What every run of a target needs, done once: the targets, and the constants that Hypothesis finds in their sources."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import mutations, targets

assert mutations
assert targets


@settings(max_examples=100, database=None, deadline=None)
@given(st.integers())
def _draw(number: int) -> None:
    assert number == number  # noqa: PLR0124


_draw()
