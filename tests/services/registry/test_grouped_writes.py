"""Writes that share a transaction fail alone, succeed together, and are answered when they are committed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, text

from millrace_core.base.errors import MillraceError, RejectError
from millrace_services.registry.database import Database
from millrace_services.registry.grouped_writes import GroupedWrites
from millrace_services.registry.tables import meta


def writing(key: str) -> Callable[[Connection], str]:
    def write(connection: Connection) -> str:
        connection.execute(insert(meta).values(key=key, value="x"))
        return key

    return write


def together(database: Database, writes: GroupedWrites, commands: list[Callable[[Connection], Any]]) -> list[Any]:
    """Has all commands wait for one turn; returns their results and errors in the order of the commands."""
    results: list[Any] = [None] * len(commands)
    first, go_on = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        first.set()
        assert go_on.wait(60)

    def run(at: int) -> None:
        try:
            results[at] = writes.run(commands[at])
        except Exception as error:
            results[at] = error

    threads = [threading.Thread(target=writes.run, args=(hold,))]
    threads[0].start()
    assert first.wait(60)
    for at in range(len(commands)):
        threads.append(threading.Thread(target=run, args=(at,)))
        threads[-1].start()
        while len(writes._waiting) <= at:
            threading.Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join()
    return results


def keys(database: Database) -> list[str]:
    with database.reading() as connection:
        return sorted(connection.scalars(select(meta.c.key).where(meta.c.value == "x")))


def test_one_that_fails_undoes_its_own_writes_alone(database: Database) -> None:
    def fail(connection: Connection) -> None:
        writing("b")(connection)
        raise RejectError("no")

    results = together(database, GroupedWrites(database), [writing("a"), fail, writing("c"), writing("a")])
    assert results[0] == "a"
    assert isinstance(results[1], RejectError)
    assert results[2] == "c"
    assert isinstance(results[3], MillraceError)  # the key is there, which the database says in its own words
    assert keys(database) == ["a", "c"]


def test_many_more_than_share_one_transaction_are_all_written(database: Database) -> None:
    names = [f"{at:03}" for at in range(150)]
    assert together(database, GroupedWrites(database), [writing(name) for name in names]) == names
    assert keys(database) == names


def test_a_commit_that_fails_fails_for_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = GroupedWrites(database)
    required = iter([None, None, None])

    def gone() -> None:
        if next(required, "gone") == "gone":
            raise MillraceError("the file is gone")

    monkeypatch.setattr(database, "_require_file", gone)
    results = together(database, writes, [writing("a"), writing("b")])
    monkeypatch.undo()
    assert [str(each) for each in results] == ["the file is gone"] * 2
    assert keys(database) == []


def test_it_is_answered_when_another_connection_sees_it(database: Database) -> None:
    GroupedWrites(database).run(writing("a"))
    with database.reading() as connection:
        assert connection.scalar(select(func.count()).where(text("key = 'a'")).select_from(meta)) == 1
