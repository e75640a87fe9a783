"""What may run together, and how: rows of several requests become one run, and its outputs become theirs again.

Pure. Rows count, not requests: a request of many rows is a batch already. Two requests may share a run where their
inputs have the same names, types and sizes beside the rows, and where they want the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np

from millrace_services.inference.costs import shapes_of
from millrace_services.inference.tensors import Array, OutputTensor

Kind = tuple[object, ...]
UNKNOWN: Final = float("inf")
# In the place of a number of rows: what so many take has to be measured first.
TO_LEARN: Final = -1
# More rows make a longer run; they are worth it where each row gets cheaper by a tenth.
_WORTH: Final = 0.9


class Batching(NamedTuple):
    """How many rows a run may have that serves several requests, and why no more than one request where it is 1."""

    rows: int = 1
    why_not: str = "it was not asked for"

    def described(self) -> str:
        """As the model's metadata has it."""
        return f"up to {self.rows} rows" if self.rows > 1 else f"never: {self.why_not}"


class MixedRowsError(Exception):
    """A run gave other rows than it was given, so that nobody knows whose they are."""


class Member(Protocol):
    """A request that may share a run; ``key`` is what all of the run must have alike, None where it runs alone."""

    @property
    def rows(self) -> int: ...
    @property
    def key(self) -> Kind | None: ...


M = TypeVar("M", bound=Member)


def rows_and_kind(feeds: Mapping[str, Array]) -> tuple[int, Kind]:
    """Rows of a request, and what its inputs are beside them; 0 rows where an input has none or they differ.

    Strings have no fixed size, so the length of the longest, in powers of two, is part of the kind.
    """
    rows = -1
    kind: list[object] = []
    for name, values in feeds.items():
        shape = values.shape
        if not shape or rows not in (-1, shape[0]):
            return 0, ()
        rows = shape[0]
        char = values.dtype.char
        if char == "O":
            kind.append((name, char, shape[1:], max(map(len, values.flat), default=0).bit_length()))
        else:
            kind.append((name, char, shape[1:]))
    return max(rows, 0), tuple(kind)


def cost_key(allowed: Batching, feeds: Mapping[str, Array]) -> tuple[int, Kind, Kind]:
    """Rows that may share a run with others' (0: they may not), of which kind they are, and the key of their cost."""
    if allowed.rows > 1:
        rows, kind = rows_and_kind(feeds)
        if rows:
            return rows, kind, (bucket(rows), kind)
    return 0, (), shapes_of(feeds)


def bucket(rows: int) -> int:
    """The power of two that costs of so many rows are known by."""
    return 1 << (rows - 1).bit_length()


def buckets(most: int) -> Iterator[int]:
    """Rows to measure a model at: the powers of two below ``most``, and ``most``."""
    rows = 1
    while rows < most:
        yield rows
        rows *= 2
    yield most


def best_rows(cost: Callable[[int], float], most: int, longest: float) -> int:
    """How many rows a run should have at most.

    The fewest among those whose rows are cheapest, or nearly. What was never measured is tried where twice the time of
    half of it is not too long.

    Args:
        cost: seconds of the shortest run by its bucket, ``UNKNOWN`` where there was none.
        most: rows that are allowed.
        longest: seconds that a run should take at most.
    """
    chosen, cheapest, before = 1, UNKNOWN, UNKNOWN
    for rows in buckets(most):
        seconds = cost(bucket(rows))
        if seconds == UNKNOWN:
            if before == UNKNOWN:
                continue  # clients may never send so few
            return rows if 2 * before <= longest else chosen
        if seconds > longest and before != UNKNOWN:
            break
        if seconds / rows < _WORTH * cheapest:
            chosen, cheapest = rows, seconds / rows
        before = seconds
    return chosen


def rows_on_loop(
    cost: Callable[[int], float], least: Callable[[int], float], rows: int, most: int, *, longest: float, sharing: float
) -> int:
    """How many rows requests should share that could each run on the event loop, too.

    Args:
        cost: seconds to expect of a run by its bucket; ``least``: of the shortest.
        rows: of each of them, a power of two.
        most: rows that a run should have, as above.
        longest: seconds that a run on the loop may take.
        sharing: seconds that it costs a request to share a run.

    Returns:
        A number of rows below twice ``rows`` where sharing costs more than it saves, or is too long; ``TO_LEARN``.
    """
    shared = rows
    while shared * 2 <= most:
        seconds = cost(shared * 2)
        if seconds == UNKNOWN:
            if shared == rows:
                return TO_LEARN
            break
        if seconds > longest:
            break
        shared *= 2
    saved = least(rows) - least(shared) * rows / shared
    return shared if saved >= sharing else 0


def together(waiting: Iterable[M], most: Callable[[M], int]) -> list[M]:
    """The first that waits, and in their order those of the same key that fit beside it.

    Args:
        most: rows of a run, given its first member. One that has more runs alone.
    """
    each = iter(waiting)
    head = next(each)
    members = [head]
    if head.key is None:
        return members
    left = most(head) - head.rows
    for other in each:
        if left <= 0:
            break
        if other.key == head.key and other.rows <= left:
            members.append(other)
            left -= other.rows
    return members


def joined(feeds: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The rows of all, one below the other, by input name."""
    if len(feeds) == 1:
        return dict(feeds[0])
    return {name: np.concatenate([each[name] for each in feeds]) for name in feeds[0]}


def split(outputs: Sequence[OutputTensor], rows: Sequence[int]) -> list[list[OutputTensor]]:
    """The outputs of each request, as views of the rows of all.

    Raises:
        MixedRowsError: an output does not have as many rows as there are.
    """
    total = sum(rows)
    for values, _ in outputs:
        if not values.shape or values.shape[0] != total:
            raise MixedRowsError(f"{total} rows went in, an output of shape {list(values.shape)} came out")
    parts, start = [], 0
    for count in rows:
        end = start + count
        parts.append([OutputTensor(values[start:end], classes) for values, classes in outputs])
        start = end
    return parts
