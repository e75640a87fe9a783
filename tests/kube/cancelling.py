"""Cancels a coroutine at each place where it waits, one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any


class _CancelledAt:
    """Awaits ``work``, and cancels the current task as it waits for the ``place``-th time."""

    def __init__(self, work: Coroutine[Any, Any, Any], place: int) -> None:
        self.work = work
        self.place = place

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.work.__await__()
        error: BaseException | None = None
        while True:
            try:
                waits_for = steps.throw(error) if error else steps.send(None)
            except StopIteration as end:
                return end.value
            self.place -= 1
            if self.place == 0:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waits_for
                error = None
            except BaseException as thrown:
                error = thrown


async def everywhere(make: Callable[[], Coroutine[Any, Any, Any]], *, at_most: int = 60) -> AsyncIterator[int]:
    """Runs ``make()`` again and again, cancelled where it waits first, second, …, until it comes to its end uncut.

    Yields after each run, for what must be true then.
    """
    for place in range(1, at_most + 1):

        async def cut(place: int = place) -> None:
            await _CancelledAt(make(), place)

        task = asyncio.create_task(cut())
        await asyncio.wait([task])
        yield place
        if not task.cancelled():
            task.result()
            return
