"""How a prediction that is not short gets its turn: in a bounded queue before one worker thread.

One thread is enough: a run already uses all processors that the pod may use, and a GPU computes more than the loop can
read of JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, Final, TypeVar

from millrace_services.web.errors import DeadlineError, OverloadedError
from millrace_services.web.hot import ClientGoneError
from millrace_services.web.load import Presence

# How often is asked whether the client of the work at work is still there.
_LOOK_SECONDS: Final = 0.25
# How long a run may go on after it was told to stop; a single operator cannot be stopped.
STOP_SECONDS: Final = 10.0

T = TypeVar("T")


class Lane:
    """The way to the model.

    Args:
        max_waiting: requests that may wait; one more is shed (429).
        timeout: seconds that a request may wait (504).
        run_timeout: seconds that its work may take (504).
        queue_seconds: called with the seconds that each request waited.
        shed: called for each request refused.
        hung: called when work goes on ``STOP_SECONDS`` after it was told to stop.
    """

    def __init__(
        self,
        *,
        max_waiting: int,
        timeout: float,
        run_timeout: float,
        queue_seconds: Callable[[float], None],
        shed: Callable[[], None],
        hung: Callable[[], Any],
    ) -> None:
        self.queue = Presence()
        self._shed = shed
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._run_timeout = run_timeout
        self._queue_seconds = queue_seconds
        self._hung = hung
        self._free = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def run(
        self,
        work: Callable[[], T],
        gone: Callable[[], Awaitable[bool]],
        stop: Callable[[], Any],
        if_short: Callable[[], T | None],
    ) -> T:
        """Runs ``work`` in the thread when its turn has come.

        Args:
            gone: whether its client has gone away.
            stop: asks the work to end, from another thread.
            if_short: does the work on the event loop once its turn has come, if it is known to be short by then.

        Raises:
            OverloadedError: too many wait already.
            DeadlineError: its turn did not come in time, or it took too long.
            ClientGoneError: nobody waits for it any more.
        """
        if self.queue.count >= self._max_waiting:
            self._shed()
            raise OverloadedError(
                f"{self.queue.count} requests are waiting, the most this server lets wait",
                hint="Try again, or add replicas",
                delay=1,
            )
        await self._turn(gone)
        try:
            done = if_short()
        except BaseException:
            self._free.release()
            raise
        if done is not None:
            self._free.release()
            return done
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        running.add_done_callback(self._ended)
        try:
            await self._end(running, gone)
        finally:
            if not running.done():
                stop()
                asyncio.get_running_loop().call_later(STOP_SECONDS, self._look, running)
        return running.result()

    async def _turn(self, gone: Callable[[], Awaitable[bool]]) -> None:
        began = perf_counter()
        self.queue.enter(began)
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError:
            raise DeadlineError(
                f"no free turn within {self._timeout:g} s", hint="Try again, or add replicas", delay=1
            ) from None
        finally:
            now = perf_counter()
            self.queue.leave(began, now)
        self._queue_seconds(now - began)
        left = True  # also where the caller is cancelled while it asks
        try:
            left = await gone()
        finally:
            if left:
                self._free.release()
        if left:
            raise ClientGoneError

    async def _end(self, running: asyncio.Future[Any], gone: Callable[[], Awaitable[bool]]) -> None:
        """Waits for the end of the work, for as long as that is worth it."""
        until = perf_counter() + self._run_timeout
        # wait() leaves the work alone where the caller is cancelled: the turn is free when the thread is.
        while not (await asyncio.wait({running}, timeout=min(_LOOK_SECONDS, max(0.0, until - perf_counter()))))[0]:
            if perf_counter() >= until:
                raise DeadlineError(
                    f"the model took longer than {self._run_timeout:g} s", hint="Send less at once", delay=1
                )
            if await gone():
                raise ClientGoneError

    def _ended(self, running: asyncio.Future[Any]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()  # it counts as seen where nobody waits for it any more

    def _look(self, running: asyncio.Future[Any]) -> None:
        if not running.done():
            self._hung()

    def close(self) -> None:
        """Ends the thread once it is idle, without waiting for that."""
        self._thread.shutdown(wait=False, cancel_futures=True)
