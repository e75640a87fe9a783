"""Every request gets its own rows or its own error, whatever else comes, fails, goes away or is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference.batcher import Batcher, Meters, Waits
from millrace_services.inference.batching import Batching, bucket, rows_and_kind
from millrace_services.inference.costs import Costs
from millrace_services.inference.flight import INLINE, LANE, FlightRecord, key_of
from millrace_services.inference.line import QueueLimits
from millrace_services.inference.prediction import Prediction
from millrace_services.inference.runs import Done, Flight, Runs
from millrace_services.inference.tensors import OutputTensor
from millrace_services.web.errors import DeadlineError, OverloadedError
from millrace_services.web.hot import ClientGoneError
from tests import virtual_time

MARK = 1000.0
SHORT, LONG, UNMEASURED = 1, 2, 3  # columns of a row: what runs of it take
TAKES = {SHORT: 110e-6, LONG: 0.012, UNMEASURED: 110e-6}
MOST = 8


class MarkingModel:
    """Adds ``MARK`` to every value, and refuses a run that has a negative one."""

    device = "gpu"  # whose cost is the clock's

    def __init__(self) -> None:
        self.costs = Costs()
        self.batching = Batching(MOST)
        self.runs: list[np.ndarray] = []
        for rows in (1, 2, 4, 8):
            self.learn(SHORT, rows, 100e-6 + 1e-6 * rows)
            self.learn(LONG, rows, 0.01 + 0.001 * rows)

    def learn(self, columns: int, rows: int, seconds: float) -> None:
        kind = rows_and_kind(feeds(np.zeros((rows, columns))))[1]
        self.costs.learn((bucket(rows), kind), seconds)

    def run(self, given: dict[str, Any], outputs: list[str], options: Any = None) -> list[OutputTensor]:
        values = given["x"]
        self.runs.append(values)
        if (values < 0).any():
            raise RejectError("the model refuses this input")
        return [OutputTensor(values + MARK) for _ in outputs]


class VirtualLane:
    """Runs that take a hundredth of a second each, of a clock that jumps; one with 666 in it never ends by itself."""

    def __init__(self) -> None:
        self.busy = False
        self.began: list[float] = []

    async def run(self, work: Callable[[], Any], gone: Any, stop: Callable[[], Any], stopped: Callable[[Any], Any]):
        assert not self.busy, "there is one lane"
        self.busy = True
        self.began.append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(0.01)
            done = work()
            if (done[0].outputs[0].values == 666 + MARK).any():
                stop()
                stopped(DeadlineError("the model took longer than 0.01 s"))
                return None
            return done if not await gone() else stopped(ClientGoneError())
        finally:
            self.busy = False


def feeds(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": values.astype(np.float32)}


def _takes(done: Done) -> float:
    return TAKES[done.outputs[0].values.shape[1]]


def _timed(done: Done) -> Done:
    return done._replace(seconds=_takes(done))


PATIENT = QueueLimits(1000, 60)


@dataclass
class World:
    """A batcher over a marking model, and what its clients saw."""

    delay: float = 0.0
    queue: QueueLimits = PATIENT
    flight: Flight = field(default_factory=lambda: Flight(FlightRecord()))
    coming: int = 0
    waited: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    shed: int = 0

    def __post_init__(self) -> None:
        self.model, self.lane = MarkingModel(), VirtualLane()
        self.runs = Runs(self.model, self.flight, lambda: None)  # type: ignore[arg-type]
        self.runs._cost = lambda done, _: _takes(done)  # type: ignore[method-assign]
        # What is learned of a run is no matter of how fast this machine is.
        measured = self.runs._run
        self.runs._run = lambda *args: _timed(measured(*args))  # type: ignore[method-assign]
        meters = Meters(requests=self.requests.append, queue=self.waited.append)
        self.batcher = Batcher(
            self.runs,
            self.lane,  # type: ignore[arg-type]
            Waits(self.queue, self.delay),
            meters,
            self._count,
            lambda: self.coming,
        )

    def _count(self) -> None:
        self.shed += 1

    async def ask(self, values: np.ndarray, gone: Callable[[], bool] = lambda: False) -> Prediction:
        async def left() -> bool:
            await asyncio.sleep(0)
            return gone()

        self.coming -= 1
        return await self.batcher.infer(feeds(values), ["y"], left)

    def turn(self, *many: np.ndarray) -> list[asyncio.Task[Prediction]]:
        """Requests that come in one turn of the loop."""
        self.coming += len(many)
        return [asyncio.create_task(self.ask(values)) for values in many]


def run(world: World, life: Any) -> Any:
    try:
        return virtual_time.run(life(world))
    finally:
        world.runs.close()


def row(columns: int, value: float, rows: int = 1) -> np.ndarray:
    return np.full((rows, columns), value)


@dataclass
class Sent:
    """One client's request: when it comes, what, and when its client goes or its task is cancelled."""

    at: int
    columns: int
    rows: int
    kind: str
    goes: int | None
    cancelled: int | None
    outcome: Any = None


