"""The answer of ``POST /get-online-features``: Feast's form, one entry per column.

``metadata.feature_names`` lists the join keys that came and then the features; ``results`` holds for each the values,
the statuses and the event times. Values that JSON has no form for are written as protobuf's JSON mapping does: times as
RFC 3339, bytes as base64, and floats that are not finite as "NaN", "Infinity" and "-Infinity". The event time of what
was not found is 1970-01-01T00:00:00Z, as Feast has it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import Any, Final

import orjson

from millrace.api.featureview import FeatureType, element_type
from millrace.features import reading, times
from millrace.features.reading import Columns
from millrace.gateway.plan import Plan

_EPOCH: Final = "1970-01-01T00:00:00Z"
_FLOATS: Final = frozenset({"float32", "float64"})


def encode(plan: Plan, entities: Mapping[str, Sequence[Any]], rows: int, read: Sequence[Columns]) -> bytes:
    """The JSON body; ``read`` holds what was read of each of the plan's views, in the plan's order."""
    known = orjson.Fragment(orjson.dumps([reading.PRESENT] * rows))
    epochs = orjson.Fragment(orjson.dumps([_EPOCH] * rows))
    results: list[Any] = [
        {"values": values, "statuses": known, "event_timestamps": epochs} for values in entities.values()
    ]
    features: list[Any] = [None] * len(plan.names)
    for view, columns in zip(plan.reads, read, strict=True):
        moments = orjson.Fragment(
            orjson.dumps([_EPOCH if at is None else times.render(at) for at in columns.event_times])
        )
        # Most columns of a view share one list of statuses: it is written once.
        written: dict[int, orjson.Fragment] = {}
        for position, name, column in zip(view.positions, view.features, columns.features, strict=True):
            statuses = written.get(id(column.statuses))
            if statuses is None:
                statuses = written[id(column.statuses)] = orjson.Fragment(orjson.dumps(column.statuses))
            features[position] = {
                "values": json_values(view.definition.feature[name].type, column.values),
                "statuses": statuses,
                "event_timestamps": moments,
            }
    names = [*entities, *plan.names]
    return orjson.dumps({"metadata": {"feature_names": names}, "results": results + features})


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
