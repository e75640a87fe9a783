"""Liveness and readiness.

Live means that the event loop answers. Ready means started, not draining, and every named check well. A
draining server still accepts requests; it only asks not to be sent more. Whoever waits for the start may ask once and
be answered when it is over: a kubelet tells of each probe that fails, and a start is no failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

Check = Callable[[], Awaitable[str]]

CHECK_SECONDS = 1.0
_LOOK_SECONDS = 0.05


class Readiness(NamedTuple):
    """Whether to send traffic here, and per named check ``ok`` or what is wrong."""

    ready: bool
    checks: dict[str, str]


class Health:
    """What a service knows about itself.

    Attributes:
        started: it accepts requests.
        draining: it is asked to stop.
        ending: it stops now; nobody need wait for it to become ready.
    """

    def __init__(self) -> None:
        self.started = False
        self.draining = False
        self.ending = False
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Adds a readiness check: it answers the empty string when all is well, else a sentence."""
        self._checks[name] = check

    async def readiness(self) -> Readiness:
        """Runs all checks at once; one that raises or takes longer than a second counts as failed."""
        results = dict(zip(self._checks, await asyncio.gather(*map(_run, self._checks.values())), strict=True))
        if not self.started:
            results["started"] = "still starting"
        if self.draining:
            results["draining"] = "stopping; no new requests, please"
        return Readiness(not any(results.values()), {name: text or "ok" for name, text in results.items()})

    async def start(self, seconds: float) -> Readiness:
        """The readiness as soon as it is reached, or is not to be expected any more; after ``seconds`` as it is."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            found = await self.readiness()
            if found.ready or self.draining or self.ending or loop.time() >= until:
                return found
            await asyncio.sleep(_LOOK_SECONDS)


async def _run(check: Check) -> str:
    try:
        return await asyncio.wait_for(check(), CHECK_SECONDS)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:
        return str(error) or type(error).__name__