sent = st.builds(
    Sent,
    st.integers(0, 30),
    st.sampled_from([SHORT, LONG, UNMEASURED]),
    st.integers(1, MOST + 2),
    st.sampled_from(["good", "good", "good", "good", "poison", "endless"]),
    st.none() | st.integers(0, 60),
    st.none() | st.integers(0, 60),
)


@given(
    st.lists(sent, min_size=1, max_size=30),
    st.sampled_from([0.0, 0.002, 0.02]),
    st.sampled_from([PATIENT, QueueLimits(4, 60), QueueLimits(1000, 0.025)]),
)
def test_every_request_gets_its_own_rows_or_its_own_error(requests, delay, queue):
    world = World(delay, queue)

    async def client(number: int, each: Sent) -> None:
        loop = asyncio.get_running_loop()
        value = {"good": float(number + 1), "poison": -1.0, "endless": 666.0}[each.kind]
        gone = (lambda: False) if each.goes is None else (lambda: loop.time() * 1000 >= each.goes)
        each.outcome = await world.ask(row(each.columns, value, each.rows), gone)

    async def guarded(number: int, each: Sent) -> None:
        try:
            await client(number, each)
        except (RejectError, DeadlineError, OverloadedError, ClientGoneError, asyncio.CancelledError) as error:
            each.outcome = error

    async def life(_: World) -> None:
        loop, tasks = asyncio.get_running_loop(), []
        for moment in range(61):
            now = [(number, each) for number, each in enumerate(requests) if each.at == moment]
            world.coming += len(now)
            tasks += [(each, asyncio.create_task(guarded(number, each))) for number, each in now]
            for each, task in tasks:
                if each.cancelled == moment and each.at < moment:
                    task.cancel()
            await asyncio.sleep(max(0.0, (moment + 1) / 1000 - loop.time()))
        await asyncio.gather(*(task for _, task in tasks))

    run(world, life)
    for number, each in enumerate(requests):
        check(number, each, queue)
    assert all(len(values) <= MOST or len({*values.ravel()}) == 1 for values in world.model.runs)
    assert (len(world.batcher.line), world.batcher.line.load.count, world.coming) == (0, 0, 0)
    refused, left = (
        sum(isinstance(each.outcome, kind) for each in requests) for kind in (OverloadedError, asyncio.CancelledError)
    )
    assert refused <= world.shed <= refused + left, "who leaves as it is refused learns of neither"


def check(number: int, each: Sent, queue: QueueLimits) -> None:
    """Whether an outcome is what this very request could come to."""
    found = each.outcome
    if isinstance(found, Prediction):
        assert each.kind == "good" or (each.kind == "endless" and each.columns != LONG)
        expected = (number + 1 if each.kind == "good" else 666) + MARK
        assert np.array_equal(found.outputs[0].values, row(each.columns, expected, each.rows))
    elif isinstance(found, DeadlineError):
        assert each.kind == "endless"
    else:
        reasons = {
            RejectError: each.kind == "poison",
            ClientGoneError: each.goes is not None,
            asyncio.CancelledError: each.cancelled is not None,
            OverloadedError: queue.timeout < 1 if "no free turn" in str(found) else queue.requests == 4,
        }
        assert reasons[type(found)]


