"""The cell log of a view with aggregates: which cells of the grid are known, and which to read from the source.

Cell n holds the event times in ``((n - 1) * every, n * every]``, so a window is a range of whole cells. A cell
contributes the multiset of its rows. That is the one mergeable partial from which all functions are exact
(``definition/aggregate.py``).

Rows of cells are kept in files, each for a range of cells, and a *log* lists these ranges as pieces. A log is what one
run knew, and is never changed. Nothing is missing in the listed cells but

- rows that come later than the view's ``lateness`` after ``upto`` allows, and
- rows that were created after ``created``.

So a later run reads from the source the cells that end after ``upto - lateness``, the cells that got late rows by their
created time, and the cells that are not listed. All here is plain numbers: times in microseconds, cells as integers. A
range of cells is open at ``first`` and closed at ``last``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.features.history.history import TimeRange

FORMAT: Final = 1
# At most this many ranges are read again for late rows. More are joined, where the gaps between them are smallest.
_RANGES: Final = 32
# This many small neighbours in a row are written as one.
_NEIGHBOURS: Final = 32
_SMALL: Final = 200_000

_FILE: Final = re.compile(r"(-?\d+)-(-?\d+)-(-?\d+)-[0-9a-f]{8}\.parquet")
_LOG: Final = re.compile(r"(-?\d+)\.json")
# Stands for the name of a file where a piece has none.
_NONE: Final = "0-0-0-00000000.parquet"


class CellRange(NamedTuple):
    """The cells after ``first`` up to ``last``, in a file of ``rows`` rows; without rows there is no file."""

    first: int
    last: int
    file: str
    rows: int


class RunLog(NamedTuple):
    """What the run that began at ``began`` knew. Pieces are in order and do not overlap. ``created`` is None where rows
    have no created time."""

    began: int
    upto: int
    created: int | None
    pieces: tuple[CellRange, ...]


class Segment(NamedTuple):
    """A range of event time, both ends inclusive (None: from the beginning), and the piece that holds it, or None."""

    earliest: int | None
    latest: int
    piece: CellRange | None


def write(log: RunLog) -> bytes:
    """The content of a log's file."""
    return orjson.dumps({"format": FORMAT, **log._asdict(), "pieces": [list(piece) for piece in log.pieces]})


def read(text: bytes) -> RunLog:
    """The log in a file.

    Raises:
        ValueError: the text is no log.
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
    """Name of a file of cells of the run that began then; ``mark``, 8 hexadecimal digits, makes it unique."""
    return f"{began}-{first}-{last}-{mark}.parquet"


def log_name(began: int) -> str:
    """Name of the log of the run that began then."""
    return f"{began}.json"


def beginning(name: str) -> int | None:
    """When the run began that wrote the log or file of cells of this name; None for any other name."""
    found = _FILE.fullmatch(name) or _LOG.fullmatch(name)
    return None if found is None else int(found[1])


def is_log(name: str) -> bool:
    """Whether this is the name of a log."""
    return bool(_LOG.fullmatch(name))


def cells_of(earliest: int | None, latest: int, every: int, bounds: tuple[int, int]) -> tuple[int, int]:
    """The whole cells in a range of event time, within bounds; no cells where the first is not before the last."""
    first = bounds[0] if earliest is None else max(-(-(earliest - 1) // every), bounds[0])
    return first, min(latest // every, bounds[1])


def ranges(cells: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending cells as a few ranges, which may hold other cells between them."""
    gaps = sorted(range(1, len(cells)), key=lambda index: cells[index - 1] - cells[index])
    cuts = sorted(index for index in gaps[: _RANGES - 1] if cells[index] - cells[index - 1] > 1)
    edges = [0, *cuts, len(cells)]
    return [(cells[a] - 1, cells[b - 1]) for a, b in pairwise(edges) if a < b]


def without(pieces: Iterable[CellRange], taken: Sequence[tuple[int, int]]) -> Iterator[CellRange]:
    """The parts of pieces outside of ascending ranges of cells."""
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


def segments(time_range: TimeRange, every: int, pieces: Iterable[CellRange]) -> list[Segment]:
    """A range of event time, cut into what pieces hold and what to read from the source, in order of time."""
    found, at = list[Segment](), time_range.earliest
    for piece in pieces:
        low, high = piece.first * every + 1, min(piece.last * every, time_range.latest)
        low = low if at is None else max(low, at)
        if low > high:
            continue
        if at is None or at < low:
            found.append(Segment(at, low - 1, None))
        found.append(Segment(low, high, piece))
        at = high + 1
    if at is None or at <= time_range.latest:
        found.append(Segment(at, time_range.latest, None))
    return found


def groups(parts: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Segments that become one piece each: many small neighbours together, all others alone."""
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
        base: the log before it.
        known: what the run knows: pieces that it wrote or used, and up to when it has seen all rows.
        bounds: the cells that later runs will need.
    """
    if base is None or known.upto >= base.upto:
        return known._replace(pieces=tuple(within(known.pieces, *bounds)))
    # A run of an earlier moment: its own cells are newer, and all else stays as it was.
    kept = [*without(base.pieces, [piece[:2] for piece in known.pieces]), *known.pieces]
    return base._replace(began=known.began, pieces=tuple(sorted(kept)))
