"""Predictions over one loaded model: tensors in, tensors out.

Nothing here knows of HTTP or JSON. A protocol is a translator before it: ``rest`` is one, and another (gRPC) has the
same two methods to call and the same errors to map.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter, thread_time
from typing import Any, Final, NamedTuple

from millrace_core.base.errors import MillraceError, RejectError, ReportError, TooLargeError
from millrace_services.inference import predict, runtime
from millrace_services.inference.costs import Shapes, shapes_of
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.flight import INLINE, LANE, FlightRecord, key_of
from millrace_services.inference.lane import Lane
from millrace_services.inference.predict import PredictRequest
from millrace_services.inference.prediction import Prediction, Timings
from millrace_services.inference.session import ModelSession, OutOfMemoryError, StoppedError
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import Array, OutputTensor
from millrace_services.inference.watch import Watch

logger = logging.getLogger(__name__)

INLINE_SECONDS: Final = 0.001
# Runs on the loop that are measured by the thread's own time, which costs some microseconds, after one seemed long.
_DOUBTFUL_RUNS: Final = 16

Feeds = dict[str, Array]
# Whether the client has gone away, so that nobody waits for the result any more.
Gone = Callable[[], Awaitable[bool]]


class Meters(NamedTuple):
    """Metrics of a run, each called with its figure: how long it took, and how many rows it had."""

    seconds: Callable[[float], None] = lambda _: None
    rows: Callable[[float], None] = lambda _: None


class Done(NamedTuple):
    """A run: its outputs, how long it took, and when it began, by ``perf_counter``."""

    outputs: list[OutputTensor]
    seconds: float
    began: float


class Flight(NamedTuple):
    """Where is noted what runs; and the keys of inputs that must not, as they ended a process before this one."""

    record: FlightRecord
    refused: frozenset[int] = frozenset()


class DataPlane:
    """One model and the ways to it: on the event loop where the run is known to be short, else through the lane.

    A hand-over to a thread and back costs 50 to 100 microseconds, many times what a small model takes; but what runs
    on the event loop keeps health checks and every other request waiting. Even a thousand connections at once, the
    most that a proxy opens by default, wait no longer for runs of ``INLINE_SECONDS`` than the queue's own timeout.

    Args:
        join: reads the features that the model takes; None where the deployment joins none.
        lost: called when the GPU has ceased to work, which only another process mends.
        hung: called when a run cannot be stopped, which only the end of this process mends.
    """

    def __init__(
        self,
        session: ModelSession,
        join: FeatureJoin | None,
        lane: Lane,
        meters: Meters,
        lost: Callable[[MillraceError], None],
        hung: Callable[[], Any],
        flight: Flight,
    ) -> None:
        self.session = session
        self.join = join
        self.lane = lane
        self._meters = meters
        self._flight = flight
        self._options = runtime.run_options()
        self._watch = Watch(self._stop, hung)
        self._runs = 0
        self._doubt = 0
        self._lost = lost
        self._check: asyncio.Task[bool] | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.session.signature

    async def infer(self, feeds: Feeds, outputs: list[str], gone: Gone) -> Prediction:
        """The outputs named, in that order, and what they took.

        Raises:
            RejectError: the model refuses the values; TooLargeError: they take more memory than there is.
            OverloadedError, DeadlineError: too many wait, or for too long; ClientGoneError: nobody waits any more.
            ReportError: the model or its device fails.
        """
        came = perf_counter()
        shapes = shapes_of(feeds)
        first = next(iter(feeds.values()), None)  # a model may have no inputs
        rows = first.shape[0] if first is not None and first.ndim else 1
        try:
            done = self._if_short(shapes, feeds, outputs)
            if done is None:
                done = await self._in_lane(shapes, feeds, outputs, gone)
        except OutOfMemoryError as error:
            raise TooLargeError(error.message, hint=error.hint) from error
        except ReportError as error:
            await self._look_for(error)
            raise
        self._meters.seconds(done.seconds)
        self._meters.rows(rows)
        return Prediction(done.outputs, Timings(done.began - came, 0.0, done.seconds))

    def _if_short(self, shapes: Shapes, feeds: Feeds, outputs: list[str]) -> Done | None:
        """A run on the event loop; None where it would not be short, or was stopped because it was not."""
        if self.session.costs.expected(shapes) > INLINE_SECONDS:
            return None
        self._runs += 1
        self._watch.run = self._runs
        computed = thread_time() if self._doubt else 0.0
        try:
            done = self._run(INLINE, feeds, outputs, self._options)
        except StoppedError:
            logger.warning("a run took much longer than others of its shape; none is made on the event loop any more")
            self.session.costs.distrust()
            return None
        finally:
            self._watch.run = 0
        if self._doubt:
            self._doubt -= 1
            cost = self._cost(done, computed)
            if cost > INLINE_SECONDS:
                self.session.costs.learn(shapes, cost)
        elif done.seconds > INLINE_SECONDS:  # a busy machine, or values that matter
            self._doubt = _DOUBTFUL_RUNS
        return done

    async def _in_lane(self, shapes: Shapes, feeds: Feeds, outputs: list[str], gone: Gone) -> Done:
        options = runtime.run_options()
        cost = 0.0

        def work() -> Done:
            nonlocal cost
            computed = thread_time()
            done = self._run(LANE, feeds, outputs, options)
            cost = self._cost(done, computed)
            return done

        def stop() -> None:
            options.terminate = True

        # Many may have come with shapes that were not known then.
        done = await self.lane.run(work, gone, stop, lambda: self._if_short(shapes, feeds, outputs))
        if cost:
            self.session.costs.learn(shapes, cost)
        return done

    def _cost(self, done: Done, computed: float) -> float:
        """What a run takes of the event loop, in seconds; ``computed`` is the thread's time before it.

        On the CPU the thread's own time: in the lane it waits for the interpreter while the loop is busy, and on a busy
        machine for a processor, and neither says that the run is long.
        """
        return thread_time() - computed if self.session.device == "cpu" else done.seconds

    def _run(self, slot: int, feeds: Feeds, outputs: list[str], options: Any) -> Done:
        """A run that is noted while it is made."""
        record, refused = self._flight
        key = key_of(feeds)
        if key in refused:
            raise RejectError(
                "this input ended the process that ran the model before, so it is not run again",
                hint="The server's log names the signal",
                reason="EndedTheProcess",
            )
        record.begin(slot, key)
        try:
            began = perf_counter()
            results = self.session.run(feeds, outputs, options)
            return Done(results, perf_counter() - began, began)
        finally:
            record.end(slot)

    def _stop(self) -> None:
        self._options.terminate = True

    async def predict(self, request: PredictRequest, gone: Gone) -> Prediction:
        """All outputs, in the model's order, for entities whose features are read here, and what they took.

        Raises:
            MillraceError: as ``infer``, ``FeatureJoin.feeds`` and ``predict.feeds`` do.
        """
        signature = self.signature
        feeds: Feeds = {}
        alone: dict[str, list[Any]] = {}
        joined = 0.0
        if self.join is not None:
            began = perf_counter()
            alone, also = predict.for_features(request, signature, self.join.inputs)
            feeds = await self.join.feeds(request.entities, alone, also)
            joined = perf_counter() - began
        feeds |= predict.feeds(request, signature, set(feeds), alone)
        outputs, timings = await self.infer(feeds, signature.output_names, gone)
        return Prediction(outputs, timings._replace(join=joined))

    async def aclose(self) -> None:
        """Ends the model's thread once it is idle, and the connections to the gateway."""
        self.lane.close()
        self._watch.close()
        if self.join is not None:
            await self.join.aclose()

    async def _look_for(self, error: ReportError) -> None:
        """After an error of CUDA's every further call in this process may fail, whatever comes."""
        if self.session.device == "gpu" and not await self._still_runs():
            self._lost(ReportError(f"the GPU has ceased to work: {error}", reason="DeviceLost"))

    async def _still_runs(self) -> bool:
        """One check at a time: requests that fail together share its answer, and none runs beside the lane for each."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self.session.still_runs))
        return await asyncio.shield(self._check)  # a caller that goes away takes it from no other