def test_those_of_one_turn_of_the_loop_are_one_run_on_it_and_who_comes_alone_waits_for_nobody():
    async def life(world: World) -> None:
        alone = world.turn(row(SHORT, 1))
        await asyncio.gather(*alone)
        answers = await asyncio.gather(*world.turn(*(row(SHORT, number) for number in range(5))))
        assert [each.outputs[0].values.item() for each in answers] == [MARK + number for number in range(5)]

    world = World()
    run(world, life)
    assert world.requests == [1, 5]
    assert world.lane.began == []


def test_what_else_comes_in_the_turn_and_is_not_for_the_model_keeps_nobody_waiting():
    async def life(world: World) -> None:
        world.coming += 1  # of another route
        await asyncio.gather(*world.turn(row(SHORT, 1), row(SHORT, 2)))

    world = World()
    run(world, life)
    assert world.requests == [2]


def test_no_run_on_the_loop_is_longer_than_it_may_be():
    async def life(world: World) -> None:
        world.model.learn(SHORT, 8, 0.002)
        await asyncio.gather(*world.turn(*(row(SHORT, number) for number in range(8))))

    world = World()
    run(world, life)
    assert world.requests == [4, 4]


def test_requests_that_save_less_than_sharing_costs_are_run_as_they_come():
    async def life(world: World) -> None:
        for rows in (1, 2, 4, 8):
            world.model.learn(SHORT, rows, 5e-6 + 1e-7 * rows)
        await asyncio.gather(*world.turn(*(row(SHORT, number) for number in range(5))))

    world = World()
    run(world, life)
    assert world.requests == [1] * 5


def test_a_shape_whose_larger_runs_were_never_measured_learns_them_in_the_lane_and_then_shares_runs_on_the_loop():
    async def life(world: World) -> None:
        world.model.learn(UNMEASURED, 1, 100e-6)
        for _ in range(8):
            await asyncio.gather(*world.turn(*(row(UNMEASURED, number) for number in range(8))))

    world = World()
    run(world, life)
    assert world.requests[:2] == [2, 4], "in the lane"
    assert world.requests[-2:] == [4, 4]
    assert len(world.lane.began) == 2


def test_a_free_lane_takes_at_once_what_came_and_a_busy_one_together_what_came_meanwhile():
    async def life(world: World) -> None:
        tasks = world.turn(row(LONG, 1))
        await asyncio.sleep(0.001)
        for number in range(5):
            tasks += world.turn(row(LONG, number))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)

    world = World()
    run(world, life)
    assert world.requests == [1, 5]
    assert world.lane.began == pytest.approx([0, 0.01])


def test_a_lane_that_is_free_again_waits_for_those_just_answered_but_no_longer_than_it_may():
    async def closed(world: World) -> None:
        async def client(number: int) -> None:
            for _ in range(4):
                [task] = world.turn(row(LONG, number))
                await task
                await asyncio.sleep(0.001)

        first = asyncio.create_task(client(0))
        await asyncio.sleep(0.001)
        await asyncio.gather(first, *(client(number) for number in range(1, 4)))

    world = World(0.002)
    run(world, closed)
    assert world.requests == [1, 4, 4, 4, 3], "all four once they met"

    async def one_waits(world: World) -> None:
        tasks = world.turn(row(LONG, 1), row(LONG, 1))
        await asyncio.sleep(0.005)
        tasks += world.turn(row(LONG, 2))
        await asyncio.gather(*tasks)

    world = World(0.002)
    run(world, one_waits)
    assert world.lane.began == pytest.approx([0, 0.012])


