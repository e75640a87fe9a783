"""How a prediction gets its turn: inline where it is short, else in a bounded queue before one worker thread.

A hand-over to a thread and back costs 50 to 100 microseconds, many times what a small model takes; but what runs on
the event loop keeps health checks and every other request waiting. So work that should end within ``INLINE_SECONDS``
runs inline: even a thousand connections at once, the most that a proxy opens by default, then wait no longer than the
queue's own timeout. One thread is enough: a run already uses all processors that the pod may use, and a GPU computes
more than the loop can read of JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final, TypeVar

from millrace_services.web.errors import DeadlineError, OverloadedError
from millrace_services.web.hot import ClientGoneError

INLINE_SECONDS: Final = 0.001

T = TypeVar("T")


class Lane:
    """The way to the model.

    Args:
        max_waiting: requests that may wait; one more is shed (429).
        timeout: seconds that a request may wait (504).
        queue_seconds: called with the seconds that each request waited.
        shed: called for each request refused.
    """

    def __init__(
        self, *, max_waiting: int, timeout: float, queue_seconds: Callable[[float], None], shed: Callable[[], None]
    ) -> None:
        self.waiting = 0
        self._shed = shed
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._queue_seconds = queue_seconds
        self._free = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def run(self, work: Callable[[], T], gone: Callable[[], Awaitable[bool]]) -> T:
        """Runs ``work`` in the thread when its turn has come.

        Raises:
            OverloadedError: too many wait already.
            DeadlineError: its turn did not come in time.
            ClientGoneError: ``gone`` says that nobody waits for it any more.
        """
        if self.waiting >= self._max_waiting:
            self._shed()
            raise OverloadedError(
                f"{self.waiting} requests are waiting, the most this server lets wait",
                hint="Try again, or add replicas",
                delay=1,
            )
        await self._turn(gone)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._free.release()

    async def _turn(self, gone: Callable[[], Awaitable[bool]]) -> None:
        began = perf_counter()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError:
            raise DeadlineError(
                f"no free turn within {self._timeout:g} s", hint="Try again, or add replicas", delay=1
            ) from None
        finally:
            self.waiting -= 1
        self._queue_seconds(perf_counter() - began)
        left = True  # also where the caller is cancelled while it asks
        try:
            left = await gone()
        finally:
            if left:
                self._free.release()
        if left:
            raise ClientGoneError

    def close(self) -> None:
        """Ends the thread once it is idle."""
        self._thread.shutdown(wait=True)
