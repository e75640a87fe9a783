"""Rows are given to the engine a few at a time where they may need much, so that it can be stopped in between."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millrace_core.features.evaluation.slices import rows_at_once, rows_of, sliced
from millrace_core.features.expressions.expressions import parse
from millrace_core.features.expressions.growth import MOST_STEPS

# What fits into one vector, as the engine has them; steps that take some 0.1 s, and bytes that any pod has.
VECTOR, STEPS, BYTES = 2048, 2**25, 2**26


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("a > 3", VECTOR),
        ("levenshtein(a, reverse(a)) > 3", STEPS // MOST_STEPS),
        ("rpad(a, 1000, 'x') = a", VECTOR),
    ],
)
def test_as_many_rows_come_at_once_as_their_steps_and_bytes_allow(text: str, most: int) -> None:
    parsed = parse(text, where="w")
    grown = (parsed.growth(), parsed.longest)
    rows = rows_at_once([grown])
    assert most <= rows <= max(most, 2 * most)
    length = parsed.longest or 0
    assert rows == 1 or rows * grown[0].steps.at(length) <= STEPS
    assert rows == 1 or rows * grown[0].bytes.at(length) <= BYTES
    assert rows_at_once([grown] * 1000) < rows or rows == VECTOR
    assert rows_at_once([grown] * 10**6) == 1


def test_what_may_be_of_any_length_counts_as_it_came() -> None:
    parsed = parse("regexp_matches(a, 'x+y')", where="w")
    assert parsed.longest is None
    grown = [(parsed.growth(), None)]
    rows = [rows_of(pa.record_batch({"a": ["a" * length] * 100}), grown) for length in (1, 10_000, 1_000_000)]
    assert rows[0] == VECTOR > rows[1] > rows[2] >= 1
    assert rows_of(pa.record_batch({"a": pa.array([], pa.string())}), grown) == VECTOR


def test_slices_are_the_batch() -> None:
    batch = pa.record_batch({"a": list(range(10))})
    for rows in (1, 3, 10, 2047, 2048):
        parts = sliced(batch, rows)
        assert pa.Table.from_batches(parts, batch.schema).to_batches()[0].schema == batch.schema
        assert [each for part in parts for each in part["a"].to_pylist()] == list(range(10))
        assert all(len(part) <= rows for part in parts)
    assert sliced(batch.slice(0, 0), 3) == []