def test_a_poisoned_request_fails_alone_on_the_loop_and_in_the_lane():
    for columns in (SHORT, LONG):

        async def life(world: World, columns: int = columns) -> list[Any]:
            tasks = world.turn(*(row(columns, number) for number in (1, -1, 2)))
            return await asyncio.gather(*tasks, return_exceptions=True)

        world = World()
        one, error, two = run(world, life)
        assert (one.outputs[0].values[0, 0], two.outputs[0].values[0, 0]) == (MARK + 1, MARK + 2)
        assert isinstance(error, RejectError)
        assert [len(values) for values in world.model.runs] == [3, 1, 1, 1]


def test_those_of_a_failed_run_have_their_own_turns_before_who_came_later():
    async def life(world: World) -> None:
        first = world.turn(*(row(LONG, number) for number in (1, -1, 2)))
        await asyncio.sleep(0.005)
        await asyncio.gather(*first, *world.turn(row(LONG, 9)), return_exceptions=True)

    world = World()
    run(world, life)
    assert [values[:, 0].tolist() for values in world.model.runs] == [[1, -1, 2], [1], [-1], [2], [9]]


def test_an_input_that_may_have_ended_the_process_runs_alone_and_one_that_did_not_at_all():
    suspect, refused = row(SHORT, 5), row(SHORT, 6)
    keys = [frozenset([key_of(feeds(values))]) for values in (refused, suspect)]

    async def life(world: World) -> list[Any]:
        tasks = world.turn(row(SHORT, 1), suspect, refused, row(SHORT, 2))
        return await asyncio.gather(*tasks, return_exceptions=True)

    world = World(flight=Flight(FlightRecord(), *keys))
    answers = run(world, life)
    assert sorted(len(values) for values in world.model.runs) == [1, 2]
    assert [getattr(each, "reason", "") for each in answers] == ["", "", "EndedTheProcess", ""]


@pytest.mark.parametrize("suspect", [LONG, SHORT])
def test_nothing_runs_beside_an_input_that_may_have_ended_the_process(suspect):
    noted: list[int] = []

    class Watched(FlightRecord):
        def begin(self, slot: int, keys: Any) -> None:
            noted.append(slot)
            super().begin(slot, keys)

    async def life(world: World) -> None:
        lane = world.turn(row(LONG, LONG))
        await asyncio.sleep(0.001)  # it is at work
        assert world.lane.busy
        beside = world.turn(row(SHORT, SHORT))
        await asyncio.sleep(0.001)
        assert not noted
        await asyncio.gather(*lane, *beside)

    keys = frozenset([key_of(feeds(row(suspect, suspect)))])
    run(World(flight=Flight(Watched(), suspected=keys)), life)
    assert noted == [LANE, INLINE]


def test_all_members_of_a_run_are_noted_while_it_is_made():
    noted: list[list[int]] = []

    class Watched(FlightRecord):
        def begin(self, slot: int, keys: Any) -> None:
            noted.append(list(keys))
            super().begin(slot, keys)

    async def life(world: World) -> None:
        await asyncio.gather(*world.turn(row(SHORT, 1), row(SHORT, 2)))

    world = World(flight=Flight(Watched()))
    run(world, life)
    assert noted == [[key_of(feeds(row(SHORT, 1))), key_of(feeds(row(SHORT, 2)))]]
    assert world.flight.record.take() == []


def test_a_model_that_gives_other_rows_than_it_took_shares_no_run_any_more(caplog):
    async def life(world: World) -> list[Prediction]:
        world.model.run = lambda given, outputs, _: [OutputTensor(given["x"][:1])]  # type: ignore[method-assign]
        answers = await asyncio.gather(*world.turn(*(row(SHORT, number) for number in range(3))))
        return answers + await asyncio.gather(*world.turn(*(row(SHORT, number) for number in range(3))))

    world = World()
    answers = run(world, life)
    assert [each.outputs[0].values.item() for each in answers] == [0, 1, 2, 0, 1, 2]
    assert world.requests == [1] * 6
    assert world.model.batching.described().startswith("never: 3 rows went in")
    assert "share no run any more" in caplog.text


