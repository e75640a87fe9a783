"""Predictions over one loaded model: tensors in, tensors out.

Nothing here knows of HTTP or JSON. A protocol is a translator before it: ``rest`` is one, and another (gRPC) has the
same two methods to call and the same errors to map.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, Final

from millrace_core.base.errors import MillraceError, RejectError, ReportError, TooLargeError
from millrace_services.inference import cache_key, predict, runtime
from millrace_services.inference.batcher import Batcher
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.lane import Lane
from millrace_services.inference.note import Note
from millrace_services.inference.predict import PredictRequest
from millrace_services.inference.prediction import Prediction, Timings
from millrace_services.inference.prediction_cache import PredictionCache
from millrace_services.inference.runs import Feeds, Gone, Runs
from millrace_services.inference.session import OutOfMemoryError
from millrace_services.inference.signature import Signature
from millrace_services.web import tracing

# Bytes of inputs from which their key is made in a thread.
_LONG_KEY: Final = 256 * 1024


class DataPlane:
    """One model and the way to it.

    Args:
        join: reads the features that the model takes; None where the deployment joins none.
        cache: of answers; None: every request runs the model.
        lost: called when the GPU has ceased to work, which only another process mends.
        span: makes the span around the read of features.
    """

    def __init__(
        self,
        runs: Runs,
        join: FeatureJoin | None,
        lane: Lane,
        batcher: Batcher,
        lost: Callable[[MillraceError], None],
        span: Callable[[str], AbstractContextManager[None]] = tracing.no_span,
        cache: PredictionCache | None = None,
    ) -> None:
        self.session = runs.session
        self.join = join
        self.batcher = batcher
        self._runs = runs
        self._lane = lane
        self._lost = lost
        self._span = span
        self._cache = cache
        self._check: asyncio.Task[bool] | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.session.signature

    def refusal(self) -> MillraceError | None:
        """Why a prediction is refused before its request is read; None where it may not be.

        With a cache, whose answers need no model, only the request says.
        """
        return self.batcher.refusal() if self._cache is None else None

    async def infer(
        self, feeds: Feeds, outputs: list[str], gone: Gone, rows_read: bytes = b"", *, anew: bool = False
    ) -> Prediction:
        """The outputs named, in that order, and what they took.

        Args:
            rows_read: what tells the rows that features came from, for the cache.
            anew: runs the model, whatever the cache has.

        Raises:
            RejectError: the model refuses the values; TooLargeError: they take more memory than there is.
            OverloadedError: too many wait, or for too long; DeadlineError: the run took too long; ClientGoneError:
            nobody waits any more.
            ReportError: the model or its device fails.
        """
        if self._cache is not None and not anew:
            key = await _key(feeds, outputs, rows_read)
            return await self._cache.answer(key, lambda: self.infer(feeds, outputs, gone, anew=True))
        try:
            return await self.batcher.infer(feeds, outputs, gone)
        except OutOfMemoryError as error:
            raise TooLargeError(error.message, hint=error.hint) from error
        except ReportError as error:
            await self._look_for(error)
            raise

    async def predict(self, request: PredictRequest, gone: Gone, note: Note) -> Prediction:
        """All outputs, in the model's order, for entities whose features are read here, and what they took.

        Args:
            note: gets what was read and what the model is fed, also where it fails then.

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
            with self._span("feature join"):
                feeds = await self.join.feeds(request.entities, alone, also, note)
            joined = perf_counter() - began
        own = predict.feeds(request, signature, set(feeds), alone)
        note.fields, note.inputs, note.timings = alone, own, Timings(join=joined)
        feeds |= own
        rows_read = b"" if self._cache is None or note.features is None else cache_key.rows_read(note.features)
        made = await self.infer(feeds, signature.output_names, gone, rows_read)
        return made._replace(timings=made.timings._replace(join=joined))

    async def aclose(self) -> None:
        """Ends the model's thread once it is idle, and the connections to the gateway."""
        self._lane.close()
        self._runs.close()
        if self.join is not None:
            await self.join.aclose()

    async def _look_for(self, error: ReportError) -> None:
        """After an error of CUDA's every further call in this process may fail, whatever comes.

        Raises:
            RejectError: the GPU works on, so the request's input is at fault.
        """
        if self.session.device != "gpu":
            return
        if not await self._still_runs():
            self._lost(ReportError(f"the GPU has ceased to work: {error}", reason="DeviceLost"))
        elif not runtime.is_devices_fault(error.__cause__):
            raise RejectError(f"the model refuses this input: {error.message}", reason="BadTensor") from error

    async def _still_runs(self) -> bool:
        """One check at a time: requests that fail together share its answer, and none runs beside the lane for each."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self.session.still_runs))
        return await asyncio.shield(self._check)  # a caller that goes away takes it from no other


async def _key(feeds: Feeds, outputs: list[str], rows_read: bytes) -> bytes:
    if cache_key.weight(feeds) <= _LONG_KEY:
        return cache_key.key_of(feeds, outputs, rows_read)
    return await asyncio.to_thread(cache_key.key_of, feeds, outputs, rows_read)
