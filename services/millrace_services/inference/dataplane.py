"""What a request to the model does, from body to body; the HTTP around it is ``millrace_services.web``'s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from millrace_core.base.errors import MillraceError, RejectError, ReportError
from millrace_services.inference import predict, protocol
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.lane import INLINE_SECONDS, Lane
from millrace_services.inference.session import ModelSession, OutOfMemoryError
from millrace_services.inference.tensors import Array
from millrace_services.web.errors import TooLargeError
from millrace_services.web.hot import Answer, Call


class DataPlane:
    """The two hot routes, over one model.

    Args:
        model: ``{"name", "version", "deployment", "digest"}`` as answers name it.
        compute_seconds: told how long each run of the model took.
        rows: told how many rows each run had.
        lost: told when the GPU has ceased to work, which only another process mends.
    """

    def __init__(
        self,
        session: ModelSession,
        join: FeatureJoin | None,
        lane: Lane,
        model: dict[str, str],
        compute_seconds: Callable[[float], None],
        rows: Callable[[float], None],
        lost: Callable[[MillraceError], None],
    ) -> None:
        self.session = session
        self.join = join
        self.lane = lane
        self.model = model
        self.in_flight = 0
        self._compute_seconds = compute_seconds
        self._rows = rows
        self._lost = lost
        self._check: asyncio.Task[bool] | None = None

    async def infer(self, call: Call) -> Answer:
        """``POST /v2/models/{m}/infer``: tensors in, tensors out."""
        try:
            request = protocol.decode(call.body, self.session.signature)
        except RejectError as error:
            if call.header(b"inference-header-content-length") is None:
                raise
            raise RejectError(
                "binary tensors came, this server takes JSON tensors",
                hint="With tritonclient, set binary_data=False on inputs and outputs",
                reason="BadRequest",
            ) from error
        results = await self._compute(request.feeds, request.outputs, call)
        name, version = self.model["name"], self.model["version"]
        return Answer(200, protocol.encode(request, results, name, version, self.session.signature))

    async def predict(self, call: Call) -> Answer:
        """``POST /predict``: entities in, predictions on their features out."""
        signature = self.session.signature
        request = predict.decode(call.body, joins=self.join is not None)
        feeds: dict[str, Array] = {}
        alone: dict[str, list[Any]] = {}
        if self.join is not None:
            alone, also = predict.for_features(request, signature, self.join.inputs)
            feeds = await self.join.feeds(request.entities, alone, also)
        feeds |= predict.feeds(request, signature, set(feeds), alone)
        results = await self._compute(feeds, signature.output_names, call)
        return Answer(200, predict.encode(signature.output_names, results, self.model))

    async def _compute(self, feeds: dict[str, Array], outputs: list[str], call: Call) -> list[Any]:
        session = self.session
        first = next(iter(feeds.values()))
        rows = first.shape[0] if first.ndim else 1
        self.in_flight += 1
        try:
            if session.expected_seconds(rows) <= INLINE_SECONDS:
                results, seconds = _timed(session, feeds, outputs)
            else:
                results, seconds = await self.lane.run(partial(_timed, session, feeds, outputs), call.gone)
        except OutOfMemoryError as error:
            raise TooLargeError(error.message, hint=error.hint) from error
        except ReportError as error:
            await self._look_for(error)
            raise
        finally:
            self.in_flight -= 1
        self._compute_seconds(seconds)
        self._rows(rows)
        return results

    async def _look_for(self, error: ReportError) -> None:
        """After an error of CUDA's every further call in this process may fail, whatever comes."""
        if self.session.device == "gpu" and not await self._still_runs():
            self._lost(ReportError(f"the GPU has ceased to work: {error}", reason="DeviceLost"))

    async def _still_runs(self) -> bool:
        """One check at a time: requests that fail together share its answer, and none runs beside the lane for each."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self.session.still_runs))
        return await asyncio.shield(self._check)  # a caller that goes away takes it from no other


def _timed(session: ModelSession, feeds: dict[str, Array], outputs: list[str]) -> tuple[list[Any], float]:
    began = perf_counter()
    return session.run(feeds, outputs), perf_counter() - began
