"""The answer of ``POST /get-online-features``: Feast's form, one entry per column.

``metadata.feature_names`` lists the join keys that came and then the features; ``results`` holds for each the values,
the statuses and the event times. Where expressions failed ``metadata.expression_errors`` says of each such feature for
how many rows. Values that JSON has no form for are written as protobuf's JSON mapping does: times as
RFC 3339, bytes as base64, and floats that are not finite as "NaN", "Infinity" and "-Infinity". The event time of what
was not found is 1970-01-01T00:00:00Z, as Feast has it. ``answer_form`` has these forms, and those of
Feast's own server.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson

from millrace_core.features.online import feature_columns
from millrace_core.features.online.feature_columns import FeatureColumns
from millrace_core.features.online.plain import JSON_TIMES, MICROSECOND, START, YEAR_1, JsonColumns
from millrace_core.features.online.plan import ReadPlan, ViewRead
from millrace_core.features.types import times
from millrace_services.gateway.answer_form import MILLRACE, Form

_EPOCH: Final = "1970-01-01T00:00:00Z"
_BEGIN: Final = b'{"metadata":{"feature_names":[%b%b]%b},"results":[{"values":['
_END: Final = b'],"statuses":%b,"event_timestamps":%b}'
_NEXT: Final = b',{"values":['
# What stands between two columns of ``JsonColumns``.
_BORDER: Final = b',"statuses":%b,"event_timestamps":[%b]}' + _NEXT


def encode(
    plan: ReadPlan,
    entities: Mapping[str, Sequence[Any]],
    rows: int,
    read: Sequence[FeatureColumns],
    form: Form = MILLRACE,
) -> bytes:
    """The JSON body; ``read`` holds what was read of each of the plan's views, in the plan's order."""
    known = _END % (_present(rows), _epochs(rows))
    results = [orjson.dumps(values, default=_text)[1:-1] + known for values in entities.values()]
    features = [b""] * len(plan.names)
    for view, columns in zip(plan.reads, read, strict=True):
        if columns.alike and view.first is not None:
            # All columns of the view end alike.
            end = _END % (_present(rows), _moments(columns.event_times))
            features[view.first] = (end + _NEXT).join(_values(view, columns, form)) + end
        else:
            _encode_each(view, columns, features, form)
    columns_text = _NEXT.join(results + [column for column in features if column])
    return _BEGIN % (_names(entities), plan.names_text, _errors(plan, read, form)) + columns_text + b"]}"


def encode_plain(plan: ReadPlan, entities: Mapping[str, Sequence[Any]], rows: int, read: JsonColumns) -> bytes:
    """The same body from what was read of plain rows."""
    present = _present(rows)
    borders = [_BORDER % (present, times) for times in read.moments]
    parts = [_BEGIN % (_names(entities), plan.names_text, b"")]
    for values in entities.values():
        parts += (orjson.dumps(values, default=_text)[1:-1], _END % (present, _epochs(rows)), _NEXT)
    for index, run in plan.runs:
        columns_and_borders = [borders[index]] * (2 * (run.stop - run.start))
        columns_and_borders[::2] = read.columns[run]
        parts += columns_and_borders
    parts[-1] = parts[-1][: -len(_NEXT)]
    parts.append(b"]}")
    return b"".join(parts)


def _encode_each(view: ViewRead, columns: FeatureColumns, features: list[bytes], form: Form) -> None:
    """Puts each column of a view at its position among the features."""
    moments = _moments(columns.event_times)
    # Most columns of a view share one list of statuses: it is written once.
    ends: dict[int, bytes] = {}
    for name, position, values, column in zip(
        view.features, view.positions, _values(view, columns, form), columns.features, strict=True
    ):
        if columns.row_times is not None:
            moments = _moments(columns.times_of(view.definition.feature[name]))
            ends.clear()
        end = ends.get(id(column.statuses))
        if end is None:
            end = ends[id(column.statuses)] = _END % (form.statuses(column.statuses), moments)
        features[position] = values + end


def _values(view: ViewRead, columns: FeatureColumns, form: Form) -> list[bytes]:
    """Each column's values as JSON, without the brackets around them."""
    if view.simple:
        # All at once, because nothing in the text of numbers looks like the border of two columns.
        text = orjson.dumps([column.values for column in columns.features])
        # What is null may be a float that is not finite.
        if b"n" not in text:
            return text[2:-2].split(b"],[")
    return [
        orjson.dumps(form.values(kind, column.values))[1:-1]
        for kind, column in zip(view.types, columns.features, strict=True)
    ]


def _errors(plan: ReadPlan, read: Sequence[FeatureColumns], form: Form) -> bytes:
    """The part of the metadata that says for how many rows expressions failed; Feast's form has none."""
    failed = plan.errors(read) if form is MILLRACE else None
    return b',"expression_errors":' + orjson.dumps(failed) if failed else b""


def _names(entities: Mapping[str, Any]) -> bytes:
    """Of the join keys that came, as JSON before those of the features."""
    names = orjson.dumps(list(entities))[1:-1]
    return names and names + b","


@lru_cache(maxsize=256)
def _present(rows: int) -> bytes:
    return orjson.dumps([feature_columns.PRESENT] * rows)


@lru_cache(maxsize=256)
def _epochs(rows: int) -> bytes:
    return orjson.dumps([_EPOCH] * rows)


def _moments(event_times: Sequence[int | None]) -> bytes:
    count = len(event_times)
    first = event_times[0] if count else None
    try:
        if first is not None and event_times.count(first) == count:
            # Of a table that is made once a day all rows have one time.
            moment = orjson.dumps(START + first * MICROSECOND, option=JSON_TIMES)
            return b"[%b]" % b",".join([moment] * count)
        moments = [0 if at is None else at for at in event_times]
        if min(moments, default=0) >= YEAR_1:
            return orjson.dumps(np.array(moments, "M8[us]"), option=JSON_TIMES)
    except (OverflowError, TypeError):  # after the year 9999
        pass
    return orjson.dumps([_EPOCH if at is None else times.render(at) for at in event_times])


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError
