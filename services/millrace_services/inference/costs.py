"""What a run of the model takes, by the shapes of its inputs: learned from the runs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from millrace_services.inference.tensors import Array

Shapes = tuple[object, ...]

_MOST: Final = 1024


class Costs:
    """Seconds by shapes, of the ``most`` shapes that came last for the first time.

    A cost that was never measured is infinite: it may be hours, as shapes beside the batch count too.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self.version = 0  # another one once something else is known
        self._seconds: dict[Shapes, float] = {}
        self._least: dict[Shapes, float] = {}
        self._trusted = True

    def expected(self, shapes: Shapes) -> float:
        """Seconds that a run should take."""
        return self._seconds.get(shapes, float("inf")) if self._trusted else float("inf")

    def least(self, shapes: Shapes) -> float:
        """Seconds of the shortest run, to compare: a busy machine makes some runs longer, and none shorter."""
        return self._least.get(shapes, float("inf")) if self._trusted else float("inf")

    def shortest(self) -> float:
        """Seconds that a run should take of the shapes that take least; infinite where none was measured."""
        return min(self._seconds.values(), default=float("inf")) if self._trusted else float("inf")

    def longest(self) -> float:
        """Seconds of the shortest run of the shapes that take longest; infinite where none was measured."""
        return max(self._least.values(), default=float("inf"))

    def learn(self, shapes: Shapes, seconds: float) -> None:
        """Takes a run's time: a longer one counts at once, a shorter one by half, since values may matter too."""
        before = self._seconds.get(shapes)
        if before is None and len(self._seconds) >= self._most:
            oldest = next(iter(self._seconds))
            del self._seconds[oldest], self._least[oldest]
        self.version += 1
        self._least[shapes] = min(seconds, self._least.get(shapes, seconds))
        self._seconds[shapes] = seconds if before is None or seconds > before else (seconds + before) / 2

    def distrust(self) -> None:
        """Says that values, not shapes, decide what a run of this model takes: no cost is known from now on."""
        self.version += 1
        self._trusted = False


def shapes_of(feeds: Mapping[str, Array]) -> Shapes:
    """The key of a cost. Strings have no fixed size, so their lengths in all, in powers of two, are part of it."""
    shapes: list[tuple[int, ...]] = []
    for values in feeds.values():  # a loop, as half of the time of a comprehension is its call
        shapes.append(values.shape if not values.dtype.hasobject else _of_strings(values))
    return tuple(shapes)


def _of_strings(values: Array) -> tuple[int, ...]:
    return (*values.shape, sum(map(len, values.flat)).bit_length())
