"""Slow evaluations wait in turns between projects, and what waits is bounded."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest

from millrace_core.base.errors import RetryError
from millrace_services.gateway.evaluations import Evaluations
from millrace_services.web.errors import OverloadedError


class Slow:
    """Calls that end when the test lets them, and what ran in which order."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.may_end = threading.Event()

    def __call__(self, name: str) -> str:
        self.began.append(name)
        self.may_end.wait(60)
        return name


async def begun(slow: Slow, count: int) -> None:
    while len(slow.began) < count:
        await asyncio.sleep(0.001)


async def test_one_project_never_has_all_threads() -> None:
    evaluations, slow = Evaluations(), Slow()
    many = [asyncio.create_task(evaluations.run("slow", index, slow, f"slow {index}")) for index in range(20)]
    await begun(slow, 2)

    assert await asyncio.wait_for(evaluations.run("other", "v", str.upper, "answered"), 60) == "ANSWERED"

    assert slow.began == ["slow 0", "slow 1"]
    slow.may_end.set()
    assert await asyncio.gather(*many) == [f"slow {index}" for index in range(20)]
    evaluations.close()


async def test_projects_wait_in_turns_whoever_has_more() -> None:
    evaluations, slow, first, after = Evaluations(), Slow(), Slow(), []
    calls = {("c", 0): first, ("c", 1): slow, ("d", 0): slow, ("d", 1): slow}
    held = [asyncio.create_task(evaluations.run(turn[0], turn, call, "held")) for turn, call in calls.items()]
    await begun(slow, 3)
    await begun(first, 1)
    many = [asyncio.create_task(evaluations.run("a", "a", after.append, f"a{index}")) for index in range(5)]
    one = asyncio.create_task(evaluations.run("b", "b", after.append, "b0"))
    await asyncio.sleep(0)

    first.may_end.set()  # the one thread that all of them have
    await asyncio.gather(*many, one)

    assert after == ["a0", "b0", "a1", "a2", "a3", "a4"]
    slow.may_end.set()
    await asyncio.gather(*held)
    evaluations.close()


async def test_of_one_turn_one_runs_at_a_time_also_where_its_caller_has_gone() -> None:
    evaluations, slow = Evaluations(), Slow()
    gone = asyncio.create_task(evaluations.run("p", "reader", slow, "first"))
    await begun(slow, 1)
    gone.cancel()
    with suppress(asyncio.CancelledError):
        await gone

    assert evaluations.busy("reader")
    second = asyncio.create_task(evaluations.run("p", "reader", slow, "second"))
    assert await evaluations.run("p", "another", str.upper, "x") == "X"
    assert slow.began == ["first"]
    slow.may_end.set()
    assert await second == "second"
    assert not evaluations.busy("reader")
    evaluations.close()


async def test_what_waits_is_bounded_and_whoever_goes_makes_room() -> None:
    evaluations, slow = Evaluations(), Slow()
    waiting = [asyncio.create_task(evaluations.run("p", "v", slow, "x")) for _ in range(33)]
    await begun(slow, 1)

    with pytest.raises(OverloadedError, match="32 evaluations of expressions of project 'p' wait already"):
        await evaluations.run("p", "v", slow, "x")

    waiting.pop().cancel()
    assert await evaluations.run("q", "w", str.upper, "x") == "X"
    waiting.append(asyncio.create_task(evaluations.run("p", "v", slow, "x")))
    slow.may_end.set()
    await asyncio.gather(*waiting)
    evaluations.close()


async def test_what_an_evaluation_raises_is_its_callers() -> None:
    evaluations = Evaluations()
    with pytest.raises(ValueError, match="invalid literal"):
        await evaluations.run("p", "v", int, "x")
    assert await evaluations.run("p", "v", int, "7") == 7
    evaluations.close()


async def test_who_waits_when_it_is_closed_is_told_to_come_again() -> None:
    evaluations, slow = Evaluations(), Slow()
    # Threads that are not free again yet, so that the pool holds the first of a turn, which others wait for.
    held = [evaluations._pool.submit(slow, "held") for _ in range(4)]
    await begun(slow, 4)
    later = [asyncio.create_task(evaluations.run("p", "v", slow, "late")) for _ in range(3)]
    await asyncio.sleep(0)
    evaluations.close()

    for each in later:
        with pytest.raises(RetryError, match="the gateway is ending"):
            await asyncio.wait_for(each, 60)
    slow.may_end.set()
    assert [each.result() for each in held] == ["held"] * 4
    with pytest.raises(RetryError, match="the gateway is ending"):
        await evaluations.run("p", "v", str.upper, "x")
