"""Which requests run together, and where: those of one turn of the event loop, and those that waited for the lane.

A hand-over to a thread and back costs 50 to 100 microseconds, many times what a small model takes; but what runs on the
event loop keeps health checks and every other request waiting. Even a thousand connections at once, the most that a
proxy opens by default, wait no longer for runs of ``INLINE_SECONDS`` than the queue's own timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Final, NamedTuple

from millrace_services.inference import batching
from millrace_services.inference.batching import Batching, Kind, MixedRowsError, bucket, cost_key
from millrace_services.inference.lane import Lane, StopReason
from millrace_services.inference.line import Line, QueueLimits, Request
from millrace_services.inference.prediction import Prediction, Timings
from millrace_services.inference.run_spans import RunSpans
from millrace_services.inference.runs import INLINE_SECONDS, Done, Feeds, Gone, Runs
from millrace_services.web.errors import OverloadedError
from millrace_services.web.hot import ClientGoneError

logger = logging.getLogger(__name__)

# What it costs a request to share a run: a future, a wake-up, copies of its rows.
_SHARING_SECONDS: Final = 15e-6
# A batch takes at most this part of the time that requests may wait, so that those behind it get their turn, too.
_LONGEST: Final = 0.25
_PLANS: Final = 1024
_TO_LEARN: Final = batching.TO_LEARN


class Meters(NamedTuple):
    """Metrics, each called with its figure: seconds, rows and requests of a run, seconds that a request waited.

    Attributes:
        spans: of runs and of waits; None: nobody wants them.
    """

    seconds: Callable[[float], None] = lambda _: None
    rows: Callable[[float], None] = lambda _: None
    requests: Callable[[float], None] = lambda _: None
    queue: Callable[[float], None] = lambda _: None
    spans: RunSpans | None = None


class Waits(NamedTuple):
    """Limits on waiting.

    Attributes:
        queue: of those that wait for the model.
        max_delay: seconds that a model which has become free may wait for more requests.
    """

    queue: QueueLimits = QueueLimits()
    max_delay: float = 0.0


class Batcher:
    """The way to one model.

    Args:
        shed: called for each request refused because too many wait, or for too long.
        coming: requests that have come, and that the event loop has not begun to answer in this turn.
    """

    def __init__(
        self,
        runs: Runs,
        lane: Lane,
        waits: Waits,
        meters: Meters,
        shed: Callable[[], None],
        coming: Callable[[], int] = lambda: 0,
    ) -> None:
        self.line = Line(waits.queue, shed)
        self._runs = runs
        self._lane = lane
        self._costs = runs.session.costs
        self._waits = waits
        self._meters = meters
        self._coming = coming
        self._turn: dict[Kind, list[Request]] = {}
        self._flushing: asyncio.Handle | None = None
        self._driving: asyncio.Task[None] | None = None
        self._company: asyncio.Event | None = None
        self._expected = 0
        self._plans: dict[Kind, tuple[int, int]] = {}
        self._known, self._all_wait = -1, False

    async def infer(self, feeds: Feeds, outputs: list[str], gone: Gone) -> Prediction:
        """The outputs named, in that order.

        Raises:
            OverloadedError: too many wait, or for too long; DeadlineError: the run took too long; ClientGoneError:
            nobody waits any more.
            MillraceError: as ``ModelSession.run`` does.
        """
        came = perf_counter()
        rows, kind, cost = cost_key(self._runs.session.batching, feeds)
        short = self._costs.expected(cost) <= INLINE_SECONDS
        shared = self._most_on_loop(kind, rows) if short and rows and self._company_comes() else 0
        if short and shared < 2 * rows:
            if shared != _TO_LEARN:
                done = self._runs.on_loop(cost, feeds, outputs)
                if done is not None:
                    return self._told(done, feeds, came)
            short = False
        request = Request(feeds, outputs, rows, kind, cost, gone)
        if self._meters.spans is not None:
            request.span = self._meters.spans.current()
        if rows and rows < self._runs.session.batching.rows and not self._runs.suspected(feeds):
            request.key = (kind, *outputs)
        if short:
            self._join_turn(request)
        else:
            await self.line.room()
            self.line.append(request)
            self._look_at_line()
        try:
            return await request.answer
        finally:
            self.line.remove(request)

    def refusal(self) -> OverloadedError | None:
        """Why a request is refused whatever it brings, before it is read; None where it may not be.

        Nothing that is known of the model is short, so each would have to wait, and there is no place for it.
        """
        costs = self._costs
        if self._known != costs.version:
            self._known, self._all_wait = costs.version, costs.shortest() > INLINE_SECONDS
        return self.line.refusal(self._coming()) if self._all_wait else None

    def _company_comes(self) -> bool:
        return bool(self._turn or self._coming() or self.line)

    def _most_on_loop(self, kind: Kind, rows: int) -> int:
        """Rows of a run on the loop that such requests share: none where each is better made on its own."""
        size = bucket(rows)
        known = self._plans.get((kind, size))
        if known is not None and known[0] == self._costs.version:
            return known[1]
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        costs = self._costs
        most = batching.rows_on_loop(
            lambda rows: costs.expected((rows, kind)),
            lambda rows: costs.least((rows, kind)),
            size,
            self._rows_that_pay(kind),
            longest=INLINE_SECONDS,
            sharing=_SHARING_SECONDS,
        )
        self._plans[kind, size] = (self._costs.version, most)
        return most

    def _rows_that_pay(self, kind: Kind) -> int:
        return batching.best_rows(
            lambda rows: self._costs.least((rows, kind)),
            self._runs.session.batching.rows,
            self._waits.queue.timeout * _LONGEST,
        )

    def _join_turn(self, request: Request) -> None:
        """Lets a request wait for the others of this turn of the loop; the last of them runs them all."""
        key = request.key or (request,)
        self._turn.setdefault(key, []).append(request)
        if not self._coming():
            self._run_turn()
        elif self._flushing is None:  # what is still to come may not be for the model
            self._flushing = asyncio.get_running_loop().call_soon(self._run_turn)

    def _run_turn(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        groups, self._turn = self._turn, {}
        for group in groups.values():
            waiting = {request: None for request in group if not request.answer.done()}
            while waiting:
                batch = batching.together(waiting, lambda head: self._most_on_loop(head.kind, head.rows))
                for request in batch:
                    del waiting[request]
                self._run_on_loop(batch)

    def _run_on_loop(self, batch: list[Request]) -> None:
        try:
            done = self._runs.on_loop(*_work(batch))
            if done is not None:
                self._answer(batch, done)
                return
        except Exception as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return
            self._doubt(error)
            for request in _apart(batch):
                self._run_on_loop([request])
            return
        for request in _apart(batch):  # it was not short
            try:
                self.line.require_room()
            except Exception as error:
                request.fail(error)
            else:
                self.line.append(request)
        self._look_at_line()

    def _look_at_line(self) -> None:
        if self._driving is None:
            # It begins in the next turn, so that requests of this turn are all there.
            self._driving = asyncio.get_running_loop().create_task(self._drive())
        elif len(self.line) >= self._expected and self._company is not None:
            self._company.set()

    async def _drive(self) -> None:
        """Gives turns for as long as somebody waits."""
        try:
            while self.line:
                answered = await self._next_turn()
                await self._wait_for_company(answered)
        finally:
            self._driving = None

    async def _next_turn(self) -> int:
        """Runs those whose turn it is; their number."""
        self.line.drop_late()
        if not self.line:
            return 0
        batch = batching.together(self.line, lambda head: self._rows_that_pay(head.kind))
        batch = await self.line.present(batch)
        self.line.remove(*batch)
        if not batch:
            return 0
        cost, *_ = _work(batch)
        if self._costs.expected(cost) <= INLINE_SECONDS:  # it became known while they waited
            self._run_on_loop(batch)
            await asyncio.sleep(0)
            return 0
        try:
            await self._run_in_lane(batch)
        except Exception as error:
            self._failed(batch, error)
        return len(batch)

    async def _run_in_lane(self, batch: list[Request]) -> None:
        cost, feeds, outputs, members = _work(batch)

        async def gone() -> bool:
            return all([await request.left() for request in batch])

        work, stop = self._runs.in_thread(feeds, outputs, members)
        ran = await self._lane.run(work, gone, stop, partial(self._stopped, batch))
        if ran is not None:
            done, took = ran
            self._costs.learn(cost, took)
            self._answer(batch, done)

    def _stopped(self, batch: list[Request], reason: StopReason) -> None:
        if isinstance(reason, ClientGoneError):
            for request in batch:
                request.fail(reason)
        else:
            self._failed(batch, reason)

    def _failed(self, batch: list[Request], error: Exception) -> None:
        """One of several may be at fault: each gets a turn of its own."""
        if len(batch) == 1:
            batch[0].fail(error)
            return
        self._doubt(error)
        self.line.put_first([request for request in _apart(batch) if not request.answer.done()])

    def _doubt(self, error: Exception) -> None:
        if isinstance(error, MixedRowsError):
            logger.warning("rows of different requests share no run any more: %s", error)
            self._runs.session.batching = Batching(1, str(error))

    async def _wait_for_company(self, answered: int) -> None:
        """Those who were answered may ask again at once: a free model waits for them beside those that wait already.

        Who comes to a model that is free never waits: there is nobody to wait for.
        """
        head = next(iter(self.line), None)
        if head is None or head.key is None or not answered or not self._waits.max_delay:
            return
        fit = max(1, self._rows_that_pay(head.kind) // head.rows)
        self._expected = min(answered + len(self.line), fit)
        if len(self.line) >= self._expected:
            return
        self._company = asyncio.Event()
        try:
            async with asyncio.timeout(self._waits.max_delay):
                await self._company.wait()
        except TimeoutError:
            pass
        finally:
            self._company = None

    def _answer(self, batch: Sequence[Request], done: Done) -> None:
        rows = [request.rows for request in batch]
        parts = batching.split(done.outputs, rows) if len(batch) > 1 else [done.outputs]
        self._meters.seconds(done.seconds)
        self._meters.rows(sum(rows) or _rows(batch[0].feeds))
        self._meters.requests(len(batch))
        if self._meters.spans is not None:
            self._meters.spans.ran(done, sum(rows), [(request.span, request.came) for request in batch])
        for request, outputs in zip(batch, parts, strict=True):
            waited = done.began - request.came
            self._meters.queue(waited)
            if not request.answer.done():
                request.answer.set_result(Prediction(outputs, Timings(waited, 0.0, done.seconds)))

    def _told(self, done: Done, feeds: Feeds, came: float) -> Prediction:
        waited = done.began - came
        meters = self._meters
        meters.seconds(done.seconds)
        meters.rows(_rows(feeds))
        meters.requests(1)
        meters.queue(waited)
        if meters.spans is not None:
            meters.spans.ran(done, _rows(feeds), [(meters.spans.current(), came)])
        return Prediction(done.outputs, Timings(waited, 0.0, done.seconds))


def _rows(feeds: Feeds) -> int:
    """Rows of what may not be batched: the first size of the first input, else one."""
    first = next(iter(feeds.values()), None)  # a model may have no inputs
    return int(first.shape[0]) if first is not None and first.ndim else 1


def _apart(batch: list[Request]) -> list[Request]:
    for request in batch:
        request.key = None
    return batch


def _work(batch: list[Request]) -> tuple[Kind, Feeds, list[str], list[Feeds]]:
    """Cost, inputs and outputs of the run of a batch; and the inputs of its members, where they are several."""
    head = batch[0]
    if len(batch) == 1:
        return head.cost, head.feeds, head.outputs, []
    members = [request.feeds for request in batch]
    rows = sum(request.rows for request in batch)
    return (bucket(rows), head.kind), batching.joined(members), head.outputs, members
