"""Works one queue: takes keys, reconciles them, and has those that failed again after a growing delay."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Final

from millrace_core.base import retry
from millrace_core.base.errors import MillraceError, RetryError
from millrace_kube import errors
from millrace_kube.queue import Key, Requeue, WorkQueue
from millrace_kube.uncounted import UNCOUNTED

if TYPE_CHECKING:
    from millrace_kube.metrics import KubeMetrics

_log = logging.getLogger(__name__)

# A delay beyond this would outlast the outage that caused it.
LONGEST_DELAY: Final = 30.0

Reconcile = Callable[[Key], Awaitable[Requeue | None]]


class Loop:
    """The workers of one queue.

    Args:
        reconciles: by the controller's name, what brings one object to what its spec says; idempotent; may raise, and
            is then called again.
        workers: reconciles at work at once.
        clock: see ``WorkQueue``.
        may_begin: whether a reconcile of this key may begin. One that may not is set aside, and no worker waits for it.
    """

    def __init__(
        self,
        reconciles: Mapping[str, Reconcile],
        *,
        workers: int,
        metrics: KubeMetrics | None = None,
        random: Random | None = None,
        clock: Callable[[], float] = time.time,
        may_begin: Callable[[Key], bool] = lambda _: True,
    ) -> None:
        self._reconciles = reconciles
        self._may_begin = may_begin
        self._aside: set[Key] = set()
        self._workers = workers
        self._metrics: KubeMetrics = metrics or UNCOUNTED
        self._random = random or Random()  # noqa: S311 jitter, no secret
        self._failures: dict[Key, int] = {}
        self.queue = WorkQueue(self._metrics, clock=clock)

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            self.queue.close()

    def resume(self) -> None:
        """Has what was set aside looked at again: more may begin now."""
        aside, self._aside = self._aside, set()
        for key in aside:
            self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """One turn of one key, and when its next one is."""
        started = time.perf_counter()
        try:
            requeue = await self._reconciles[key.controller](key)
        except Exception as error:
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            self._metrics.reconciles.labels(key.controller, "requeue" if requeue else "ok").inc()
            if requeue is not None:
                self.queue.add_after(key, requeue.after)
        self._metrics.seconds.labels(key.controller).observe(time.perf_counter() - started)

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                if self._may_begin(key):
                    await self.reconcile(key)
                else:
                    self._aside.add(key)
            finally:
                self.queue.done(key)

    def _failed(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        known = isinstance(error, MillraceError)
        self._metrics.reconciles.labels(key.controller, "retry" if known else "error").inc()
        delay = retry.delay(failures, longest=LONGEST_DELAY, random=self._random)
        if isinstance(error, (RetryError, errors.ApiError)):
            delay = max(delay, error.delay)
        if retry.is_told(failures):
            level = logging.INFO if isinstance(error, errors.ConflictError) else logging.WARNING
            _log.log(level, "%s: %s; try %d follows in %.1f s", key, error, failures + 1, delay, exc_info=not known)
        self.queue.add_after(key, delay)
