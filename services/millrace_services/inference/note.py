"""What is noted of one request while it is answered, for the log of predictions, the server's own log and spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from millrace_core.evidence import prediction_id
from millrace_core.evidence.record import NOTHING, FeatureValues
from millrace_services.inference.prediction import Timings
from millrace_services.inference.tensors import Array

_NONE: Final = Timings()


class Note:
    """References to what a request brought and got.

    Attributes:
        began: when it came, by ``perf_counter``.
        request_id: the id of a request of the Open Inference Protocol.
        fields: what features read of the request, one value per row.
        inputs: tensors that no feature filled.
        missing: values of features that the gateway did not have; None: none were asked for.
        cache: what the cache of predictions said; empty: it is off.

    Args:
        header: the request's ``x-request-id``; None: it has none.
    """

    __slots__ = (
        "_header",
        "_id",
        "began",
        "cache",
        "entities",
        "features",
        "fields",
        "inputs",
        "missing",
        "outputs",
        "request_id",
        "rows",
        "timings",
    )

    def __init__(self, header: str | None) -> None:
        self.began = perf_counter()
        self.request_id: str | None = None
        self.rows = 1
        self.missing: int | None = None
        self.cache = ""
        self.entities: Mapping[str, Sequence[Any]] = NOTHING
        self.fields: Mapping[str, Sequence[Any]] = NOTHING
        self.features: FeatureValues | None = None
        self.inputs: Mapping[str, Array] = NOTHING
        self.outputs: Mapping[str, Array] = NOTHING
        self.timings = _NONE
        self._header = header
        self._id = ""

    @property
    def id(self) -> str:
        """The id of the prediction; once asked for it stays."""
        if not self._id:
            self._id = prediction_id.chosen(self._header, self.request_id)
        return self._id

    def details(self) -> dict[str, str | int | float]:
        """What a log's line and a span say of the request, in seconds."""
        queue, join, compute = self.timings
        return {
            "predictionId": self.id,
            "rows": self.rows,
            "queueSeconds": round(queue, 6),
            "joinSeconds": round(join, 6),
            "computeSeconds": round(compute, 6),
        }
