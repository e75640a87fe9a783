"""How loaded a server is, in means over time: what is read at one moment misses what the event loop just did.

A scrape is answered between two requests, so a server that computes on its loop would always see itself idle.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final

_LEAST_SECONDS: Final = 1.0
_READINGS: Final = 64


class Presence:
    """The seconds that all who came have stayed, those who are still there included; for one thread."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.count = 0
        self._clock = clock
        self._begins = 0.0
        self._seconds = 0.0

    def enter(self, at: float) -> None:
        """One came, at a moment of the clock."""
        self.count += 1
        self._begins += at

    def leave(self, at: float, now: float) -> None:
        """The one that came at ``at`` goes."""
        self.count -= 1
        self._seconds += now - at
        self._begins = self._begins - at if self.count else 0.0

    def seconds(self) -> float:
        """Their sum so far. By Little's law its growth per second is how many were there on average."""
        return self._seconds + self.count * self._clock() - self._begins


class Mean:
    """How fast a total grows per second: since the last reading that is a second old, or since the start."""

    def __init__(self, total: Callable[[], float], clock: Callable[[], float] = perf_counter) -> None:
        self._total = total
        self._clock = clock
        self._readings = deque([(clock(), total())])

    def __call__(self) -> float:
        """The mean."""
        now, total = self._clock(), self._total()
        readings = self._readings
        while len(readings) > 1 and now - readings[1][0] >= _LEAST_SECONDS:
            readings.popleft()
        began, before = readings[0]
        if now - readings[-1][0] >= _LEAST_SECONDS / _READINGS * 2:
            readings.append((now, total))
        return max(0.0, (total - before) / (now - began)) if now > began else 0.0


def thread_seconds() -> Callable[[], float]:
    """A clock of how long the calling thread has computed or wanted to: what others take from it counts."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def read() -> float:
        computed, waited, *_ = path.read_text().split()
        return (int(computed) + int(waited)) / 1e9

    return read
