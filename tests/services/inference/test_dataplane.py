"""What a failed run means: too large a request, or on a GPU the loss of it."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from millrace_core.base.errors import MillraceError, RejectError, ReportError, TooLargeError
from millrace_services.inference import session
from millrace_services.inference.batcher import Batcher, Meters, Waits
from millrace_services.inference.costs import Costs, shapes_of
from millrace_services.inference.dataplane import DataPlane
from millrace_services.inference.flight import FlightRecord
from millrace_services.inference.lane import Lane
from millrace_services.inference.line import QueueLimits
from millrace_services.inference.runs import Done, Flight, Runs
from millrace_services.inference.session import ModelSession
from millrace_services.web.errors import DeadlineError

from .conftest import counting


async def here() -> bool:
    return False


def misfit() -> dict[str, np.ndarray]:
    """Two columns of a model that adds them, which cannot be added."""
    return {"age": np.zeros((2, 2), np.float32), "v__height": np.zeros((2, 3), np.float32)}


def data_of(loaded: ModelSession, told: list[MillraceError], run_timeout: float = 60) -> DataPlane:
    def nothing(*_: object) -> None:
        """Nobody is told."""

    lane = Lane(run_timeout=run_timeout, hung=nothing)
    runs = Runs(loaded, Flight(FlightRecord()), nothing)
    batcher = Batcher(runs, lane, Waits(QueueLimits(9, 60)), Meters(), nothing)
    return DataPlane(runs, None, lane, batcher, told.append)


@pytest.mark.parametrize(
    ("device", "broken", "reasons", "refusal"),
    [("gpu", True, ["DeviceLost"], ReportError), ("gpu", False, [], RejectError), ("cpu", True, [], RejectError)],
    ids=["a lost GPU", "one bad request", "on the CPU"],
)
async def test_a_gpu_that_computes_nothing_any_more_is_told_of(models, device, broken, reasons, refusal):
    on_cpu = session.load(models["columns"], "cpu", 1)
    loaded = ModelSession(on_cpu._session, on_cpu.signature, device)
    assert loaded.warm_up() is None
    if broken:  # as after a fault of CUDA's: whatever comes, each run fails
        loaded._session = session.load(models["lookup"], "cpu", 1)._session
    told: list[MillraceError] = []
    data = data_of(loaded, told)
    with pytest.raises(refusal, match=r"the model (fails|refuses)"):
        await data.infer(misfit(), ["total"], here)
    assert [error.reason for error in told] == reasons
    await data.aclose()


async def test_a_gpu_whose_memory_others_hold_is_not_lost(models):
    on_cpu = session.load(models["columns"], "cpu", 1)
    loaded = ModelSession(on_cpu._session, on_cpu.signature, "gpu")
    assert loaded.warm_up() is None
    loaded._session = Full()
    assert loaded.still_runs()


async def test_requests_that_fail_together_share_one_check_of_the_gpu(models):
    on_cpu = session.load(models["columns"], "cpu", 1)
    loaded = Checked(on_cpu._session, on_cpu.signature, "gpu")
    loaded.row_seconds = 0.0
    loaded.costs.learn(shapes_of(misfit()), 0.0)
    told: list[MillraceError] = []
    data = data_of(loaded, told)
    failing = [asyncio.create_task(data.infer(misfit(), ["total"], here)) for _ in range(5)]
    await asyncio.to_thread(loaded.begun.wait)
    failing[0].cancel()
    loaded.may_end.set()
    answers = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, *[RejectError] * 4]
    assert (loaded.checks, told) == (1, [])
    with pytest.raises(RejectError):
        await data.infer(misfit(), ["total"], here)
    assert loaded.checks == 2, "a later failure is looked into again"
    await data.aclose()


class Checked(ModelSession):
    """Counts its checks, of which none ends before it may."""

    def __init__(self, *known):
        super().__init__(*known)
        self.checks = 0
        self.begun, self.may_end = threading.Event(), threading.Event()

    def still_runs(self):
        self.checks += 1
        self.begun.set()
        return self.may_end.wait(60) and super().still_runs()


class Full:
    """A session where nothing is left to give."""

    def run(self, *_):
        raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory")


async def test_input_that_the_memory_does_not_hold_is_413(models):
    data = data_of(session.load_warm(models["pairs"], "cpu", 1), [])
    with pytest.raises(TooLargeError, match="takes more memory than the CPU has left"):
        await data.infer({"x": np.zeros((8388608, 1), np.float32)}, ["most"], here)
    await data.aclose()


async def test_a_model_without_inputs_gives_what_it_has(models):
    data = data_of(session.load_warm(models["constant"], "cpu", 1), [])
    [found] = (await data.infer({}, ["value"], here)).outputs
    assert found[0].tolist() == [1.5, 2.5, 3.5]
    await data.aclose()


async def test_a_run_on_the_loop_that_takes_much_longer_than_its_shape_does_is_stopped_and_made_in_the_lane(tmp_path):
    loaded = session.load_warm(counting(tmp_path / "model.onnx"), "cpu", 1)
    data = data_of(loaded, [], run_timeout=0.01)
    loaded.costs._seconds[((1, 1),)] = 0.0  # whatever the machine was busy with
    with pytest.raises(DeadlineError, match=r"the model took longer than 0\.01 s"):
        await data.infer({"x": np.array([[1e18]], np.float32)}, ["y"], here)
    assert loaded.costs.expected(((1, 1),)) == float("inf"), "values decide what this model takes"
    await data.aclose()


async def test_many_that_come_with_a_shape_that_is_not_known_wait_for_one_of_them_alone(models):
    loaded = session.load_warm(models["sum"], "cpu", 1)
    loaded.costs = Eager()
    data = data_of(loaded, [])
    feeds = {"features": np.ones((7, 3), np.float32)}
    found = await asyncio.gather(*(data.infer(feeds, ["total"], here) for _ in range(9)))
    assert all(each.outputs[0].values.tolist() == [[3.0]] * 7 for each in found)
    assert data._runs.on_loop_count >= 7, (
        "two at most ran in the lane, the second before it was known what the first one took"
    )
    await data.aclose()


class Eager(Costs):
    """Takes whatever ran for short."""

    def learn(self, shapes, seconds):
        super().learn(shapes, 0.0)


async def test_a_run_on_the_loop_that_was_long_by_the_clock_alone_goes_on_and_one_that_computed_long_does_not(tmp_path):
    loaded = session.load_warm(counting(tmp_path / "model.onnx"), "cpu", 1)
    loaded.costs._seconds[((1, 1),)] = 0.0
    loaded.run = Paused(loaded.run)
    data = data_of(loaded, [])
    for count in (1, 1):
        await data.infer({"x": np.array([[count]], np.float32)}, ["y"], here)
        assert loaded.costs.expected(((1, 1),)) == 0.0, "the machine was busy"
    loaded.run.computing = 0.005
    await data.infer({"x": np.array([[1]], np.float32)}, ["y"], here)
    assert loaded.costs.expected(((1, 1),)) >= 0.005
    await data.aclose()


async def test_a_cost_that_was_learned_on_a_busy_machine_is_learned_anew_from_much_shorter_runs(models):
    loaded = session.load_warm(models["sum"], "cpu", 1)
    data = data_of(loaded, [])
    feeds = {"features": np.ones((1, 3), np.float32)}
    for seconds, expected in ((0.0008, 0.0008), (0.0004, 0.0006)):
        loaded.costs._seconds[((1, 3),)] = 0.0008
        data._runs._run = lambda *_, seconds=seconds: Done([], seconds, 0.0)
        await data.infer(feeds, ["total"], here)
        assert loaded.costs.expected(((1, 3),)) == pytest.approx(expected)
    await data.aclose()


class Paused:
    """Runs that take more than a millisecond, of which they compute as much as is said."""

    def __init__(self, run):
        self._run = run
        self.computing = 0.0

    def __call__(self, *given):
        results = self._run(*given)
        time.sleep(0.002)
        until = time.thread_time() + self.computing
        while time.thread_time() < until:
            pass
        return results


async def test_a_prediction_says_how_long_it_waited_and_how_long_the_model_computed(models):
    loaded = session.load_warm(models["sum"], "cpu", 1)
    paused, may_begin = Paused(loaded.run), threading.Event()
    loaded.run = lambda *given: may_begin.wait(60) and paused(*given)
    loaded.costs.learn(((1, 3),), 1.0)
    data = data_of(loaded, [])
    feeds = {"features": np.ones((1, 3), np.float32)}
    waiting = [asyncio.create_task(data.infer(feeds, ["total"], here)) for _ in range(2)]
    await asyncio.sleep(0)
    may_begin.set()
    for made in await asyncio.gather(*waiting):
        assert made.timings.compute >= 0.002
        assert made.timings.join == 0.0
    assert waiting[1].result().timings.queue >= 0.002
    await data.aclose()
