"""Input for a model's first runs, of which nothing is known but datatypes and shapes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Final, NamedTuple

import numpy as np

from millrace_services.inference.tensors import STORED, Array, TensorSpec

# Models of sound, text and images take no size below that of their windows, nor one that their strides do not divide.
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 224, 256, 320, 512, 640)
_RANKS: Final = (1, 2, 0, 3, 4)
_MOST_VALUES: Final = 1 << 22
_ONE: Final = {"BF16": 0x3F80, "BYTES": "a"}


class Blank(NamedTuple):
    """What fills the open places.

    Attributes:
        rows: size of an open first dimension.
        size: of any other open dimension.
        rank: of inputs that take any.
        ones: whether the values are ones (BYTES: ``a``) and not zeros (empty texts).
    """

    rows: int = 1
    size: int = 1
    rank: int = 1
    ones: bool = False

    def tensor(self, spec: TensorSpec) -> Array:
        """The input."""
        value = _ONE.get(spec.datatype, 1) if self.ones else "" if spec.datatype == "BYTES" else 0
        return np.full(self.shape(spec), value, STORED[spec.datatype])

    def shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """Its shape."""
        sizes = spec.shape if spec.ranked else (-1,) * self.rank
        opened = (self.rows, *[self.size] * len(sizes))
        return tuple(size if size >= 0 else free for size, free in zip(sizes, opened, strict=False))


def candidates(specs: Iterable[TensorSpec]) -> Iterator[Blank]:
    """Blanks to be tried in turn until the model takes one; those that look the same to it come once."""
    specs = list(specs)
    seen = set()
    for ones in (False, True):
        for rank in _RANKS:
            for size in _SIZES:
                for rows in (1, size):
                    blank = Blank(rows, size, rank, ones)
                    shapes = tuple(map(blank.shape, specs))
                    if (ones, shapes) not in seen and sum(map(prod, shapes)) <= _MOST_VALUES:
                        seen.add((ones, shapes))
                        yield blank