def test_one_more_than_may_wait_is_shed_unless_a_client_went_away():
    async def life(world: World) -> None:
        tasks = world.turn(row(LONG, 1))
        await asyncio.sleep(0.001)
        world.coming += 1
        leaving = asyncio.create_task(world.ask(row(LONG, 2), lambda: True))
        tasks += world.turn(row(LONG, 3))
        await asyncio.sleep(0)
        tasks += world.turn(row(LONG, 4))  # takes the place of the one that left
        with pytest.raises(ClientGoneError):
            await leaving
        [one_more] = world.turn(row(LONG, 5))
        with pytest.raises(OverloadedError, match="2 requests are waiting") as caught:
            await one_more
        assert caught.value.delay == 1
        await asyncio.gather(*tasks)

    world = World(queue=QueueLimits(2, 60))
    run(world, life)
    assert world.shed == 1


def test_where_every_request_would_wait_one_without_a_place_is_refused_before_it_is_read():
    async def life(world: World) -> None:
        tasks = world.turn(row(LONG, 1))
        await asyncio.sleep(0.001)
        tasks += world.turn(row(LONG, 2), row(LONG, 3))
        await asyncio.sleep(0)
        refusal = world.batcher.refusal
        assert refusal() is None, "some runs are short, and need no place"
        world.model.costs.distrust()
        assert refusal() is None, "one has to come that looks for those who left"
        [one_more] = world.turn(row(LONG, 4))
        with pytest.raises(OverloadedError) as caught:
            await one_more
        refused = refusal()
        assert str(refused) == str(caught.value)
        assert (refusal(), world.shed) == (refused, 3)
        await asyncio.gather(*tasks)
        assert refusal() is None
        tasks = world.turn(row(LONG, 5))
        await asyncio.sleep(0.001)
        world.coming = 1
        assert refusal() is None
        world.coming = 2
        assert refusal() is refused, "those who are coming have the places"
        await asyncio.gather(*tasks)

    world = World(queue=QueueLimits(2, 60))
    run(world, life)


def test_a_request_whose_turn_does_not_come_in_time_is_never_run():
    async def life(world: World) -> None:
        [first] = world.turn(row(LONG, 1))
        await asyncio.sleep(0.001)
        [late] = world.turn(row(LONG, 2))
        began = asyncio.get_running_loop().time()
        with pytest.raises(OverloadedError, match=r"no free turn within 0\.005 s"):
            await late
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.005)
        await first

    world = World(queue=QueueLimits(9, 0.005))
    run(world, life)
    assert [values[0, 0] for values in world.model.runs] == [1]


def test_a_request_that_is_late_by_the_time_of_its_turn_is_never_run_though_no_timer_has_said_so():
    async def life(world: World) -> None:
        answers = world.model.run

        def held(*given: Any) -> list[OutputTensor]:
            asyncio.get_running_loop().jump(1)  # type: ignore[attr-defined]
            return answers(*given)

        async def there() -> bool:
            return False

        world.model.run = held  # type: ignore[method-assign]
        first, late = (
            asyncio.create_task(world.batcher.infer(feeds(row(columns, 1)), ["y"], there))
            for columns in (LONG, UNMEASURED)
        )
        with pytest.raises(OverloadedError, match="no free turn"):
            await late
        await first

    world = World(queue=QueueLimits(9, 0.5))
    run(world, life)
    assert [values[0, 0] for values in world.model.runs] == [1]


def test_the_last_of_a_turn_runs_all_without_another_turn_of_the_loop():
    async def life(world: World) -> None:
        tasks = world.turn(row(SHORT, 1), row(SHORT, 2))
        await asyncio.sleep(0)
        assert len(world.model.runs) == 1
        await asyncio.gather(*tasks)

    run(World(), life)


def test_how_long_a_request_waited_is_told_of_each():
    async def life(world: World) -> None:
        await asyncio.gather(*world.turn(row(LONG, 1), row(LONG, 2)))
        await asyncio.gather(*world.turn(row(SHORT, 1), row(SHORT, 2)))

    world = World()
    run(world, life)
    assert len(world.waited) == 4
    assert all(seconds >= 0 for seconds in world.waited)
