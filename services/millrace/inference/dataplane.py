"""What a request to the model does, from body to body; the HTTP around it is ``millrace.web``'s."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from millrace.base.errors import RejectError
from millrace.inference import predict, protocol
from millrace.inference.feature_join import FeatureJoin
from millrace.inference.lane import Lane
from millrace.inference.session import ModelSession
from millrace.inference.tensors import Array
from millrace.web.service import Answer, Call


class DataPlane:
    """The two hot routes, over one model.

    Args:
        model: ``{"name", "version", "deployment", "digest"}`` as answers name it.
        compute_seconds: told how long each run of the model took.
        rows: told how many rows each run had.
    """

    def __init__(
        self,
        session: ModelSession,
        join: FeatureJoin | None,
        lane: Lane,
        model: dict[str, str],
        compute_seconds: Callable[[float], None],
        rows: Callable[[float], None],
    ) -> None:
        self.session = session
        self.join = join
        self.lane = lane
        self.model = model
        self.in_flight = 0
        self._compute_seconds = compute_seconds
        self._rows = rows

    async def infer(self, call: Call) -> Answer:
        """``POST /v2/models/{m}/infer``: tensors in, tensors out."""
        if call.header(b"inference-header-content-length") is not None:
            raise RejectError(
                "binary tensors came, this server takes JSON tensors",
                hint="With tritonclient, set binary_data=False on inputs and outputs",
                reason="BadRequest",
            )
        request = protocol.decode(call.body, self.session.signature)
        results = await self._compute(request.feeds, request.outputs, call)
        return Answer(200, protocol.encode(request, results, self.model["name"], self.model["version"]))

    async def predict(self, call: Call) -> Answer:
        """``POST /predict``: entities in, predictions on their features out."""
        signature = self.session.signature
        request = predict.decode(call.body, joins=self.join is not None)
        feeds = await self.join.feeds(request.entities) if self.join else {}
        feeds |= predict.feeds(request, signature, set(feeds))
        results = await self._compute(feeds, signature.output_names, call)
        return Answer(200, predict.encode(signature.output_names, results, self.model))

    async def _compute(self, feeds: dict[str, Array], outputs: list[str], call: Call) -> list[Any]:
        session = self.session
        first = next(iter(feeds.values()))
        rows = first.shape[0] if first.ndim else 1
        seconds = 0.0

        def run() -> list[Any]:
            nonlocal seconds
            began = perf_counter()
            results = session.run(feeds, outputs)
            seconds = perf_counter() - began
            return results

        self.in_flight += 1
        try:
            results = await self.lane.run(run, session.row_seconds * rows, call.gone)
        finally:
            self.in_flight -= 1
        self._compute_seconds(seconds)
        self._rows(rows)
        return results
