"""Predictions over one loaded model: tensors in, tensors out.

Nothing here knows of HTTP or JSON. A protocol is a translator before it: ``rest`` is one, and another (gRPC) has the
same two methods to call and the same errors to map.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from millrace_core.base.errors import MillraceError, ReportError, TooLargeError
from millrace_services.inference import predict
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.lane import INLINE_SECONDS, Lane
from millrace_services.inference.predict import PredictRequest
from millrace_services.inference.session import ModelSession, OutOfMemoryError
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import Array, OutputTensor

Feeds = dict[str, Array]
# Whether the client has gone away, so that nobody waits for the result any more.
Gone = Callable[[], Awaitable[bool]]


class Meters(NamedTuple):
    """Metrics of a run, each called with its figure: how long it took, and how many rows it had."""

    seconds: Callable[[float], None] = lambda _: None
    rows: Callable[[float], None] = lambda _: None


class DataPlane:
    """One model and the ways to it.

    Args:
        join: reads the features that the model takes; None where the deployment joins none.
        lost: called when the GPU has ceased to work, which only another process mends.
    """

    def __init__(
        self,
        session: ModelSession,
        join: FeatureJoin | None,
        lane: Lane,
        meters: Meters,
        lost: Callable[[MillraceError], None],
    ) -> None:
        self.session = session
        self.join = join
        self.lane = lane
        self.in_flight = 0
        self._meters = meters
        self._lost = lost
        self._check: asyncio.Task[bool] | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.session.signature

    async def infer(self, feeds: Feeds, outputs: list[str], gone: Gone) -> list[OutputTensor]:
        """The outputs named, in that order.

        Raises:
            RejectError: the model refuses the values; TooLargeError: they take more memory than there is.
            OverloadedError, DeadlineError: too many wait, or for too long; ClientGoneError: nobody waits any more.
            ReportError: the model or its device fails.
        """
        session = self.session
        first = next(iter(feeds.values()), None)  # a model may have no inputs
        rows = first.shape[0] if first is not None and first.ndim else 1
        self.in_flight += 1
        try:
            if session.expected_seconds(rows) <= INLINE_SECONDS:
                results, seconds = _timed(session, feeds, outputs)
            else:
                results, seconds = await self.lane.run(partial(_timed, session, feeds, outputs), gone)
        except OutOfMemoryError as error:
            raise TooLargeError(error.message, hint=error.hint) from error
        except ReportError as error:
            await self._look_for(error)
            raise
        finally:
            self.in_flight -= 1
        self._meters.seconds(seconds)
        self._meters.rows(rows)
        return results

    async def predict(self, request: PredictRequest, gone: Gone) -> list[OutputTensor]:
        """All outputs, in the model's order, for entities whose features are read here.

        Raises:
            MillraceError: as ``infer``, ``FeatureJoin.feeds`` and ``predict.feeds`` do.
        """
        signature = self.signature
        feeds: Feeds = {}
        alone: dict[str, list[Any]] = {}
        if self.join is not None:
            alone, also = predict.for_features(request, signature, self.join.inputs)
            feeds = await self.join.feeds(request.entities, alone, also)
        feeds |= predict.feeds(request, signature, set(feeds), alone)
        return await self.infer(feeds, signature.output_names, gone)

    async def aclose(self) -> None:
        """Ends the model's thread once it is idle, and the connections to the gateway."""
        self.lane.close()
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


def _timed(session: ModelSession, feeds: Feeds, outputs: list[str]) -> tuple[list[OutputTensor], float]:
    began = perf_counter()
    return session.run(feeds, outputs), perf_counter() - began
