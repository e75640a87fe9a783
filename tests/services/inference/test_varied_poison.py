"""Poison that is not one input: several, a pair, one that moves, one that ends the process; all others are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference.flight import FlightRecord, Suspects
from millrace_services.inference.prediction import Prediction
from millrace_services.inference.runs import Flight
from millrace_services.inference.tensors import OutputTensor

from .test_batcher import LONG, MARK, SHORT, MarkingModel, World, row, run

REQUESTS = 12
Run = frozenset[int]


class Ended(SystemExit):
    """The end of a process: it goes through everything."""


class Fails(MarkingModel):
    """Fails a run that ``poisoned`` says is so, by the values in it; ``fail`` does it."""

    def __init__(self, poisoned: Callable[[Run], bool], fail: Callable[[], Any]) -> None:
        super().__init__()
        self._poisoned, self._fail = poisoned, fail

    def run(self, given: dict[str, Any], outputs: list[str], options: Any = None) -> list[OutputTensor]:
        self.runs.append(given["x"])
        if self._poisoned(frozenset(map(int, given["x"][:, 0]))):
            self._fail()
        return [OutputTensor(given["x"] + MARK) for _ in outputs]


def refuse() -> None:
    raise RejectError("the model refuses this run")


def asked(world: World, model: Fails, requests: Mapping[int, tuple[int, int]]) -> dict[int, Any]:
    """What came of requests, by their value; each has the millisecond at which it comes, and its columns."""
    world.model = model
    world.runs.session = model  # type: ignore[assignment]
    outcomes: dict[int, Any] = {}

    async def client(value: int, columns: int) -> None:
        try:
            outcomes[value] = await world.ask(row(columns, value))
        except RejectError as error:
            outcomes[value] = error

    async def life(_: World) -> None:
        loop, tasks = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda *_: None)  # nobody is left to hear of tasks of a process that has ended
        for moment in range(max(at for at, _ in requests.values()) + 1):
            now = [(value, columns) for value, (at, columns) in requests.items() if at == moment]
            world.coming += len(now)
            tasks += [asyncio.create_task(client(*each)) for each in now]
            await asyncio.sleep(max(0.0, (moment + 1) / 1000 - loop.time()))
        await asyncio.gather(*tasks)

    with contextlib.suppress(Ended):
        run(world, life)
    return outcomes


def is_answer(outcome: Any, value: int) -> bool:
    return isinstance(outcome, Prediction) and bool((outcome.outputs[0].values == value + MARK).all())


values = st.integers(0, REQUESTS - 1)
coming = st.dictionaries(values, st.tuples(st.integers(0, 15), st.sampled_from([SHORT, LONG])), min_size=2)
poisons = st.frozensets(values, max_size=4)
pairs = st.frozensets(st.frozensets(values, min_size=2, max_size=3), max_size=3)


def together(run: Run, parts: Sequence[Run] | frozenset[Run]) -> bool:
    return any(part <= run for part in parts)


@given(coming, poisons, pairs)
def test_several_poisoned_inputs_and_inputs_that_fail_only_together_fail_nobody_else(requests, alone, parts):
    outcomes = asked(World(0.002), Fails(lambda run: bool(run & alone) or together(run, parts), refuse), requests)
    assert outcomes.keys() == requests.keys()
    for value, outcome in outcomes.items():
        assert isinstance(outcome, RejectError) if value in alone else is_answer(outcome, value)


@given(coming, st.lists(values, max_size=20))
def test_a_run_that_fails_whoever_is_in_it_costs_at_most_the_one_who_was_alone_in_it(requests, order):
    """The poison moves: the n-th of several failing runs fails, whatever it holds."""
    failing, failed = set(order), []

    def poisoned(run: Run) -> bool:
        if len(model.runs) in failing:
            failed.append(run)
            return True
        return False

    model = Fails(poisoned, refuse)
    outcomes = asked(World(0.002), model, requests)
    assert outcomes.keys() == requests.keys()
    for value, outcome in outcomes.items():
        assert is_answer(outcome, value) is (frozenset([value]) not in failed)


@given(coming, poisons, pairs)
def test_inputs_that_end_the_process_alone_or_together_are_found_and_all_others_are_answered_by_a_later_one(
    requests, alone, parts
):
    """Whose process ended asks again. An input that ends it alone ends at most two."""
    suspects, open_requests, lives = Suspects(), dict(requests), 0
    answered: dict[int, Any] = {}
    while open_requests:
        record = FlightRecord()
        running: list[int] = []

        def end(record: FlightRecord = record, running: list[int] = running) -> None:
            running += record.take()
            raise Ended

        world = World(0.002, flight=Flight(record, suspects.refused(), suspects.suspected()))
        model = Fails(lambda run: bool(run & alone) or together(run, parts), end)
        answered |= asked(world, model, open_requests)
        open_requests = {value: each for value, each in open_requests.items() if value not in answered}
        if not running:
            break
        lives += 1
        suspects.blame(running)
        assert lives <= 2 * len(alone) + 2 * len(parts) + 1
    assert answered.keys() == requests.keys()
    for value, outcome in answered.items():
        if value in alone:
            assert isinstance(outcome, RejectError)
            assert outcome.reason == "EndedTheProcess"
        else:
            assert is_answer(outcome, value)
