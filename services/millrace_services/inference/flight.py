"""Which inputs the model is computing, in memory that outlives the process that computes them.

A crash of native code ends a process without a last word. What it ran then stands here, so that the next process can
refuse the same input rather than end of it, too: clients and proxies send again what had no answer.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from millrace_services.inference.tensors import Array

# Requests that one run may serve.
MOST_MEMBERS: Final = 4096
# One run on the event loop and one in the lane may be at work at once: each has a number of inputs, then the inputs.
INLINE: Final = 1
LANE: Final = INLINE + 1 + MOST_MEMBERS
_WARM: Final = 0
_WORDS: Final = LANE + 1 + MOST_MEMBERS
_MASK: Final = 2**64 - 1
# Points that make an input refused.
_REFUSED: Final = 2
_MOST: Final = 2 * MOST_MEMBERS


class FlightRecord:
    """Shared with the processes forked after it was made."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, 8 * _WORDS)).cast("Q")

    @property
    def warm(self) -> bool:
        """Whether the model was loaded and warm."""
        return self._memory[_WARM] != 0

    def set_warm(self) -> None:
        """Says that the model is loaded and warm."""
        self._memory[_WARM] = 1

    def begin(self, slot: int, keys: Sequence[int]) -> None:
        """Notes the inputs that begin to run together."""
        memory = self._memory
        for place, key in enumerate(keys, slot + 1):
            memory[place] = key
        memory[slot] = len(keys)

    def end(self, slot: int) -> None:
        """Their run has ended, one way or the other."""
        self._memory[slot] = 0

    def take(self) -> list[int]:
        """The inputs that ran when the process ended; empties the record for the next one."""
        memory = self._memory
        running = [key for slot in (INLINE, LANE) for key in memory[slot + 1 : slot + 1 + memory[slot]]]
        for slot in (_WARM, INLINE, LANE):
            memory[slot] = 0
        return running


class Suspects:
    """Inputs that ran when a process crashed.

    One that ran alone is refused from then on. Of several, each is refused when it is found a second time: all but one
    of them are somebody else's, and must not pay for good. Until then each runs alone, so that the next crash tells.
    So it is with one that ran alone when the process was killed from outside, where the kernel may have wanted memory
    for somebody else, or a person pressed the key.
    """

    def __init__(self) -> None:
        self._points: Counter[int] = Counter()

    def blame(self, running: Iterable[int], *, killed: bool = False) -> None:
        """Counts a crash against the inputs that ran.

        Args:
            killed: the process ended by SIGKILL, which no code of its own sends.
        """
        keys = set(running)
        for key in keys:
            self._points[key] += _REFUSED if len(keys) == 1 and not killed else 1
        while len(self._points) > _MOST:
            del self._points[next(iter(self._points))]

    def refused(self) -> frozenset[int]:
        """The inputs that are not run again."""
        return frozenset(key for key, points in self._points.items() if points >= _REFUSED)

    def suspected(self) -> frozenset[int]:
        """The inputs that are run alone."""
        return frozenset(key for key, points in self._points.items() if points < _REFUSED)


def key_of(feeds: Mapping[str, Array]) -> int:
    """A number of 64 bits, never 0, for an input's names, types, shapes and values; the same after a fork.

    Python's hash of bytes is keyed by a secret, so nobody can make an input that passes for another's.
    """
    key = 0
    for name, values in feeds.items():
        content = values.tobytes() if not values.dtype.hasobject else tuple(values.ravel().tolist())
        key = hash((key, name, values.dtype.char, values.shape, content))
    return key & _MASK or 1
