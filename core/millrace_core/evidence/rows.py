"""Predictions as a table: the columns and types that their values have. Takes its time, so it is for another thread."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millrace_core.evidence.columns import PREDICTION, TIME, united
from millrace_core.evidence.gathered import Gathered, gathered
from millrace_core.evidence.record import Array, Origin, PredictionRecord
from millrace_core.evidence.redaction import redacted

_NOT_FOUND: Final = "NOT_FOUND"
_NULL_VALUE: Final = "NULL_VALUE"
_PRESENT: Final = "PRESENT"
_PER_REQUEST: Final = ("id", "arm", "experiment", "unit", "shadow", "cached", "status")
# How JSON has floats that are not finite.
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def table(predictions: Iterable[PredictionRecord], origin: Origin) -> pa.Table:
    """Rows of predictions, redacted. There has to be at least one."""
    return table_of(gathered(predictions), origin)


def table_of(groups: Sequence[Gathered], origin: Origin) -> pa.Table:
    """Rows of gathered predictions, redacted. There has to be at least one.

    A column that they have in several types gets one that holds them all (``columns.united_type``).
    """
    return redacted(united([_alike(group, origin) for group in groups]), origin.redact)


def _alike(group: Gathered, origin: Origin) -> pa.Table:
    by_name = group.heads_by_name()
    counts = by_name["rows"]
    rows = sum(counts)
    micros = (np.fromiter(chain.from_iterable(by_name["seconds"]), np.float64).reshape(-1, 4) * 1e6).astype(np.int64)
    starts = np.cumsum(counts) - counts
    made = {name: _spread(by_name[name], counts, PREDICTION.field(name).type) for name in _PER_REQUEST}
    made["time"] = _spread(by_name["time"], counts, pa.int64()).cast(TIME)
    made["row"] = pa.array((np.arange(rows) - np.repeat(starts, counts)).astype(np.int32))
    made["sample"] = pa.repeat(pa.scalar(origin.sample, pa.float64()), rows)
    for at, name in enumerate(("queue_us", "join_us", "compute_us", "total_us")):
        made[name] = pa.array(np.repeat(micros[:, at], counts))
    for name in ("service", "deployment", "version", "digest"):
        made[name] = pa.repeat(pa.scalar(getattr(origin, name), pa.string()), rows)
    columns = {name: made[name] for name in PREDICTION.names} | _brought(group)
    for name, values in group.tensors():
        columns[name] = _tensors(values, counts) if isinstance(values, list) else _nested(values)
    return pa.table(columns)


def _brought(group: Gathered) -> dict[str, pa.Array]:
    """Entities, features and fields of requests, whose types their values tell."""
    if not group.joined:
        return {}
    entities, joined, fields = zip(*group.joined, strict=True)
    columns = {f"entity.{name}": _values([each[name] for each in entities]) for name in entities[0]}
    if joined[0] is not None:  # and so is it of the others of its group
        for name in joined[0].values:
            columns[f"feature.{name}"] = _values([each.values[name] for each in joined], feature=True)
        for view in joined[0].times:
            # Of the row, not of one feature: a feature that is null in a row that is there has been read.
            statuses = [
                _PRESENT if status == _NULL_VALUE else status for each in joined for status in each.statuses[view]
            ]
            columns[f"feature_time.{view}"] = _moments([each.times[view] for each in joined], statuses)
            columns[f"feature_status.{view}"] = pa.array(statuses, pa.string())
    columns |= {f"request.{name}": _values([each[name] for each in fields]) for name in fields[0]}
    return columns


def _spread(values: Sequence[Any], counts: Sequence[int], kind: pa.DataType) -> pa.Array:
    if len(values) == sum(counts):
        return pa.array(values, kind)
    return pa.array(list(chain.from_iterable(map(repeat, values, counts))), kind)


def _moments(texts: Sequence[Sequence[str]], statuses: Sequence[str]) -> pa.Array:
    found = [
        None if status == _NOT_FOUND else text
        for text, status in zip(chain.from_iterable(texts), statuses, strict=True)
    ]
    try:
        return pa.array(found, pa.string()).cast(TIME)
    except pa.ArrowInvalid:  # years that Arrow has no form for
        return pa.nulls(len(found), TIME)


def _values(lists: Sequence[Sequence[Any]], *, feature: bool = False) -> pa.Array:
    """A column of JSON values in the type that holds them all; of ``feature`` some texts are floats."""
    values = list(chain.from_iterable(lists))
    kinds = set(map(type, values)) - {type(None)}
    if feature and kinds == {float, str} and all(v in _NOT_FINITE for v in values if type(v) is str):
        values = [_NOT_FINITE[value] if type(value) is str else value for value in values]
        kinds = {float}
    if kinds == {int, float}:
        return pa.array(values, pa.float64())
    if len(kinds) <= 1:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError):  # integers beyond 64 bits, lists of several types
            pass
    return _mixed(values)


def _mixed(values: Sequence[Any]) -> pa.Array:
    texts = [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]
    return pa.array(texts, pa.string())


def _by_row(value: Array, rows: int) -> bool:
    return bool(value.ndim) and value.shape[0] == rows


def _tensors(values: Sequence[Array], counts: Sequence[int]) -> pa.Array:
    """One entry per row: a scalar, or a list per further dimension; a dimension of one value is none."""
    if _by_row(values[0], counts[0]):  # and so are the others of its group
        joined = np.concatenate(values) if len(values) > 1 else values[0]
        return _nested(joined)
    wholes = [_nested(value.reshape(1, *value.shape)) for value in values]
    return pa.concat_arrays(
        [part for whole, count in zip(wholes, counts, strict=True) for part in (whole, pa.nulls(count - 1, whole.type))]
    )


def _nested(values: Array) -> pa.Array:
    shape = values.shape[1:]
    if len(shape) == 1 and shape[0] == 1:
        shape = ()
    column = _flat(values.reshape(-1))
    rows = values.shape[0]
    for at in range(len(shape) - 1, -1, -1):
        lists = rows * int(np.prod(shape[:at], dtype=np.int64))
        column = pa.ListArray.from_arrays(pa.array(np.arange(lists + 1, dtype=np.int32) * shape[at]), column)
    return column


def _flat(values: Array) -> pa.Array:
    if values.dtype.kind in "OSU":
        try:
            texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
            return pa.array(texts, pa.string())
        except UnicodeDecodeError:
            return pa.array([v if isinstance(v, bytes) else str(v).encode() for v in values], pa.binary())
    if values.dtype.kind == "V" or (values.dtype.itemsize == 2 and values.dtype.kind == "f"):  # noqa: PLR2004 half floats
        values = values.astype(np.float32)
    return pa.array(np.ascontiguousarray(values))
