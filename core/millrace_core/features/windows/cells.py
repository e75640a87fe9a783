"""The cell log of a view with aggregates: what the source said of which cells of the grid, and what is left to ask it.

Cell n holds the event times in ``((n - 1) * every, n * every]``, so a window is a range of whole cells. What a cell
contributes is the multiset of its rows: the one mergeable partial from which all functions are exact (``aggregate``).
Cells are kept as rows in files, each of a range of cells, and a *log* lists them as pieces. A log says what one run
knew and is never changed: nothing is missing of the listed cells but rows that come later than the view's ``lateness``
after ``upto`` allows, and rows that were created after ``created``.

From that follows what a later run asks the source for: the cells that end after ``upto - lateness``, those to which
rows came late by their created time, and those that are not listed. All here is plain numbers: times in microseconds,
cells as whole numbers; a range of cells is open at ``first`` and closed at ``last``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.features.history.history import TimeRange

FORMAT: Final = 1
# Ranges that are read again for rows that came late; more are joined where the gaps are smallest.
_RANGES: Final = 32
# So many neighbours in a row are written as one, as long as they are small.
_NEIGHBOURS: Final = 32
_SMALL: Final = 200_000

_FILE: Final = re.compile(r"(-?\d+)-(-?\d+)-(-?\d+)-[0-9a-f]{8}\.parquet")
_LOG: Final = re.compile(r"(-?\d+)\.json")
# Any name that a file may have.
_NONE: Final = "0-0-0-00000000.parquet"


class CellRange(NamedTuple):
    """Cells after ``first`` up to ``last``, as they stand in a file of ``rows`` rows; no file where there are none."""

    first: int
    last: int
    file: str
    rows: int


class RunLog(NamedTuple):
    """What a run that began at ``began`` knew; pieces in order, none over another. ``created`` is None without such
    times."""

    began: int
    upto: int
    created: int | None
    pieces: tuple[CellRange, ...]


class Segment(NamedTuple):
    """A stretch of event time, both ends inclusive (None: from the beginning), and the piece that holds it, if one
    does."""

    earliest: int | None
    latest: int
    piece: CellRange | None


def write(log: RunLog) -> bytes:
    """A log as its file has it."""
    return orjson.dumps({"format": FORMAT, **log._asdict(), "pieces": [list(piece) for piece in log.pieces]})


def read(text: bytes) -> RunLog:
    """The log of a file.

    Raises:
        ValueError: it is none.
    """
    try:
        found: Any = orjson.loads(text)
        pieces = tuple(CellRange(int(a), int(b), str(file), int(rows)) for a, b, file, rows in found["pieces"])
        created = None if found["created"] is None else int(found["created"])
        log = RunLog(int(found["began"]), int(found["upto"]), created, pieces)
        known = found["format"] == FORMAT
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it is no log of cells: {error}") from error
    ordered = all(one.last <= other.first for one, other in pairwise(pieces))
    if not known or not ordered or not all(_FILE.fullmatch(piece.file or _NONE) for piece in pieces):
        raise ValueError("it is no log of cells of this format")
    return log


def file_name(began: int, first: int, last: int, mark: str) -> str:
    """Of a file of cells, written by a run that began then; ``mark``, 8 hexadecimal digits, makes it the only one."""
    return f"{began}-{first}-{last}-{mark}.parquet"


def log_name(began: int) -> str:
    """Of the log of a run that began then."""
    return f"{began}.json"


def beginning(name: str) -> int | None:
    """When the run began that wrote a log or a file of cells; None where the name is of neither."""
    found = _FILE.fullmatch(name) or _LOG.fullmatch(name)
    return None if found is None else int(found[1])


def is_log(name: str) -> bool:
    """Whether it is the name of a log."""
    return bool(_LOG.fullmatch(name))


def cells_of(earliest: int | None, latest: int, every: int, bounds: tuple[int, int]) -> tuple[int, int]:
    """The whole cells of a stretch that lie within bounds; none where the first is not before the last."""
    first = bounds[0] if earliest is None else max(-(-(earliest - 1) // every), bounds[0])
    return first, min(latest // every, bounds[1])


def ranges(cells: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending cells as few ranges, which may hold cells between them."""
    gaps = sorted(range(1, len(cells)), key=lambda index: cells[index - 1] - cells[index])
    cuts = sorted(index for index in gaps[: _RANGES - 1] if cells[index] - cells[index - 1] > 1)
    edges = [0, *cuts, len(cells)]
    return [(cells[a] - 1, cells[b - 1]) for a, b in pairwise(edges) if a < b]


def without(pieces: Iterable[CellRange], taken: Sequence[tuple[int, int]]) -> Iterator[CellRange]:
    """What is left of pieces beside ranges of cells, which ascend."""
    for piece in pieces:
        first = piece.first
        for low, high in taken:
            if low >= piece.last or high <= first:
                continue
            if low > first:
                yield piece._replace(first=first, last=low)
            first = max(first, high)
        if first < piece.last:
            yield piece._replace(first=first)


def within(pieces: Iterable[CellRange], first: int, last: int) -> list[CellRange]:
    """The parts of pieces that lie in a range of cells."""
    cut = [piece._replace(first=max(piece.first, first), last=min(piece.last, last)) for piece in pieces]
    return [piece for piece in cut if piece.first < piece.last]


def segments(window: TimeRange, every: int, pieces: Iterable[CellRange]) -> list[Segment]:
    """A window as stretches that pieces hold and stretches to ask the source for, in order of time."""
    found, at = list[Segment](), window.earliest
    for piece in pieces:
        low, high = piece.first * every + 1, min(piece.last * every, window.latest)
        low = low if at is None else max(low, at)
        if low > high:
            continue
        if at is None or at < low:
            found.append(Segment(at, low - 1, None))
        found.append(Segment(low, high, piece))
        at = high + 1
    if at is None or at <= window.latest:
        found.append(Segment(at, window.latest, None))
    return found


def groups(parts: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Segments that are to be one piece from now on: many small neighbours, or else each alone."""
    small = list[Segment]()
    for part in parts:
        if part.piece is not None and part.piece.rows <= _SMALL:
            small.append(part)
            continue
        yield from _joined(small)
        yield [part]
        small = []
    yield from _joined(small)


def _joined(small: list[Segment]) -> Iterable[list[Segment]]:
    return [small] if len(small) >= _NEIGHBOURS else ([each] for each in small)


def following(base: RunLog | None, known: RunLog, bounds: tuple[int, int]) -> RunLog:
    """The log after a run.

    Args:
        base: the log before.
        known: what the run knows: pieces that it wrote or used, and up to when it has seen everything.
        bounds: cells that later runs will ask for.
    """
    if base is None or known.upto >= base.upto:
        return known._replace(pieces=tuple(within(known.pieces, *bounds)))
    # A run of an earlier moment: its cells are newer, the others are as they were, and so is what is known of all.
    kept = [*without(base.pieces, [piece[:2] for piece in known.pieces]), *known.pieces]
    return base._replace(began=known.began, pieces=tuple(sorted(kept)))
