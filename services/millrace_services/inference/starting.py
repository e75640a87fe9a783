"""The start of a model, which native code may never finish: loading, then the first runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from millrace_core.base.errors import ReportError

T = TypeVar("T")


async def started(start: Callable[[Callable[[str], None]], T], seconds: float) -> T:
    """Runs ``start`` in a thread of its own, which ends with the process where it does not end by itself.

    Args:
        start: is given what it calls with the name of each step that it begins.
        seconds: that each step may take.

    Raises:
        ReportError: a step took longer (``StartHung``).
        Exception: what ``start`` raises.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    step, began = "its start", monotonic()

    def begin(name: str) -> None:
        nonlocal step, began
        step, began = name, monotonic()

    def work() -> None:
        try:
            answer: Any = start(begin)
        except BaseException as error:
            _tell(loop, ended, ended.set_exception, error)
        else:
            _tell(loop, ended, ended.set_result, answer)

    threading.Thread(target=work, name="start", daemon=True).start()
    while not ended.done():
        left = began + seconds - monotonic()
        if left <= 0:
            raise ReportError(
                f"the model did not finish {step}, within {seconds:g} s",
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
