"""The stage of facts: at once, within its deadline, whatever sources do; and the time goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from millrace_core.base.errors import RetryError
from millrace_operators.facts.fact import Absent, Fact, FactRequest, Facts, Failed, Known, Stale, describe
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.facts.source import FactSource, NoReading, Reading
from tests.virtual_time import START, now, run

DEADLINE = 5.0
Read = Callable[["Number"], Awaitable[Any]]


@dataclass(frozen=True)
class Number(FactRequest[int]):
    name: str

    def __str__(self) -> str:
        return f"the number {self.name}"


@dataclass(frozen=True)
class Unanswered(FactRequest[int]):
    pass


class Numbers(FactSource):
    """Reads as it is told."""

    name = "numbers"
    answers = Number

    def __init__(self, max_age: timedelta | None = None, **reads: Read) -> None:
        self.max_age = max_age
        self.reads = reads
        self.asked: list[str] = []

    async def read(self, request: Number) -> Any:
        self.asked.append(request.name)
        return await self.reads[request.name](request)


def after(seconds: float, value: int = 7) -> Read:
    async def read(_: Number) -> Reading[int]:
        await asyncio.sleep(seconds)
        return Reading(value, now())

    return read


def failing(error: BaseException) -> Read:
    async def read(_: Number) -> Reading[int]:
        await asyncio.sleep(0)
        raise error

    return read


async def never(_: Number) -> Reading[int]:
    await asyncio.Event().wait()
    raise AssertionError


async def deaf(_: Number) -> Reading[int]:
    """Goes on, however often it is cancelled, for 100 s."""
    end = asyncio.get_running_loop().time() + 100
    while asyncio.get_running_loop().time() < end:
        try:
            await asyncio.sleep(end - asyncio.get_running_loop().time())
        except asyncio.CancelledError:
            continue
    return Reading(1, now())


def gathered(numbers: Numbers) -> dict[str, Fact[int]]:
    """All of them, in one turn."""

    async def turn() -> Facts:
        return await FactGatherer([numbers], deadline=DEADLINE, clock=now).gather(map(Number, numbers.reads))

    facts = run(turn())
    return {name: facts.get(Number(name)) for name in numbers.reads}


def test_all_are_asked_at_once() -> None:
    async def turn() -> float:
        numbers = Numbers(a=after(3), b=after(3), c=after(3))
        await FactGatherer([numbers], deadline=DEADLINE, clock=now).gather(map(Number, numbers.reads))
        return asyncio.get_running_loop().time()

    assert run(turn()) == 3


def test_a_fact_says_who_told_it_and_when_it_was_true() -> None:
    fact = gathered(Numbers(a=after(2)))["a"]
    assert fact == Known(7, "numbers", START + timedelta(seconds=2))
    assert fact.age(START + timedelta(seconds=10)) == timedelta(seconds=8)


def test_a_clock_that_is_ahead_of_ours_makes_no_fact_younger_than_new() -> None:
    assert Known(7, "numbers", START + timedelta(hours=1)).age(START) == timedelta()


@pytest.mark.parametrize("read", [never, deaf, after(DEADLINE + 0.001)], ids=["never", "deaf", "late"])
def test_what_has_not_come_by_the_deadline_has_failed_and_keeps_no_other_back(read: Read) -> None:
    async def turn() -> tuple[Facts, float]:
        numbers = Numbers(slow=read, quick=after(1))
        facts = await FactGatherer([numbers], deadline=DEADLINE, clock=now).gather([Number("slow"), Number("quick")])
        return facts, asyncio.get_running_loop().time()

    facts, ended_at = run(turn())
    slow = facts.get(Number("slow"))
    assert isinstance(slow, Failed)
    assert slow.reason == "TimedOut"
    assert describe(Number("slow"), slow) == "the number slow is not known: numbers: no answer within 5 s"
    assert isinstance(facts.get(Number("quick")), Known)
    assert ended_at == DEADLINE


def test_what_comes_at_the_last_moment_counts() -> None:
    assert isinstance(gathered(Numbers(a=after(DEADLINE - 0.001)))["a"], Known)


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (RetryError("the store is down", reason="Down"), "Down", "the store is down"),
        (ValueError("no number"), "ValueError", "no number"),
        (ZeroDivisionError(), "ZeroDivisionError", "ZeroDivisionError"),
        (TimeoutError(), "TimeoutError", "TimeoutError"),
        (asyncio.CancelledError(), "Cancelled", "the question was cancelled"),
    ],
)
def test_a_source_that_fails_fails_its_own_fact_alone(error: BaseException, reason: str, message: str) -> None:
    facts = gathered(Numbers(bad=failing(error), good=after(1)))
    assert facts["bad"] == Failed("numbers", reason, message)
    assert isinstance(facts["good"], Known)


@pytest.mark.parametrize("answer", [None, 7, Reading(7, START.replace(tzinfo=None))], ids=["None", "bare", "naive"])
def test_an_answer_of_another_shape_is_a_failed_fact_and_no_value(answer: object) -> None:
    async def read(_: Number) -> object:
        return answer

    fact = gathered(Numbers(timedelta(seconds=1), a=read))["a"]
    assert isinstance(fact, Failed)
    assert fact.reason == "TypeError"


def test_that_a_source_has_nothing_is_an_answer_of_its_own() -> None:
    async def read(_: Number) -> NoReading:
        return NoReading(now())

    assert gathered(Numbers(a=read))["a"] == Absent("numbers", START)


def test_age_is_told_when_all_have_come_so_the_slowest_can_make_the_others_stale() -> None:
    """The clock moves during I/O: "a" was young when it came, and is not when the decision is made."""
    alone = gathered(Numbers(timedelta(seconds=2), a=after(1)))
    assert isinstance(alone["a"], Known)
    facts = gathered(Numbers(timedelta(seconds=2), a=after(1), b=after(4)))
    assert facts["a"] == Stale("numbers", START + timedelta(seconds=1), timedelta(seconds=2))
    assert isinstance(facts["b"], Known)
    assert describe(Number("a"), facts["a"]).endswith("what numbers has is older than 2 s")


def test_a_request_without_a_source_and_one_that_nobody_made_have_failed() -> None:
    async def turn() -> Facts:
        return await FactGatherer([Numbers()], clock=now).gather([Unanswered()])

    facts = run(turn())
    assert facts.get(Unanswered()) == Failed("nobody", "NoSource", "no source answers Unanswered")
    assert facts.get(Number("x")) == Failed("nobody", "NotGathered", "it was not asked for yet")
    assert list(facts.missing([Unanswered(), Number("x")])) == [Unanswered(), Number("x")]


def test_the_same_request_is_made_once() -> None:
    async def turn() -> list[str]:
        numbers = Numbers(a=after(1))
        await FactGatherer([numbers], clock=now).gather([Number("a"), Number("a")])
        return numbers.asked

    assert run(turn()) == ["a"]


def test_a_cancelled_turn_ends_at_once_and_its_questions_with_it() -> None:
    async def turn() -> tuple[float, int]:
        numbers = Numbers(a=never, b=after(3))
        task = asyncio.create_task(FactGatherer([numbers], clock=now).gather(map(Number, numbers.reads)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at = asyncio.get_running_loop().time()
        await asyncio.sleep(0)  # the cancelled ones get their turn
        return at, len(asyncio.all_tasks()) - 1

    assert run(turn()) == (1, 0)


def test_a_source_that_heeds_nothing_holds_one_task_however_many_turns_there_are_and_is_asked_again_after_it() -> None:
    async def turns() -> tuple[list[str], set[int], Fact[int]]:
        numbers, told, tasks = Numbers(a=deaf), [], set()
        gatherer = FactGatherer([numbers], deadline=DEADLINE, clock=now)
        for _ in range(4):
            fact = (await gatherer.gather([Number("a")])).get(Number("a"))
            assert isinstance(fact, Failed)
            told.append(fact.message)
            tasks.add(len(asyncio.all_tasks()) - 1)
        await asyncio.sleep(200)
        numbers.reads["a"] = after(1)
        return told, tasks, (await gatherer.gather([Number("a")])).get(Number("a"))

    told, tasks, fact = run(turns())
    assert told == ["no answer within 5 s", *["an earlier question is not answered yet"] * 3]
    assert tasks == {1}
    assert isinstance(fact, Known)


class Pausing(Numbers):
    pause = timedelta(seconds=30)


LATE = "no answer within 5 s; it is asked again 30 s later"


def test_a_source_that_hung_holds_one_turn_and_is_left_alone_for_a_while() -> None:
    async def turns() -> tuple[list[str], list[float], Fact[int]]:
        numbers, said, took = Pausing(a=never, b=after(1)), [], []
        gatherer = FactGatherer([numbers], deadline=DEADLINE, clock=now)
        for name in ("a", "a", "b"):
            began = asyncio.get_running_loop().time()
            fact = (await gatherer.gather([Number(name)])).get(Number(name))
            assert isinstance(fact, Failed)
            said.append(fact.message)
            took.append(asyncio.get_running_loop().time() - began)
        await asyncio.sleep(30)
        return said, took, (await gatherer.gather([Number("b")])).get(Number("b"))

    said, took, fact = run(turns())
    assert said == [LATE] * 3
    assert took == [DEADLINE, 0, 0]
    assert isinstance(fact, Known)


def test_of_a_source_that_answers_others_only_the_question_that_hung_is_not_asked() -> None:
    async def turns() -> tuple[Facts, list[str]]:
        numbers = Pausing(a=never, b=after(1))
        gatherer = FactGatherer([numbers], deadline=DEADLINE, clock=now)
        for _ in range(2):
            facts = await gatherer.gather([Number("a"), Number("b")])
        return facts, numbers.asked

    facts, asked = run(turns())
    assert asked == ["a", "b", "b"]
    assert isinstance(facts.get(Number("b")), Known)


def test_a_client_that_gives_up_by_itself_has_a_source_that_hung() -> None:
    async def turns() -> tuple[Fact[int], list[str]]:
        numbers = Pausing(a=failing(RetryError("no answer within 5 s", reason="TimedOut")))
        gatherer = FactGatherer([numbers], deadline=DEADLINE, clock=now)
        for _ in range(2):
            fact = (await gatherer.gather([Number("a")])).get(Number("a"))
        return fact, numbers.asked

    assert run(turns()) == (Failed("numbers", "TimedOut", LATE), ["a"])


@pytest.mark.parametrize(("ahead", "known"), [(30, True), (30.001, False)])
def test_an_answer_that_is_dated_beyond_the_clocks_differences_is_none(ahead: float, known: bool) -> None:
    async def read(_: Number) -> Reading[int]:
        return Reading(7, now() + timedelta(seconds=ahead))

    fact = gathered(Numbers(a=read))["a"]
    assert isinstance(fact, Known) == known
    if isinstance(fact, Failed):
        assert (fact.reason, "dated more than 30 s from now" in fact.message) == ("FromTheFuture", True)


def test_of_two_turns_that_ask_the_same_deaf_source_at_once_both_reads_must_end_before_it_is_asked_again() -> None:
    async def turns() -> list[str]:
        numbers = Numbers(a=deaf)  # each read goes on for 100 s
        gatherer = FactGatherer([numbers], deadline=DEADLINE, clock=now)
        first = asyncio.create_task(gatherer.gather([Number("a")]))
        await asyncio.sleep(3)
        await asyncio.gather(first, gatherer.gather([Number("a")]))
        await asyncio.sleep(101 - asyncio.get_running_loop().time())
        await gatherer.gather([Number("a")])
        return numbers.asked

    assert run(turns()) == ["a", "a"]


def test_a_turn_that_needs_nothing_waits_for_nothing() -> None:
    async def turn() -> tuple[Facts, float]:
        return await FactGatherer([], clock=now).gather([]), asyncio.get_running_loop().time()

    assert run(turn()) == (Facts(), 0)
