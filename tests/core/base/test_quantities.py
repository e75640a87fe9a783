"""Quantities are read exactly, in every form that Kubernetes writes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.quantities import parse, quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", Fraction(1)),
        ("500m", Fraction(1, 2)),
        ("2Ki", Fraction(2048)),
        ("2k", Fraction(2000)),
        ("1.5Gi", Fraction(3 * 2**29)),
        ("100n", Fraction(1, 10**7)),
        ("1e3", Fraction(1000)),
        ("1E", Fraction(10**18)),
        ("5.", Fraction(5)),
        (3, Fraction(3)),
    ],
)
def test_quantities_are_read_exactly(text: str | int, number: Fraction) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "m", "1x", "1i", "Mi", "1 Gi", "a", "1KiB", "1e3Ki", "1e99999"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    assert parse(text) is None
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


@given(st.integers(0, 10**9), st.sampled_from(["n", "u", "m", "", "k", "M", "Ki", "Mi"]))
def test_a_suffix_scales_every_number_alike(number: int, suffix: str) -> None:
    assert quantity(f"{number}{suffix}") == number * quantity(f"1{suffix}")
