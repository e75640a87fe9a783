"""The stage: all facts of a turn at once, within one deadline, whatever their sources do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from millrace_core.base.errors import MillraceError
from millrace_operators.facts.fact import (
    CANCELLED,
    FROM_THE_FUTURE,
    NO_SOURCE,
    TIMED_OUT,
    Absent,
    Fact,
    FactRequest,
    Facts,
    Failed,
    Known,
    Stale,
)
from millrace_operators.facts.source import FactSource, NoReading, Reading

_log = logging.getLogger(__name__)

DEADLINE_SECONDS: Final = 5.0
# How far the clocks of a source and of this process may be apart.
AHEAD: Final = timedelta(seconds=30)

_Answer = Reading[Any] | NoReading


class FactGatherer:
    """Asks sources.

    Args:
        sources: one for each class of requests.
        deadline: seconds after which what has not come counts as failed.
        clock: the current time, aware, UTC. Ages are measured when all answers have come, not when they were asked for.
    """

    def __init__(
        self,
        sources: Iterable[FactSource],
        *,
        deadline: float = DEADLINE_SECONDS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sources = {source.answers: source for source in sources}
        self._deadline = deadline
        self._clock = clock
        # Reads that go on although they were cancelled. Each is waited for before its request is made once more, so
        # that a source which never answers costs one task, not one a turn.
        self._unfinished: dict[FactRequest[Any], asyncio.Task[_Answer]] = {}
        # Until when a request is not made, or a source not asked at all, because it hung.
        self._paused: dict[FactRequest[Any] | FactSource, datetime] = {}

    async def gather(self, requests: Iterable[FactRequest[Any]]) -> Facts:
        """Asks for everything at once; a fact that fails, hangs or is cancelled says so and keeps no other back.

        Raises:
            CancelledError: the caller itself was cancelled; the sources are, too.
        """
        asked, began = dict.fromkeys(requests), self._clock()
        self._paused = {key: until for key, until in self._paused.items() if until > began}
        tasks = {request: task for request in asked if (task := self._ask(request)) is not None}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=self._deadline)
        finally:
            for request, task in tasks.items():
                self._let_go(request, task)
        now = self._clock()
        facts = {request: self._fact(request, tasks.get(request), now) for request in asked}
        self._pause({request: facts[request] for request in tasks}, now)
        return Facts(facts)

    def _pause(self, facts: Mapping[FactRequest[Any], Fact[Any]], now: datetime) -> None:
        """What hung is left alone for a while: the request, and its source where that answered nothing else either."""
        hung = {
            request: self._sources[type(request)]
            for request, fact in facts.items()
            if isinstance(fact, Failed) and fact.reason == TIMED_OUT
        }
        answering = {self._sources[type(request)] for request in facts if request not in hung}
        for request, source in hung.items():
            if source.pause is not None:
                self._paused[request if source in answering else source] = now + source.pause

    def _ask(self, request: FactRequest[Any]) -> asyncio.Task[_Answer] | None:
        source = self._sources.get(type(request))
        if source is None or request in self._unfinished or self._paused.keys() & {request, source}:
            return None
        return asyncio.create_task(_read(source, request), name=f"reading {request}")

    def _let_go(self, request: FactRequest[Any], task: asyncio.Task[_Answer]) -> None:
        """Ends a read that is not over, without waiting: it may not heed it."""
        if task.done():
            return
        self._unfinished[request] = task
        task.add_done_callback(lambda done: self._finished(request, done))
        task.cancel()

    def _finished(self, request: FactRequest[Any], task: asyncio.Task[_Answer]) -> None:
        if self._unfinished.get(request) is task:  # else another turn's read of the same goes on
            del self._unfinished[request]
        if not task.cancelled():
            task.exception()  # too late to matter; asked for, so that asyncio does not complain of it

    def _fact(self, request: FactRequest[Any], task: asyncio.Task[_Answer] | None, now: datetime) -> Fact[Any]:
        source = self._sources.get(type(request))
        if source is None:
            return Failed("nobody", NO_SOURCE, f"no source answers {type(request).__name__}")
        if task is None and request in self._unfinished and source.pause is None:
            return Failed(source.name, TIMED_OUT, "an earlier question is not answered yet")
        if task is None or not task.done():
            return Failed(source.name, TIMED_OUT, self._late(source))
        if task.cancelled():
            return Failed(source.name, CANCELLED, "the question was cancelled")
        try:
            return _fact_of(source, task.result(), now)
        except Exception as error:
            failed = _failed(source, request, error)
            return failed if failed.reason != TIMED_OUT else Failed(source.name, TIMED_OUT, self._late(source))

    def _late(self, source: FactSource) -> str:
        again = f"; it is asked again {source.pause.total_seconds():g} s later" if source.pause is not None else ""
        return f"no answer within {self._deadline:g} s{again}"


async def _read(source: FactSource, request: FactRequest[Any]) -> _Answer:
    """A task of its own, so that whatever ``read`` does stays in it."""
    return await source.read(request)


def _failed(source: FactSource, request: FactRequest[Any], error: Exception) -> Failed:
    if isinstance(error, MillraceError):
        return Failed(source.name, error.reason, str(error))
    _log.warning("%s failed at telling %s", source.name, request, exc_info=error)
    return Failed(source.name, type(error).__name__, str(error) or type(error).__name__)


def _fact_of(source: FactSource, answer: _Answer, now: datetime) -> Fact[Any]:
    if isinstance(answer, NoReading):
        return Absent(source.name, answer.at)
    if not isinstance(answer, Reading):
        raise TypeError(f"expected a Reading or NoReading, got {type(answer).__name__}")
    if answer.at - now > AHEAD:
        return Failed(
            source.name,
            FROM_THE_FUTURE,
            f"its answer is dated more than {AHEAD.total_seconds():g} s from now; set its clock, or this one",
        )
    known = Known(answer.value, source.name, answer.at)
    if source.max_age is not None and known.age(now) > source.max_age:
        return Stale(source.name, answer.at, source.max_age)
    return known
