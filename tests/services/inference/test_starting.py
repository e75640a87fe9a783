"""The steps of a model's start: each in its time, and which one it is."""

from __future__ import annotations

import threading

import pytest

from millrace_core.base.errors import ReportError
from millrace_services.inference.starting import Steps, started


def test_a_step_is_told_with_how_long_it_has_taken_and_may_take() -> None:
    now = [100.0]
    steps = Steps(60, lambda: now[0])
    now[0] += 5
    assert (str(steps), steps.left) == ("its start (for 5 s, of 60 s at most)", 55)
    steps.begin("its loading")
    now[0] += 59
    assert (str(steps), steps.left) == ("its loading (for 59 s, of 60 s at most)", 1)


async def test_what_a_start_gives_or_raises_is_its_callers() -> None:
    steps = Steps(60)

    def fails(_: object) -> None:
        raise ValueError("x")

    assert await started(lambda begin: (begin("its loading"), 7)[1], steps) == 7
    assert steps.name == "its loading"
    with pytest.raises(ValueError, match="x"):
        await started(fails, steps)


async def test_a_step_that_does_not_end_is_named() -> None:
    now, ended = [0.0], threading.Event()
    steps = Steps(0.01, lambda: now[0])

    def hangs(begin: object) -> None:
        assert callable(begin)
        begin("its first runs")
        now[0] = 1.0
        ended.wait(60)

    with pytest.raises(ReportError, match=r"did not finish its first runs, within 0\.01 s") as refused:
        await started(hangs, steps)
    assert refused.value.reason == "StartHung"
    ended.set()
