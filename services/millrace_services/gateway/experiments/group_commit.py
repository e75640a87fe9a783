"""Records of many requests written at once: while one write goes on, the next gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 5000
# Written, and not yet told to the store.
_MOST_APPLYING = 4

Applied = asyncio.Future[list[int]]


class GroupCommit(Generic[T]):
    """Writes records to a log, then tells the store of them.

    Args:
        write: blocks until the records are on disk; gives what ``apply`` needs to know of it.
        apply: tells the store; one number per record. It does not raise.
    """

    def __init__(
        self, write: Callable[[Sequence[T]], int], apply: Callable[[Sequence[T], int], Awaitable[list[int]]]
    ) -> None:
        self._write = write
        self._apply = apply
        self._waiting: list[tuple[Sequence[T], asyncio.Future[Applied]]] = []
        self._working: asyncio.Task[None] | None = None
        self._applying: set[asyncio.Task[None]] = set()

    async def add(self, records: Sequence[T]) -> Applied:
        """Returns once the records are on disk, with a future of what the store says to each.

        Raises:
            RetryError: they could not be written.
        """
        loop = asyncio.get_running_loop()
        written: asyncio.Future[Applied] = loop.create_future()
        self._waiting.append((records, written))
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._work())
        return await written

    async def drain(self) -> None:
        """Waits until nothing is under way."""
        while self._working is not None and not self._working.done():
            await asyncio.wait({self._working})
        if self._applying:
            await asyncio.wait(self._applying)

    async def _work(self) -> None:
        while self._waiting:
            taken, size = 0, 0
            for records, _ in self._waiting:
                if taken and size + len(records) > _MOST:
                    break
                taken, size = taken + 1, size + len(records)
            batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
            together = [record for records, _ in batch for record in records]
            try:
                token = await asyncio.to_thread(self._write, together)
            except Exception as error:  # each of those who wait is told
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
                continue
            self._begin_applying(batch, together, token)
            if len(self._applying) >= _MOST_APPLYING:
                await asyncio.wait(self._applying, return_when=asyncio.FIRST_COMPLETED)

    def _begin_applying(
        self, batch: Sequence[tuple[Sequence[T], asyncio.Future[Applied]]], together: Sequence[T], token: int
    ) -> None:
        loop = asyncio.get_running_loop()
        futures: list[Applied] = []
        for _, written in batch:
            applied: Applied = loop.create_future()
            futures.append(applied)
            if not written.done():  # its client may be gone
                written.set_result(applied)

        async def apply() -> None:
            try:
                answers = await self._apply(together, token)
            except BaseException as error:
                for applied in futures:
                    if not applied.done():
                        applied.set_exception(error if isinstance(error, Exception) else RuntimeError("the end"))
                        applied.exception()  # not everybody waits for it
                raise
            start = 0
            for (records, _), applied in zip(batch, futures, strict=True):
                if not applied.done():
                    applied.set_result(answers[start : start + len(records)])
                start += len(records)

        task = loop.create_task(apply())
        self._applying.add(task)
        task.add_done_callback(self._applying.discard)
