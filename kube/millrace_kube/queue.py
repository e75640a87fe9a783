"""The work queue: keys that wait for a reconcile, each at most once in the queue and at most once at work.

Keys of different controllers take turns, so that a flood of one kind does not keep the others waiting. A failed key
comes back after a delay that doubles; a key that asks to come back at a certain time does, unless something changes
first.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from millrace_kube.uncounted import UNCOUNTED

if TYPE_CHECKING:
    from millrace_kube.metrics import KubeMetrics

# Timers stand still while a laptop sleeps, so what waits for a time of day looks at the clock this often.
_LONGEST_TIMER: Final = 30.0


@dataclass(frozen=True, order=True)
class Key:
    """What a reconcile is about: a controller's name and an object's place."""

    controller: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.controller} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Requeue:
    """A reconcile asks to run again after so many seconds, though nothing changes before."""

    after: float


class WorkQueue:
    """Must be used inside one running event loop.

    Args:
        clock: the time of day in seconds; what comes back later is due by it.
    """

    def __init__(self, metrics: KubeMetrics | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._metrics: KubeMetrics = metrics or UNCOUNTED
        self._clock = clock
        self._turns: dict[str, deque[Key]] = {}
        self._queued: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._wakeup = asyncio.Event()

    def add(self, key: Key) -> None:
        """Has ``key`` reconciled soon. While it is at work, another turn follows."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._turns.setdefault(key.controller, deque()).append(key)
            self._wakeup.set()
        self._measure()

    def add_after(self, key: Key, seconds: float) -> None:
        """Has ``key`` reconciled after ``seconds``; the earliest request counts."""
        due = self._clock() + max(seconds, 0.0)
        if due < self._due.get(key, math.inf):
            self._due[key] = due
            self._arm(key)
        self._measure()

    async def take(self) -> Key:
        """Waits for a key, and hands it out until ``done``. Its timer is void: the reconcile decides anew."""
        while not self._queued:
            self._wakeup.clear()
            await self._wakeup.wait()
        controller = next(name for name, keys in self._turns.items() if keys)
        keys = self._turns.pop(controller)
        key = keys.popleft()
        self._turns[controller] = keys  # to the end: the other controllers go first next time
        self._queued.remove(key)
        self._running.add(key)
        self._cancel(key)
        self._measure()
        return key

    def done(self, key: Key) -> None:
        """The reconcile of ``key`` is over."""
        self._running.discard(key)
        if key in self._again:
            self._again.remove(key)
            self.add(key)

    @property
    def idle(self) -> bool:
        """Whether no key waits for a worker and none is at work (timers aside)."""
        return not self._queued and not self._running

    def close(self) -> None:
        """Voids all timers."""
        for key in list(self._due):
            self._cancel(key)

    def _arm(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        left = self._due[key] - self._clock()
        if left > 0:
            self._timers[key] = asyncio.get_running_loop().call_later(min(left, _LONGEST_TIMER), self._arm, key)
        else:
            del self._due[key]
            self.add(key)

    def _cancel(self, key: Key) -> None:
        self._due.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def _measure(self) -> None:
        self._metrics.depth.set(len(self._queued))
        self._metrics.delayed.set(len(self._due))
