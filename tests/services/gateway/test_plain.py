"""Plain rows are read together; what they read as is what they read as one view after another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.features.online.plan import ReadPlan, compile_plan
from millrace_core.features.online.published import Snapshot
from millrace_core.features.online.row import Layout
from millrace_services.gateway import answer
from tests.core.features.histories import view

HOUR = 3_600_000_000
NOW = 1_700_000_000_000_000

SHORT = view(("a", "float64"), ("b", "int32"), ("c", "float32"), name="short", ttl="1h")
LONG = view(("d", "int64"), ("e", "bool"), ("f", "float64"), name="long")
TEXTS = view(("s", "string"), ("g", "float64"), name="texts")
TIMES = view(("t", "timestamp"), ("h", "int64"), name="times")
SNAPSHOT = Snapshot("1", {("default", one.view): one for one in (SHORT, LONG, TEXTS, TIMES)})


def plan(*refs: str) -> ReadPlan:
    return compile_plan(SNAPSHOT, "default", refs, full_names=False)


def plain(one: ReadPlan, rows: list[bytes | None], count: int) -> Any:
    assert one.plain is not None
    texts = one.plain.read(rows, NOW)
    return None if texts is None else answer.encode_plain(one, {"id": [7] * count}, count, texts)


def view_by_view(one: ReadPlan, rows: list[bytes | None], count: int) -> bytes:
    parts = [rows[index * count : (index + 1) * count] for index in range(len(one.reads))]
    read = [view.reader.read(part, NOW) for view, part in zip(one.reads, parts, strict=True)]
    return answer.encode(one, {"id": [7] * count}, count, read)


def short(at: int = NOW, *values: Any) -> bytes:
    return Layout.of(SHORT).encode(at, None, values or (1.5, 2, 3.0))


def long(at: int = NOW, *values: Any) -> bytes:
    return Layout.of(LONG).encode(at, None, values or (4, True, 5.0))


YEAR_1 = -62_135_596_800_000_000

finite = st.floats(allow_nan=False, allow_infinity=False)
short_row = st.builds(
    short,
    st.integers(NOW - HOUR, NOW),
    finite,
    st.integers(-(2**31), 2**31 - 1),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
long_row = st.builds(long, st.integers(YEAR_1, NOW), st.integers(-(2**63), 2**63 - 1), st.booleans(), finite)


@given(
    rows=st.lists(st.tuples(short_row, long_row), min_size=1, max_size=5),
    order=st.permutations(["short:a", "short:b", "short:c", "long:d", "long:f"]),
    wanted=st.integers(1, 5),
)
def test_rows_read_together_are_answered_as_one_view_after_another(rows: Any, order: list[str], wanted: int) -> None:
    one = plan(*order[:wanted])
    columns = {"short": [row for row, _ in rows], "long": [row for _, row in rows]}
    packed = [row for read in one.reads for row in columns[read.definition.view]]
    assert plain(one, packed, len(rows)) == view_by_view(one, packed, len(rows))


BOTH = plan("short:a", "long:d", "short:c", "long:f")
OTHER = Layout.of(view(("a", "float64"), ("b", "int32"), ("c", "float64"), name="short", ttl="1h"))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("row", "is_plain"),
    [
        (short(NOW - HOUR), True),
        (short(NOW - HOUR - 1), False),
        (short(NOW + 1), False),
        (short(NOW, None, 2, 3.0), False),
        (short(NOW, 1.5, None, 3.0), False),  # not asked for, but then rows are not alike
        (short(NOW, float("nan"), 2, 3.0), False),
        (short(NOW, 1.5, 2, float("-inf")), False),
        (OTHER.encode(NOW, None, (1.5, 2, 3.0)), False),
        (short() + b"x", False),
        (short()[:-1], False),
        (None, False),
        (b"", False),
    ],
)
def test_a_row_that_is_not_plain_is_left_to_the_reader_of_its_view(
    row: bytes | None, is_plain: bool, count: int
) -> None:
    for place in range(count):
        rows: list[bytes | None] = [short()] * count + [long()] * count
        rows[place] = row
        assert (plain(BOTH, rows, count) is not None) == is_plain
        if is_plain:
            assert plain(BOTH, rows, count) == view_by_view(BOTH, rows, count)


@pytest.mark.parametrize("count", [1, 3])
def test_times_before_the_year_1_are_not_plain(count: int) -> None:
    one = plan("long:f")
    assert plain(one, [long(YEAR_1)] * count, count) == view_by_view(one, [long(YEAR_1)] * count, count)
    assert plain(one, [long(YEAR_1 - 1)] * count, count) is None


def test_no_entities_are_not_plain() -> None:
    assert plain(BOTH, [], 0) is None


def test_texts_times_and_truth_values_are_never_plain() -> None:
    assert plan("short:a", "times:t").plain is None
    assert plan("short:a", "times:h").plain is not None
    assert plan("texts:g").plain is None  # its rows are not of one length
    assert plan("short:a", "long:e").plain is None
    assert plan("short:a", "long:d").plain is not None
