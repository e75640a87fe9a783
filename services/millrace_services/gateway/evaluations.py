"""Evaluations that may take long, off the event loop: a few at a time, in turns between projects.

They have threads of their own, so that slow expressions take none from what else runs in threads. One project never has
all of them, and whoever has many waiting waits behind others' first ones. What waits is bounded.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from millrace_core.base.errors import RetryError
from millrace_services.web.errors import OverloadedError

THREADS: Final = 4
# Threads that one project may have, and evaluations of it that may wait.
_OF_ONE: Final = 2
_WAITING_OF_ONE: Final = 32
_WAITING: Final = 256


class _Job(NamedTuple):
    turn: Hashable
    call: Callable[[], Any]
    done: asyncio.Future[Any]


class Evaluations:
    """For one event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="expressions")
        # Projects in the order of their turns.
        self._waiting: dict[str, deque[_Job]] = {}
        self._running: Counter[str] = Counter()
        self._busy: set[Hashable] = set()
        self._closed = False

    def busy(self, turn: Hashable) -> bool:
        """Whether one of this turn runs in a thread."""
        return turn in self._busy

    async def run(self, project: str, turn: Hashable, call: Callable[..., Any], *arguments: Any) -> Any:
        """What ``call`` returns. Of one ``turn`` only one runs at a time.

        Raises:
            OverloadedError: too many wait, of this project or in all.
            RetryError: it was closed.
        """
        if self._closed:
            raise _closing()
        own = len(self._waiting.get(project, ()))
        if own >= _WAITING_OF_ONE or sum(map(len, self._waiting.values())) >= _WAITING:
            whose = f"of project {project!r}" if own >= _WAITING_OF_ONE else "of all projects"
            raise OverloadedError(
                f"{own if own >= _WAITING_OF_ONE else _WAITING} evaluations of expressions {whose} wait already",
                hint="Send it again in a second, ask for fewer rows at once, or make the view's expressions simpler",
                delay=1,
            )
        job = _Job(turn, partial(call, *arguments), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(project, deque()).append(job)
        self._start()
        try:
            return await job.done
        except asyncio.CancelledError:
            with suppress(KeyError, ValueError):
                self._waiting[project].remove(job)
            raise

    def close(self) -> None:
        """Lets the threads go once what they evaluate is done; what waits is told to come again."""
        self._closed = True
        for job in itertools.chain(*self._waiting.values()):
            if not job.done.done():
                job.done.set_exception(_closing())
        self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._running.total() < THREADS and (found := self._next()) is not None:
            project, job = found
            self._busy.add(job.turn)
            self._running[project] += 1
            running = asyncio.get_running_loop().run_in_executor(self._pool, job.call)
            # Also where nobody waits for it any more: its turn ends with the thread's work, not before.
            running.add_done_callback(partial(self._ended, project, job))

    def _next(self) -> tuple[str, _Job] | None:
        for project in list(self._waiting):
            jobs = self._waiting[project]
            if self._running[project] >= _OF_ONE:
                continue
            left = [job for job in jobs if not job.done.cancelled()]
            job = next((job for job in left if job.turn not in self._busy), None)
            del self._waiting[project]
            if more := deque(each for each in left if each is not job):
                # Behind the others.
                self._waiting[project] = more
            if job is not None:
                return project, job
        return None

    def _ended(self, project: str, job: _Job, ran: asyncio.Future[Any]) -> None:
        self._busy.discard(job.turn)
        self._running -= Counter([project])
        error = _closing() if ran.cancelled() else ran.exception()
        if not job.done.done():  # else nobody is there to be told
            if error is None:
                job.done.set_result(ran.result())
            else:
                job.done.set_exception(error)
        self._start()


def _closing() -> RetryError:
    return RetryError("the gateway is ending", hint="Send it again: another replica answers", delay=1)
