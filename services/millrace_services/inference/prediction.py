"""What a prediction is made of: its outputs, and what they took."""

from __future__ import annotations

from typing import NamedTuple

from millrace_services.inference.tensors import OutputTensor


class Timings(NamedTuple):
    """Seconds of a prediction: waiting for the model, reading features, and in the run of the model that made it.

    A run may have made others, too: each of them took all of it.
    """

    queue: float = 0.0
    join: float = 0.0
    compute: float = 0.0


class Prediction(NamedTuple):
    """The outputs in the order asked for, and their timings.

    Attributes:
        cache: what the cache said (``prediction_cache``); empty: it is off.
    """

    outputs: list[OutputTensor]
    timings: Timings
    cache: str = ""
