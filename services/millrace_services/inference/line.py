"""The requests that wait for a turn: bounded, each until its deadline, none for a client that went away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from millrace_services.inference.batching import Kind
from millrace_services.inference.lane import LOOK_SECONDS
from millrace_services.inference.prediction import Prediction
from millrace_services.inference.runs import Feeds, Gone
from millrace_services.web.errors import OverloadedError
from millrace_services.web.hot import ClientGoneError
from millrace_services.web.load import Presence

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class QueueLimits(NamedTuple):
    """How many requests may wait, and for how many seconds."""

    requests: int = 256
    timeout: float = 1.0


class Request:
    """One request for a prediction, whose ``answer`` its client waits for.

    Attributes:
        key: what all of a shared run must have alike; None where it runs alone.
        cost: the key of what its own run takes.
        came: when, by ``perf_counter``.
        span: of the request, where somebody wants it.
    """

    __slots__ = (
        "answer",
        "came",
        "cost",
        "deadline",
        "feeds",
        "gone",
        "key",
        "kind",
        "outputs",
        "queued",
        "rows",
        "span",
    )

    def __init__(self, feeds: Feeds, outputs: list[str], rows: int, kind: Kind, cost: Kind, gone: Gone) -> None:
        self.feeds = feeds
        self.outputs = outputs
        self.rows = rows
        self.kind = kind
        self.cost = cost
        self.gone = gone
        self.key: Kind | None = None
        self.came = self.queued = perf_counter()
        self.deadline = 0.0
        self.span: Span | None = None
        self.answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Answers with an error, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_exception(error)

    async def left(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.answer.done() or await self.gone()


class Line:
    """Requests in the order in which they take their turns.

    Args:
        limits: how many may wait, and how long.
        shed: called for each that is refused: it finds no place, or its turn does not come in time.
    """

    def __init__(self, limits: QueueLimits, shed: Callable[[], Any]) -> None:
        self.load = Presence()
        self._limits = limits
        self._shed = shed
        self._waiting: dict[Request, None] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._looked = 0.0
        self._refusal = self._full()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._waiting)

    async def room(self) -> None:
        """Looks for a place, also for one of a client that went away.

        Raises:
            OverloadedError: there is none.
        """
        now = asyncio.get_running_loop().time()
        if len(self._waiting) >= self._limits.requests and now >= self._looked:
            self._looked = now + LOOK_SECONDS
            await self.present(list(self._waiting))
        self.require_room()

    def require_room(self) -> None:
        """Raises ``OverloadedError`` where no more may wait."""
        if len(self._waiting) >= self._limits.requests:
            self._shed()
            raise self._full()

    def refusal(self, coming: int) -> OverloadedError | None:
        """The error of one that would find no place behind ``coming`` others; None where it may find one.

        Where it is time to look for those who left nobody is refused so: ``room`` looks.
        """
        if len(self._waiting) + coming < self._limits.requests or asyncio.get_running_loop().time() >= self._looked:
            return None
        self._shed()
        return self._refusal

    def _full(self) -> OverloadedError:
        return OverloadedError(
            f"{self._limits.requests} requests are waiting, the most this server lets wait",
            hint="Try again, or add replicas",
            delay=1,
        )

    def append(self, *requests: Request) -> None:
        """Lets requests wait behind all others."""
        for request in requests:
            self._begin(request)
            self._waiting[request] = None

    def put_first(self, requests: list[Request]) -> None:
        """Lets requests wait before all others, which had a turn already, and for as long as if they came now."""
        others, self._waiting = self._waiting, {}
        self.append(*requests)
        self._waiting |= others

    def remove(self, *requests: Request) -> None:
        """Those that wait no longer; one that did not wait is no error."""
        now = perf_counter()
        for request in requests:
            if request in self._waiting:
                del self._waiting[request]
                self.load.leave(request.queued, now)

    async def present(self, requests: list[Request]) -> list[Request]:
        """Of some requests those that somebody waits for; the others leave."""
        there = []
        for request in requests:
            if await request.left():
                self.remove(request)
                request.fail(ClientGoneError())
            else:
                there.append(request)
        return there

    def drop_late(self) -> None:
        """Refuses all whose turn did not come in time, as those for whom there is no place."""
        now = asyncio.get_running_loop().time()
        for request in [each for each in self._waiting if each.deadline <= now]:
            self.remove(request)
            if request.answer.done():
                continue
            self._shed()
            request.fail(
                OverloadedError(
                    f"no free turn within {self._limits.timeout:g} s", hint="Try again, or add replicas", delay=1
                )
            )

    def _begin(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        request.queued = perf_counter()
        request.deadline = loop.time() + self._limits.timeout
        self.load.enter(request.queued)
        if self._alarm is None:
            self._alarm = loop.call_at(request.deadline, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self.drop_late()
        if self._waiting:
            first = min(request.deadline for request in self._waiting)
            self._alarm = asyncio.get_running_loop().call_at(first, self._on_alarm)
