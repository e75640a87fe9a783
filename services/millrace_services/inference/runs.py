"""Runs of the model, each noted while it is made: on the event loop, or by a function for the lane's thread."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, thread_time
from typing import Any, Final, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_services.inference import runtime
from millrace_services.inference.batching import Kind
from millrace_services.inference.flight import INLINE, LANE, FlightRecord, key_of
from millrace_services.inference.session import ModelSession, StoppedError
from millrace_services.inference.tensors import Array, OutputTensor
from millrace_services.inference.watch import Watch

logger = logging.getLogger(__name__)

INLINE_SECONDS: Final = 0.001
# Runs on the loop that are measured by the thread's own time, which costs some microseconds, after one seemed long.
_DOUBTFUL_RUNS: Final = 16
# A run that took so much less than was expected is learned from.
_MUCH_SHORTER: Final = 0.7

Feeds = dict[str, Array]
# Whether the client has gone away, so that nobody waits for the result any more.
Gone = Callable[[], Awaitable[bool]]


class Done(NamedTuple):
    """A run: its outputs, how many seconds it took, and when it began, by ``perf_counter``."""

    outputs: list[OutputTensor]
    seconds: float
    began: float


class Flight(NamedTuple):
    """Where is noted what runs; and the keys of inputs that must not, or not beside others, after earlier crashes."""

    record: FlightRecord
    refused: frozenset[int] = frozenset()
    suspected: frozenset[int] = frozenset()


class Runs:
    """All runs of one model.

    Args:
        hung: called when a run on the loop cannot be stopped, which only the end of this process mends.

    Attributes:
        on_loop_count: runs that were begun on the loop.
    """

    def __init__(self, session: ModelSession, flight: Flight, hung: Callable[[], Any]) -> None:
        self.session = session
        self.on_loop_count = 0
        self._flight = flight
        self._options = runtime.run_options()
        self._watch = Watch(self._stop, hung)
        self._doubt = 0
        self._in_lane = self._suspect_in_lane = False

    def suspected(self, feeds: Feeds) -> bool:
        """Whether an input must run alone, or is refused."""
        _, refused, suspected = self._flight
        return bool(refused or suspected) and not (refused | suspected).isdisjoint((key_of(feeds),))

    def on_loop(self, cost: Kind, feeds: Feeds, outputs: list[str], members: Sequence[Feeds] = ()) -> Done | None:
        """A run on the event loop; None where it is not to be made there.

        It would not be short, or was stopped because it was not; or it, or what the lane computes, may have ended a
        process: were both at work when the next one ends, nobody could tell which of them did.

        Args:
            cost: the key of what it takes.
            members: inputs of the requests that share it, where there are several.
        """
        costs = self.session.costs
        expected = costs.expected(cost)
        if expected > INLINE_SECONDS or (self._in_lane and (self._suspect_in_lane or self.suspected(feeds))):
            return None
        self.on_loop_count += 1
        self._watch.run = self.on_loop_count
        computed = thread_time() if self._doubt else 0.0
        try:
            done = self._run(INLINE, feeds, outputs, members, self._options)
        except StoppedError:
            logger.warning("a run took much longer than others of its shape; none is made on the event loop any more")
            costs.distrust()
            return None
        finally:
            self._watch.run = 0
        if self._doubt:
            self._doubt -= 1
            took = self._cost(done, computed)
            if took > INLINE_SECONDS:
                costs.learn(cost, took)
        elif done.seconds > INLINE_SECONDS:  # a busy machine, or values that matter
            self._doubt = _DOUBTFUL_RUNS
        elif done.seconds < _MUCH_SHORTER * expected:  # the machine was busy before
            costs.learn(cost, done.seconds)
        return done

    def in_thread(
        self, feeds: Feeds, outputs: list[str], members: Sequence[Feeds]
    ) -> tuple[Callable[[], tuple[Done, float]], Callable[[], None]]:
        """Work for a thread, which returns the run and what its cost is; and what stops it."""
        options = runtime.run_options()
        self._in_lane, self._suspect_in_lane = True, self.suspected(feeds)

        def work() -> tuple[Done, float]:
            computed = thread_time()
            try:
                done = self._run(LANE, feeds, outputs, members, options)
            finally:
                self._in_lane = False
            return done, self._cost(done, computed)

        def stop() -> None:
            options.terminate = True

        return work, stop

    def close(self) -> None:
        """Ends the thread that watches."""
        self._watch.close()

    def _cost(self, done: Done, computed: float) -> float:
        """What a run takes of the event loop, in seconds; ``computed`` is the thread's time before it.

        On the CPU the thread's own time: in the lane it waits for the interpreter while the loop is busy, and on a busy
        machine for a processor, and neither says that the run is long.
        """
        return thread_time() - computed if self.session.device == "cpu" else done.seconds

    def _run(self, slot: int, feeds: Feeds, outputs: list[str], members: Sequence[Feeds], options: Any) -> Done:
        """A run that is noted while it is made."""
        record, refused, _ = self._flight
        keys = [key_of(each) for each in members] if members else (key_of(feeds),)
        if refused and not refused.isdisjoint(keys):
            raise RejectError(
                "this input ended the process that ran the model before, so it is not run again",
                hint="The server's log names the signal",
                reason="EndedTheProcess",
            )
        record.begin(slot, keys)
        try:
            began = perf_counter()
            results = self.session.run(feeds, outputs, options)
            return Done(results, perf_counter() - began, began)
        finally:
            record.end(slot)

    def _stop(self) -> None:
        self._options.terminate = True
