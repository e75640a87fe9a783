"""The thread in which runs are made that are not short.

One is enough: a run already uses all processors that the pod may use, and a GPU computes more than the loop can read of
JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from millrace_core.base.errors import RetryError
from millrace_services.web.errors import DeadlineError
from millrace_services.web.hot import ClientGoneError

# How often is asked whether those who wait for the run at work are still there.
LOOK_SECONDS: Final = 0.25
# How long a run may go on after it was told to stop; a single operator cannot be stopped.
STOP_SECONDS: Final = 10.0

T = TypeVar("T")
StopReason = RetryError | ClientGoneError


class Lane:
    """One run at a time, each of which can be stopped.

    Args:
        run_timeout: seconds that a run may take.
        hung: called when one goes on ``STOP_SECONDS`` after it was told to stop.
    """

    def __init__(self, *, run_timeout: float, hung: Callable[[], Any]) -> None:
        self._run_timeout = run_timeout
        self._hung = hung
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def run(
        self,
        work: Callable[[], T],
        gone: Callable[[], Awaitable[bool]],
        stop: Callable[[], Any],
        stopped: Callable[[StopReason], Any],
    ) -> T | None:
        """Does ``work`` in the thread, and returns when the thread is free again.

        Args:
            gone: whether nobody waits for it any more.
            stop: asks the work to end, from another thread.
            stopped: told why, as soon as it was asked to.

        Returns:
            What the work returns; None where it was stopped.

        Raises:
            BaseException: what the work raises, unless it was stopped.
        """
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        reason = await self._reason_to_stop(running, gone)
        if reason is None:
            return running.result()
        stop()
        stopped(reason)
        if not (await asyncio.wait({running}, timeout=STOP_SECONDS))[0]:
            self._hung()
            await asyncio.wait({running})
        running.exception()  # it counts as seen
        return None

    async def _reason_to_stop(
        self, running: asyncio.Future[Any], gone: Callable[[], Awaitable[bool]]
    ) -> StopReason | None:
        """Waits for the end of the work, for as long as that is worth it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._run_timeout
        while True:
            left = max(0.0, until - loop.time())
            if (await asyncio.wait({running}, timeout=min(LOOK_SECONDS, left)))[0]:
                return None
            if loop.time() >= until:
                return DeadlineError(
                    f"the model took longer than {self._run_timeout:g} s", hint="Send less at once", delay=1
                )
            if await gone():
                return ClientGoneError()

    def close(self) -> None:
        """Ends the thread once it is idle, without waiting for that."""
        self._thread.shutdown(wait=False, cancel_futures=True)
