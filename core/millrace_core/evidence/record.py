"""What is noted of a prediction while it is answered: references, no copies. ``rows`` makes a table of it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]
NOTHING: Final[Mapping[str, Any]] = {}


class Redaction(NamedTuple):
    """One column that is not kept as it is: it is left out, or its values are hashed."""

    column: str
    how: Literal["drop", "hash"]


class Origin(NamedTuple):
    """What all predictions of a process have in common.

    Attributes:
        namespace, service, deployment, version, digest: of what predicts.
        sample: the fraction that is kept.
        redact: what is not.
    """

    namespace: str
    service: str
    deployment: str
    version: str
    digest: str
    sample: float = 1.0
    redact: tuple[Redaction, ...] = ()


class FeatureValues(NamedTuple):
    """Joined features, as the gateway gives them.

    Attributes:
        values: by full name (``view__feature``), one value of JSON per row.
        times, statuses: by view, of the row that was read: RFC 3339, and Feast's words.
    """

    values: Mapping[str, Sequence[Any]]
    times: Mapping[str, Sequence[str]]
    statuses: Mapping[str, Sequence[str]]


class PredictionRecord(NamedTuple):
    """One answered request.

    Attributes:
        time: when it was answered, in microseconds since 1970.
        status: the code of HTTP that it was answered with.
        seconds: of waiting, of reading features, of computing, and of all together.
        rows: of the request; at least 1.
        cached: whether the model was not run for it: the answer was kept, or made for another request.
        entities, fields: values by name, one per row; the fields are those that features read of the request.
        inputs, outputs: tensors by name. One whose first dimension is ``rows`` has a value per row, another one
            stands in the first row as a whole.
    """

    id: str
    time: int
    status: int
    seconds: tuple[float, float, float, float]
    rows: int = 1
    arm: str | None = None
    experiment: str | None = None
    unit: str | None = None
    shadow: bool = False
    cached: bool = False
    entities: Mapping[str, Sequence[Any]] = NOTHING
    features: FeatureValues | None = None
    fields: Mapping[str, Sequence[Any]] = NOTHING
    inputs: Mapping[str, Array] = NOTHING
    outputs: Mapping[str, Array] = NOTHING
