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
    options = {"max_waiting": 2, "timeout": 10, "run_timeout": 60, "hung": lambda: None, **options}
    return Lane(**options, queue_seconds=lambda _: None, shed=lambda: shed.append(1))


def unknown() -> None:
    """Nobody knows whether the work is short."""


def unstopped() -> None:
    raise AssertionError("the work was stopped")


async def test_work_is_done_in_order_of_arrival_and_one_more_than_may_wait_is_shed():
    gate, shed = Gate(), []
    way = lane(shed)
    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(way.run(gate.work(number), present, unstopped, unknown)))
        await asyncio.sleep(0.01)
    assert way.queue.count == 2
    with pytest.raises(OverloadedError, match="2 requests are waiting"):
        await way.run(gate.work(3), present, unstopped, unknown)
    assert shed == [1]
    gate.opened.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2]
    assert gate.done == [0, 1, 2]
    way.close()


async def test_work_whose_turn_does_not_come_in_time_is_refused_and_the_next_still_runs():
    gate = Gate()
    way = lane([], timeout=0.05)
    first = asyncio.create_task(way.run(gate.work(0), present, unstopped, unknown))
    await asyncio.sleep(0.01)
    with pytest.raises(DeadlineError, match=r"no free turn within 0\.05 s"):
        await way.run(gate.work(1), present, unstopped, unknown)
    gate.opened.set()
    assert await first == 0
    assert await way.run(gate.work(2), present, unstopped, unknown) == 2
    assert gate.done == [0, 2]
    way.close()


async def test_work_of_a_client_that_went_away_is_dropped_and_frees_its_turn():
    gate = Gate()
    gate.opened.set()
    way = lane([])
    with pytest.raises(ClientGoneError):
        await way.run(gate.work(0), absent, unstopped, unknown)
    assert await way.run(gate.work(1), present, unstopped, unknown) == 1
    assert gate.done == [1]
    way.close()


async def test_failed_work_frees_its_turn():
    way = lane([])

    def fail() -> None:
        raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        await way.run(fail, present, unstopped, unknown)
    assert await way.run(lambda: 5, present, unstopped, unknown) == 5
    way.close()


async def test_a_caller_that_is_cancelled_at_any_moment_frees_its_turn():
    way = lane([])
    gate = Gate()

    async def undecided() -> bool:
        await asyncio.sleep(30)
        return False

    undecided_task = asyncio.create_task(way.run(gate.work(0), undecided, unstopped, unknown))  # it has the turn
    waiting = asyncio.create_task(way.run(gate.work(1), present, unstopped, unknown))  # it waits for the turn
    await asyncio.sleep(0.01)
    stopped: list[bool] = []
    working = asyncio.create_task(way.run(gate.work(2), present, lambda: stopped.append(True), unknown))
    for task in (waiting, undecided_task):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.01)
    working.cancel()  # in the thread
    with pytest.raises(asyncio.CancelledError):
        await working
    assert stopped == [True]
    gate.opened.set()
    async with asyncio.timeout(5):
        assert await way.run(gate.work(3), present, unstopped, unknown) == 3
    assert gate.done == [2, 3]
    way.close()


async def test_work_that_takes_too_long_or_whose_client_went_away_is_stopped_and_keeps_the_turn_until_it_ends():
    for seconds, gone, error in ((0.01, present, DeadlineError), (60, second_look, ClientGoneError)):
        gate, stopped = Gate(), threading.Event()
        way = lane([], run_timeout=seconds)
        second_look.looks = 0
        with pytest.raises(error):
            await way.run(gate.work(0), gone, stopped.set, unknown)
        assert stopped.is_set()
        after = asyncio.create_task(way.run(gate.work(1), present, unstopped, unknown))
        await asyncio.sleep(0)
        assert gate.done == []
        gate.opened.set()
        assert await after == 1
        assert gate.done == [0, 1]
        way.close()


async def second_look() -> bool:
    """A client that is there when its turn comes, and goes while its work is done."""
    second_look.looks += 1
    return second_look.looks > 1


async def test_work_that_cannot_be_stopped_is_told_of(monkeypatch):
    monkeypatch.setattr("millrace_services.inference.lane.STOP_SECONDS", 0.01)
    gate, hung = Gate(), asyncio.Event()
    way = lane([], run_timeout=0.01, hung=hung.set)
    with pytest.raises(DeadlineError, match=r"the model took longer than 0\.01 s"):
        await way.run(gate.work(0), present, lambda: None, unknown)
    await hung.wait()
    gate.opened.set()
    way.close()


async def test_work_that_is_known_to_be_short_when_its_turn_comes_is_done_on_the_loop_and_frees_its_turn():
    way = lane([])

    def fail() -> int:
        raise ValueError("poison")

    def here() -> int:
        return threading.get_ident()

    assert await way.run(fail, present, unstopped, here) == threading.get_ident()
    with pytest.raises(ValueError, match="poison"):
        await way.run(here, present, unstopped, fail)
    assert await way.run(here, present, unstopped, unknown) != threading.get_ident()
    way.close()
