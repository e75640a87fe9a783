"""Lists that are longer than one statement takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def chunks(items: Sequence[_T], size: int = 500) -> Iterator[Sequence[_T]]:
    """The items in their order, as many at a time as one statement names."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
