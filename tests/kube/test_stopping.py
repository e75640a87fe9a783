"""Ending what would run for ever."""

from __future__ import annotations

import asyncio

import pytest

from millrace_kube.stopping import until


async def test_work_has_ended_also_where_a_cancel_comes_while_it_ends() -> None:
    ending, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await may_end.wait()
            ended.set()

    stop = asyncio.Event()
    running = asyncio.create_task(until(stop, work()))
    await asyncio.sleep(0)
    stop.set()
    await ending.wait()
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
