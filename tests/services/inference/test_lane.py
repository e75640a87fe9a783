"""A run in the thread can be stopped, and the next one begins only once it has ended."""

from __future__ import annotations

import asyncio
import threading

import pytest

from millrace_services.inference.lane import Lane
from millrace_services.web.errors import DeadlineError
from millrace_services.web.hot import ClientGoneError


async def present() -> bool:
    return False


def nothing(*_: object) -> None:
    """Nobody is told."""


async def test_what_work_returns_or_raises_is_the_callers():
    lane = Lane(run_timeout=60, hung=nothing)

    def fail() -> None:
        raise ValueError("poison")

    assert await lane.run(lambda: 5, present, nothing, nothing) == 5
    with pytest.raises(ValueError, match="poison"):
        await lane.run(fail, present, nothing, nothing)
    assert await lane.run(lambda: 6, present, nothing, nothing) == 6
    lane.close()


async def test_work_that_takes_too_long_or_that_nobody_waits_for_is_stopped_and_the_turn_ends_when_it_does(monkeypatch):
    monkeypatch.setattr("millrace_services.inference.lane.LOOK_SECONDS", 0.01)

    async def absent() -> bool:
        return True

    for seconds, gone, kind in ((0.01, present, DeadlineError), (60, absent, ClientGoneError)):
        may_end, stopped, reasons = threading.Event(), asyncio.Event(), []
        lane = Lane(run_timeout=seconds, hung=nothing)

        def told(reason, stopped=stopped, reasons=reasons):
            reasons.append(reason)
            stopped.set()

        running = asyncio.create_task(lane.run(lambda may_end=may_end: may_end.wait(60), gone, nothing, told))
        await stopped.wait()
        await asyncio.sleep(0)
        assert [type(reason) for reason in reasons] == [kind]
        assert not running.done(), "the thread still works"
        may_end.set()
        assert await running is None, "what came of it is nobody's"
        lane.close()


async def test_work_is_asked_to_stop_before_those_who_wait_are_told(monkeypatch):
    order: list[str] = []
    may_end = threading.Event()
    lane = Lane(run_timeout=0.01, hung=nothing)

    def stop() -> None:
        order.append("stop")
        may_end.set()

    await lane.run(lambda: may_end.wait(60), present, stop, lambda _: order.append("told"))
    assert order == ["stop", "told"]
    lane.close()


async def test_work_that_cannot_be_stopped_is_told_of(monkeypatch):
    monkeypatch.setattr("millrace_services.inference.lane.STOP_SECONDS", 0.01)
    may_end = threading.Event()
    lane = Lane(run_timeout=0.01, hung=may_end.set)
    assert await lane.run(lambda: may_end.wait(60), present, nothing, nothing) is None
    assert may_end.is_set()
    lane.close()
