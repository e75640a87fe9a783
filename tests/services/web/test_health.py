"""Who waits for a start is answered when it is over."""

from __future__ import annotations

import asyncio

import pytest

from millrace_services.web.health import Health, Readiness
from tests import virtual_time


async def started_after(seconds: float, waiting: float, **later: bool) -> tuple[Readiness, float]:
    """What ``start(waiting)`` finds where the service begins to listen, or becomes ``later``, after ``seconds``."""
    loop, health = asyncio.get_running_loop(), Health()

    def change() -> None:
        for name, value in (later or {"started": True}).items():
            setattr(health, name, value)

    loop.call_later(seconds, change)
    return await health.start(waiting), loop.time()


def test_the_answer_comes_when_the_service_is_ready() -> None:
    found, at = virtual_time.run(started_after(5, 30))
    assert found.ready
    assert at == pytest.approx(5, abs=0.1)


def test_it_comes_as_it_is_after_the_time_that_somebody_waits() -> None:
    found, at = virtual_time.run(started_after(60, 30))
    assert (found.ready, found.checks) == (False, {"started": "still starting"})
    assert at == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("end", ["draining", "ending"])
def test_nobody_waits_for_a_service_that_stops(end: str) -> None:
    found, at = virtual_time.run(started_after(5, 30, **{end: True}))
    assert not found.ready
    assert at == pytest.approx(5, abs=0.1)
