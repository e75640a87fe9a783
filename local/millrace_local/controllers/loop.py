"""Runs a controller: a queue of keys, planned one at a time each, retried with a growing delay."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from millrace_kube.errors import ApiError, ConflictError
from millrace_local.client.informer import Informers
from millrace_local.controllers.actions import Hands, Plan

log = logging.getLogger(__name__)

FIRST_RETRY = 0.05
LONGEST_RETRY = 60.0
# Timers stand still while a laptop sleeps, so what waits for a time of day looks at the clock this often.
LONGEST_TIMER = 30.0


class Controller(Protocol):
    """One kind's rules.

    Attributes:
        name: for logs.
        workers: how many keys may be worked on at once.
    """

    name: str
    workers: int

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """Subscribes to what matters; ``touch(key)`` makes a key be planned soon."""

    def plan(self, key: str, now: datetime) -> Plan:
        """Decides from the informers' present items alone."""


class Queue:
    """Keys waiting for work: each once, never two workers on one key, some only after a while."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._working: set[str] = set()
        self._touched_while_working: set[str] = set()
        self._due: dict[str, datetime] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    def touch(self, key: str) -> None:
        """Makes ``key`` ready now."""
        self._due.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._working:
            self._touched_while_working.add(key)
        else:
            self._ready[key] = None
            self._filled.set()

    def touch_after(self, key: str, seconds: float) -> None:
        """Makes ``key`` ready after ``seconds`` by the wall clock, unless something does so sooner."""
        due = self._now() + timedelta(seconds=seconds)
        if key in self._ready or (key in self._due and self._due[key] <= due):
            return
        self._due[key] = due
        self._arm(key)

    def _arm(self, key: str) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        left = (self._due[key] - self._now()).total_seconds()
        if left <= 0:
            self.touch(key)
        else:
            wait = min(left, LONGEST_TIMER)
            self._timers[key] = asyncio.get_running_loop().call_later(wait, self._arm, key)

    async def take(self) -> str:
        """Waits for the next key and marks it as worked on."""
        while not self._ready:
            self._filled.clear()
            await self._filled.wait()
        key, _ = self._ready.popitem(last=False)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """Gives ``key`` back after work; what touched it meanwhile makes it ready again."""
        self._working.discard(key)
        if key in self._touched_while_working:
            self._touched_while_working.discard(key)
            self.touch(key)


class Loop:
    """One controller at work."""

    def __init__(self, controller: Controller, hands: Hands, *, now: Callable[[], datetime]) -> None:
        self._controller = controller
        self._hands = hands
        self._now = now
        self._queue = Queue(now)
        self._failures: dict[str, int] = {}

    def wire(self, informers: Informers) -> None:
        """Subscribes the controller; before the informers run."""
        self._controller.wire(informers, self._queue.touch)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set; a write under way is finished or dropped whole, as the server takes it."""
        workers = [asyncio.create_task(self._work()) for _ in range(self._controller.workers)]
        try:
            await stop.wait()
        finally:
            for worker in workers:
                worker.cancel()
            for worker in workers:
                with suppress(asyncio.CancelledError):
                    await worker

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                plan = self._controller.plan(key, self._now())
                await self._hands.perform(plan.actions)
            except Exception as error:
                self._retry(key, error)
            else:
                self._failures.pop(key, None)
                if plan.again is not None:
                    self._queue.touch_after(key, plan.again)
            finally:
                self._queue.done(key)

    def _retry(self, key: str, error: Exception) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(FIRST_RETRY * 2**count, LONGEST_RETRY)
        if isinstance(error, ApiError):
            delay = max(delay, error.delay)
        if not (isinstance(error, ConflictError)):
            # Where it happened is worth saying once, and only for what nobody thought of.
            trace = error if count == 0 and not isinstance(error, ApiError) else None
            log.warning("%s %s: %r; next try in %.1f s", self._controller.name, key, error, delay, exc_info=trace)
        self._queue.touch_after(key, delay)
