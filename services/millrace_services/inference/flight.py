"""Which inputs the model is computing, in memory that outlives the process that computes them.

A crash of native code ends a process without a last word. What it ran then stands here, so that the next process can
refuse the same input rather than end of it, too: clients and proxies send again what had no answer.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from millrace_services.inference.tensors import Array

# One run on the event loop and one in the lane may be at work at once.
INLINE: Final = 1
LANE: Final = 2
_WARM: Final = 0
_SLOTS: Final = 3
_MASK: Final = 2**64 - 1
# Points that make an input refused; those of a crash are shared by the inputs that ran.
_REFUSED: Final = 2
_MOST: Final = 256


class FlightRecord:
    """Shared with the processes forked after it was made."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, 8 * _SLOTS)).cast("Q")

    @property
    def warm(self) -> bool:
        """Whether the model was loaded and warm."""
        return self._memory[_WARM] != 0

    def set_warm(self) -> None:
        """Says that the model is loaded and warm."""
        self._memory[_WARM] = 1

    def begin(self, slot: int, key: int) -> None:
        """Notes the input that begins to run."""
        self._memory[slot] = key

    def end(self, slot: int) -> None:
        """Its run has ended, one way or the other."""
        self._memory[slot] = 0

    def take(self) -> list[int]:
        """The inputs that ran when the process ended; empties the record for the next one."""
        running = [key for key in (self._memory[INLINE], self._memory[LANE]) if key]
        for slot in range(_SLOTS):
            self._memory[slot] = 0
        return running


class Suspects:
    """Inputs that ran when a process crashed.

    One that ran alone is refused from then on. Of two, each is refused when it is found a second time: one of them is
    somebody else's, and must not pay for good.
    """

    def __init__(self) -> None:
        self._points: Counter[int] = Counter()

    def blame(self, running: Iterable[int]) -> None:
        """Counts a crash against the inputs that ran."""
        keys = set(running)
        for key in keys:
            self._points[key] += _REFUSED // len(keys)
        while len(self._points) > _MOST:
            del self._points[next(iter(self._points))]

    def refused(self) -> frozenset[int]:
        """The inputs that are not run again."""
        return frozenset(key for key, points in self._points.items() if points >= _REFUSED)


def key_of(feeds: Mapping[str, Array]) -> int:
    """A number of 64 bits, never 0, for an input's names, types, shapes and values; the same after a fork.

    Python's hash of bytes is keyed by a secret, so nobody can make an input that passes for another's.
    """
    key = 0
    for name, values in feeds.items():
        content = values.tobytes() if not values.dtype.hasobject else tuple(values.ravel().tolist())
        key = hash((key, name, values.dtype.char, values.shape, content))
    return key & _MASK or 1
