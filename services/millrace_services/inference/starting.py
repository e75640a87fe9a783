"""The start of a model, which native code may never finish: loading, then the first runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from millrace_core.base.errors import ReportError

T = TypeVar("T")


class Steps:
    """Which step of its start a model is in, and for how long.

    Args:
        seconds: that each step may take.
        clock: seconds, as ``time.monotonic`` has them.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self.seconds = seconds
        self.name = "its start"
        self._clock = clock
        self._began = clock()

    def begin(self, name: str) -> None:
        """The next step begins."""
        self.name, self._began = name, self._clock()

    @property
    def left(self) -> float:
        """Seconds that the present step still may take."""
        return self._began + self.seconds - self._clock()

    def __str__(self) -> str:
        return f"{self.name} (for {self._clock() - self._began:.0f} s, of {self.seconds:g} s at most)"


async def started(start: Callable[[Callable[[str], None]], T], steps: Steps) -> T:
    """Runs ``start`` in a thread of its own, which ends with the process where it does not end by itself.

    Args:
        start: is given what it calls with the name of each step that it begins.
        steps: is told each step.

    Raises:
        ReportError: a step took longer (``StartHung``).
        Exception: what ``start`` raises.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            answer: Any = start(steps.begin)
        except BaseException as error:
            _tell(loop, ended, ended.set_exception, error)
        else:
            _tell(loop, ended, ended.set_result, answer)

    threading.Thread(target=work, name="start", daemon=True).start()
    while not ended.done():
        left = steps.left
        if left <= 0:
            raise ReportError(
                f"the model did not finish {steps.name}, within {steps.seconds:g} s",
                hint="See that it ends for inputs of zeros; MILLRACE_START_TIMEOUT is how long a step may take",
                reason="StartHung",
            )
        await asyncio.wait({ended}, timeout=left)
    return ended.result()


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[T], tell: Callable[[Any], None], what: Any) -> None:
    def once() -> None:
        if not ended.done():
            tell(what)

    if not loop.is_closed():
        loop.call_soon_threadsafe(once)
