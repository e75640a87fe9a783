"""The work queue: once queued, once at work, in turns, later again."""

from __future__ import annotations

import asyncio

from millrace_kube.queue import Key, WorkQueue


def key(name: str, controller: str = "A") -> Key:
    return Key(controller, "ns", name)


async def drain(queue: WorkQueue) -> list[str]:
    taken = []
    while not queue.idle:
        taken.append(await queue.take())
        queue.done(taken[-1])
    return [item.name for item in taken]


async def test_a_key_is_queued_once() -> None:
    queue = WorkQueue()
    for _ in range(3):
        queue.add(key("x"))
    assert await drain(queue) == ["x"]


async def test_a_key_that_changes_while_at_work_runs_once_more_afterwards_and_never_twice_at_once() -> None:
    queue = WorkQueue()
    queue.add(key("x"))
    first = await queue.take()
    queue.add(first)
    queue.add(first)
    assert not queue.idle
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.done(first)
    assert await waiting == first
    queue.done(first)
    assert queue.idle


async def test_controllers_take_turns() -> None:
    queue = WorkQueue()
    for number in range(4):
        queue.add(key(f"a{number}", "A"))
    for number in range(2):
        queue.add(key(f"b{number}", "B"))
    assert await drain(queue) == ["a0", "b0", "a1", "b1", "a2", "a3"]


async def test_the_earliest_wish_counts_and_a_turn_voids_it() -> None:
    queue = WorkQueue()
    queue.add_after(key("x"), 0.01)
    queue.add_after(key("x"), 3600)
    async with asyncio.timeout(2):
        assert await queue.take() == key("x")
    queue.done(key("x"))
    queue.add_after(key("y"), 0.02)
    queue.add(key("y"))
    assert await drain(queue) == ["y"]
    await asyncio.sleep(0.05)
    assert queue.idle, "the turn made the timer void"


async def test_closing_voids_all_timers() -> None:
    queue = WorkQueue()
    queue.add_after(key("x"), 0.01)
    queue.close()
    await asyncio.sleep(0.03)
    assert queue.idle


async def test_a_time_that_passed_while_the_machine_slept_is_noticed_by_the_clock() -> None:
    now = [1000.0]
    queue = WorkQueue(clock=lambda: now[0])
    queue.add_after(key("x"), 3600)
    now[0] += 7200
    queue._arm(key("x"))  # what the timer does every half minute
    assert await queue.take() == key("x")


async def test_a_time_that_has_come_is_now() -> None:
    queue = WorkQueue(clock=lambda: 1000.0)
    queue.add_after(key("x"), 1000)
    queue.add_after(key("x"), 0)
    queue.add_after(key("x"), 2000)
    assert await queue.take() == key("x")
    queue.done(key("x"))
    assert queue.idle
