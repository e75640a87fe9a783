"""Long work waits its turn in a bounded queue; what cannot be done in time is refused."""

from __future__ import annotations

import asyncio
import threading

import pytest

from millrace_services.inference.lane import Lane
from millrace_services.web.errors import DeadlineError, OverloadedError
from millrace_services.web.hot import ClientGoneError


class Gate:
    """Work that lasts until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.done: list[int] = []

    def work(self, number: int):
        def run() -> int:
            assert self.opened.wait(60)
            self.done.append(number)
            return number

        return run


async def present() -> bool:
    return False


async def absent() -> bool:
    return True


def lane(shed: list[int], **options) -> Lane:
    options = {"max_waiting": 2, "timeout": 10, **options}
    return Lane(**options, queue_seconds=lambda _: None, shed=lambda: shed.append(1))


async def test_work_is_done_in_order_of_arrival_and_one_more_than_may_wait_is_shed():
    gate, shed = Gate(), []
    way = lane(shed)
    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(way.run(gate.work(number), present)))
        await asyncio.sleep(0.01)
    assert way.waiting == 2
    with pytest.raises(OverloadedError, match="2 requests are waiting"):
        await way.run(gate.work(3), present)
    assert shed == [1]
    gate.opened.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2]
    assert gate.done == [0, 1, 2]
    way.close()


async def test_work_whose_turn_does_not_come_in_time_is_refused_and_the_next_still_runs():
    gate = Gate()
    way = lane([], timeout=0.05)
    first = asyncio.create_task(way.run(gate.work(0), present))
    await asyncio.sleep(0.01)
    with pytest.raises(DeadlineError, match=r"no free turn within 0\.05 s"):
        await way.run(gate.work(1), present)
    gate.opened.set()
    assert await first == 0
    assert await way.run(gate.work(2), present) == 2
    assert gate.done == [0, 2]
    way.close()


async def test_work_of_a_client_that_went_away_is_dropped_and_frees_its_turn():
    gate = Gate()
    gate.opened.set()
    way = lane([])
    with pytest.raises(ClientGoneError):
        await way.run(gate.work(0), absent)
    assert await way.run(gate.work(1), present) == 1
    assert gate.done == [1]
    way.close()


async def test_failed_work_frees_its_turn():
    way = lane([])

    def fail() -> None:
        raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        await way.run(fail, present)
    assert await way.run(lambda: 5, present) == 5
    way.close()


async def test_a_caller_that_is_cancelled_at_any_moment_frees_its_turn():
    way = lane([])
    gate = Gate()

    async def undecided() -> bool:
        await asyncio.sleep(30)
        return False

    undecided_task = asyncio.create_task(way.run(gate.work(0), undecided))  # it has the turn
    waiting = asyncio.create_task(way.run(gate.work(1), present))  # it waits for the turn
    await asyncio.sleep(0.01)
    working = asyncio.create_task(way.run(gate.work(2), present))
    for task in (waiting, undecided_task):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.01)
    working.cancel()  # in the thread
    gate.opened.set()
    async with asyncio.timeout(5):
        assert await way.run(gate.work(3), present) == 3
    assert gate.done == [2, 3]
    way.close()
