"""Stops queries that run longer than they may.

One thread looks every so often at what runs. What is surely short (``LIGHT_STEPS``) need not be watched. DuckDB looks
for an interruption between vectors: ``program`` sees to it that one of them does not take long.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Any, Final, TypeVar

# For reads, and for a batch of a run or of a training set.
READ_SECONDS: Final = 1.0
BATCH_SECONDS: Final = 120.0
# Steps (``growth``) that are surely done within a few milliseconds: they need neither a watch nor a thread.
LIGHT_STEPS: Final = 2**19
_LOOKS_WITHOUT_WORK: Final = 50

_T = TypeVar("_T")


class TimeLimit:
    """A watch over queries of any threads.

    Args:
        clock: seconds, as ``time.monotonic`` has them.
        every: seconds between two looks.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, every: float = 0.1) -> None:
        self._clock = clock
        self._every = every
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._ended = threading.Event()
        self._running: dict[int, Watched] = {}
        self._thread: threading.Thread | None = None

    def over(self, connection: Any, seconds: float) -> Watched:
        """Interrupts the connection as long as the body runs on beyond these seconds; it raises DuckDB's
        ``InterruptException`` then. Nothing is interrupted after the body."""
        return Watched(self, connection, seconds)

    def _begin(self, watched: Watched) -> None:
        with self._lock:
            watched.until = self._clock() + watched.seconds
            self._running[id(watched)] = watched
        if not self._work.is_set():
            self._wake()

    def _leave(self, watched: Watched) -> None:
        with self._lock:
            del self._running[id(watched)]

    def _wake(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="expression-time-limit", daemon=True)
                self._thread.start()
                # A thread that is still there when Python ends keeps connections alive, of which DuckDB complains.
                atexit.register(self._end)
        self._work.set()

    def _end(self) -> None:
        with self._lock:
            self._ended.set()
            self._work.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        idle = 0
        while self._work.wait() and not self._ended.wait(self._every):
            with self._lock:
                now = self._clock()
                for watched in self._running.values():
                    # Again at each look: what comes before a query has begun does not count.
                    if now > watched.until:
                        watched.interrupted = True
                        watched.connection.interrupt()
                idle = 0 if self._running else idle + 1
                if idle > _LOOKS_WITHOUT_WORK and not self._ended.is_set():
                    idle = 0
                    self._work.clear()


class Watched:
    """The body of a ``with`` while it is watched; a generator would take small reads several times as long.

    Attributes:
        interrupted: whether the connection was. A query that goes on after the body, as one that streams does, may
            still end of it.
    """

    __slots__ = ("_limit", "connection", "interrupted", "seconds", "until")

    def __init__(self, limit: TimeLimit, connection: Any, seconds: float) -> None:
        self._limit = limit
        self.connection = connection
        self.seconds = seconds
        self.until = inf
        self.interrupted = False

    def __enter__(self) -> Watched:
        self._limit._begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._limit._leave(self)

    def each(self, given: Iterable[_T], last: float) -> Iterator[_T]:
        """Hands on what a query reads, each with the time of its own; to wait for the next one costs none.

        Args:
            last: seconds that the query has once all of it came.
        """
        source = iter(given)
        while True:
            self.until = inf
            try:
                found = next(source)
            except StopIteration:
                break
            self.until = self._limit._clock() + self.seconds
            yield found
        self.until = self._limit._clock() + last


LIMIT: Final = TimeLimit()
