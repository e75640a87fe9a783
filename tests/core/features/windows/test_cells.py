from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.features.history.history import TimeRange
from millrace_core.features.windows import cells
from millrace_core.features.windows.cells import CellRange, RunLog, Segment

FILE = "1-0-9-0123abcd.parquet"


@st.composite
def pieces(draw: st.DrawFn) -> list[CellRange]:
    edges = sorted(draw(st.sets(st.integers(-20, 40), max_size=12)))
    kept = [CellRange(a, b, FILE, 5) for a, b in pairwise(edges)]
    return [piece for piece in kept if draw(st.booleans())]


def covered(parts: Any) -> list[int]:
    return [cell for part in parts for cell in range(part[0] + 1, part[1] + 1)]


@given(pieces(), st.lists(st.integers(-25, 45), unique=True).map(sorted))
def test_what_is_left_of_pieces_is_every_other_cell_once(kept: list[CellRange], touched: list[int]) -> None:
    taken = cells.ranges(touched)
    assert set(touched) <= set(covered(taken))
    assert covered(cells.without(kept, taken)) == [cell for cell in covered(kept) if cell not in set(covered(taken))]


def test_ranges_are_few_and_join_where_gaps_are_smallest() -> None:
    scattered = sorted(random.Random(1).sample(range(10_000), 500))
    found = cells.ranges(scattered)
    assert len(found) == 32
    assert set(scattered) <= set(covered(found))
    assert cells.ranges([1, 2, 3, 7, 20]) == [(0, 3), (6, 7), (19, 20)]


@given(pieces(), st.one_of(st.none(), st.integers(-300, 300)), st.integers(-300, 450), st.sampled_from([1, 7, 10]))
def test_segments_are_the_window_without_gap_or_overlap(
    kept: list[CellRange], earliest: int | None, latest: int, every: int
) -> None:
    found = cells.segments(TimeRange(earliest, latest), every, kept)
    moments = list(range(-400 if earliest is None else earliest, latest + 1))
    assert [
        at for part in found for at in range(-400 if part.earliest is None else part.earliest, part.latest + 1)
    ] == moments
    held = set(covered(kept))
    for part in found:
        low = part.latest if part.earliest is None else part.earliest
        assert {-(-at // every) in held for at in (low, part.latest)} == {part.piece is not None}


@pytest.mark.parametrize(
    ("stretch", "whole"),
    [((1, 100), (0, 10)), ((2, 100), (1, 10)), ((0, 99), (0, 9)), ((None, 100), (-5, 10)), ((1, 999), (0, 12))],
)
def test_only_whole_cells_are_kept(stretch: tuple[int | None, int], whole: tuple[int, int]) -> None:
    assert cells.cells_of(*stretch, every=10, bounds=(-5, 12)) == whole


def test_many_small_neighbours_are_one_group_and_large_or_few_ones_are_not() -> None:
    def part(index: int, rows: int | None) -> Segment:
        return Segment(index, index, None if rows is None else CellRange(index, index + 1, FILE, rows))

    few, many = [part(index, 5) for index in range(31)], [part(index, 5) for index in range(32)]
    sizes = [len(group) for group in cells.groups([*few, part(0, None), *many, part(0, 10**6), *few])]
    assert sizes == [1] * 32 + [32] + [1] * 32


def test_a_run_of_an_earlier_moment_takes_nothing_from_the_log() -> None:
    base = RunLog(5, 100, 90, (CellRange(0, 10, FILE, 5),))
    known = RunLog(6, 50, 95, (CellRange(2, 5, "new", 1),))
    log = cells.following(base, known, (2, 5))
    assert log == RunLog(6, 100, 90, (CellRange(0, 2, FILE, 5), CellRange(2, 5, "new", 1), CellRange(5, 10, FILE, 5)))
    assert cells.following(base, known._replace(upto=100), (3, 5)) == RunLog(6, 100, 95, (CellRange(3, 5, "new", 1),))


@given(pieces(), st.integers(-(2**63), 2**63 - 1), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))
def test_a_log_is_read_as_it_was_written(kept: list[CellRange], upto: int, created: int | None) -> None:
    log = RunLog(1, upto, created, tuple(kept))
    assert cells.read(cells.write(log)) == log


@pytest.mark.parametrize(
    "pieces",
    [[[0, 1, "../x.parquet", 1]], [[0, 2, FILE, 1], [1, 3, FILE, 1]], [[0, 1]], [[0, 1, None, 1]], 3],
)
def test_what_is_no_log_is_refused(pieces: Any) -> None:
    good = cells.write(RunLog(1, 2, None, ()))
    with pytest.raises(ValueError, match="no log of cells"):
        cells.read(good.replace(b'"pieces":[]', b'"pieces":' + json.dumps(pieces).encode()))
