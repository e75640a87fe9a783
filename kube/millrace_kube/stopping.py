"""Ending what would run for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs ``work`` until it is done, ``stop`` is set or this call is cancelled, perhaps twice; then it has ended.

    Raises: what ``work`` raises.
    """
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        stopping.cancel()
        await ended(working, stopping)
    if not working.cancelled():
        working.result()


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Waits for tasks that end soon; a cancel that comes meanwhile would leave them to nobody, so it waits."""
    again: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            again = error
    if again is not None:
        raise again
