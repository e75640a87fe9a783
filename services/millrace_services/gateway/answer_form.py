"""The forms of values and statuses in answers: Millrace's own, and that of Feast's server (``feast_form``)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from math import isfinite, isnan
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.api.feature import FeatureType, element_type
from millrace_core.features.online import feast_form
from millrace_core.features.online.feature_columns import NULL_VALUE, PRESENT
from millrace_core.features.types import times

_FLOATS: Final = frozenset({"float32", "float64"})


class Form(NamedTuple):
    """How values stand in an answer: those of a column of a type as JSON has them, and the status of a null."""

    values: Callable[[FeatureType, Sequence[Any]], Sequence[Any]]
    null: str

    def statuses(self, known: Sequence[str]) -> bytes:
        """The statuses of a column as JSON."""
        text = orjson.dumps(known)
        return text if self.null == NULL_VALUE else text.replace(NULL_VALUE.encode(), self.null.encode())


def json_values(kind: FeatureType, values: Sequence[Any]) -> Sequence[Any]:
    """The values of one column as JSON has them."""
    element = element_type(kind)
    if element is not None:
        return [None if value is None else json_values(element, value) for value in values]
    if kind in _FLOATS:
        return values if _all_finite(values) else [_float(value) for value in values]
    if kind == "timestamp":
        return [None if value is None else times.render(value) for value in values]
    if kind == "bytes":
        return [None if value is None else b64encode(value).decode() for value in values]
    return values


def _all_finite(values: Sequence[Any]) -> bool:
    # A sum shows in one pass of C whether all are finite; finite ones whose sum overflows cost only time.
    try:
        return isfinite(sum(values))
    except TypeError:
        return isfinite(sum(value for value in values if value is not None))


def _float(value: float | None) -> float | str | None:
    if value is None or isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def feast_values(kind: FeatureType, values: Sequence[Any]) -> Sequence[Any]:
    """The values of one column as Feast's server has them."""
    if kind in ("timestamp", "array<timestamp>"):
        return feast_form.seconds(kind, values)
    if kind in _FLOATS:
        return [None if value == "NaN" else value for value in json_values(kind, values)]
    return json_values(kind, values)


MILLRACE: Final = Form(json_values, NULL_VALUE)
FEAST: Final = Form(feast_values, PRESENT)
