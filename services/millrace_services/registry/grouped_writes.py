"""Small writes of many requests in one transaction: each waits for its own commit, and they share it.

A commit waits for the disk, several milliseconds on many, and one transaction at a time writes. So whoever gets the
turn carries out all that wait for it, each behind a savepoint, and answers none before the commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import Connection

from millrace_services.registry.database import Database

T = TypeVar("T")
# Requests that one transaction answers: what waits behind it waits no longer than for so many.
_MOST: Final = 64


class _Job(Generic[T]):
    __slots__ = ("command", "done", "error", "result")

    def __init__(self, command: Callable[[Connection], T]) -> None:
        self.command = command
        self.done = False
        self.error: BaseException | None = None
        self.result: T | None = None


class GroupedWrites:
    """The writes of a database's small requests. Threads may call it at the same time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[_Job[Any]] = []

    def run(self, command: Callable[[Connection], T]) -> T:
        """What ``command`` returns, once what it wrote is committed; its error is raised, and that of the commit.

        It is called once, inside a transaction that it must not end, in any thread.
        """
        job = _Job(command)
        with self._guard:
            self._waiting.append(job)
        while not job.done:
            with self._turn:
                if not job.done:
                    self._carry_out()
        if job.error is not None:
            with self._database.explained():
                raise job.error
        return cast(T, job.result)

    def _carry_out(self) -> None:
        with self._guard:
            jobs, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            with self._database.writing() as connection:
                if len(jobs) == 1:
                    jobs[0].result = jobs[0].command(connection)
                else:
                    for job in jobs:
                        _apart(job, connection)
        except BaseException as error:
            for job in jobs:
                job.error = job.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for job in jobs:
                job.done = True


def _apart(job: _Job[Any], connection: Connection) -> None:
    """Carries out one of several; its error is its own, and undoes nothing of others'."""
    try:
        with connection.begin_nested():
            job.result = job.command(connection)
    except Exception as error:
        if not connection.in_transaction() or connection.invalidated:
            raise
        job.error = error
