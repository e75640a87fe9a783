"""Which id a prediction has."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.evidence import prediction_id


@pytest.mark.parametrize("given", ["a", "A.b_c:d-9", "x" * 128])
def test_the_clients_id_is_taken_where_it_is_one(given: str) -> None:
    assert prediction_id.chosen(given, "other") == given
    assert prediction_id.chosen(None, given) == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a/b", "ä", "a\n"])
def test_what_is_none_gives_way_to_the_next(given: str) -> None:
    assert prediction_id.chosen(given, "second") == "second"
    assert uuid.UUID(prediction_id.chosen(given, given)).version == 7


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1), st.integers(0, 2**48 - 1))
def test_made_ids_are_uuids_of_version_7_in_the_order_of_their_moments(at: int, bits: int, other: int) -> None:
    made = uuid.UUID(prediction_id.made(at, bits))
    assert (made.int >> 64 & 0xFFF) << 62 | made.int & 2**62 - 1 == bits
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, at)
    if other > at:
        assert prediction_id.made(other, 0) > prediction_id.made(at, bits)
