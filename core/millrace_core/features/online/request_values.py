"""What a request brings for on-demand features, checked: columns of values as packed rows have them.

Taken are Python's own values and their JSON forms: RFC 3339 for times, base64 for bytes, "NaN", "Infinity" and
"-Infinity" for floats that JSON has no number for. A null is a value like any other.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import NoneType
from typing import Any, Final

from millrace_core.api.featureview import FeatureType, ScalarType, element_type
from millrace_core.base.errors import RejectError
from millrace_core.features.types import times

_BITS: Final = {"int32": 31, "int64": 63}
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_EXPECTED: Final[Mapping[str, str]] = {
    "bool": "true or false",
    "bytes": "base64",
    "timestamp": "an RFC 3339 time",
    "string": "a string of Unicode characters",
}


def request_columns(
    fields: Iterable[tuple[str, FeatureType]], columns: Mapping[str, Sequence[Any]], rows: int
) -> list[Sequence[Any]]:
    """The columns of request fields.

    Args:
        fields: name and type of each, in the order wanted.
        columns: what came, by name; what is not asked for is ignored.
        rows: how many values each must have.

    Raises:
        RejectError: a field is missing, or a value is of another type; names the field, and the row by its index.
    """
    return [_column(name, kind, columns, rows) for name, kind in fields]


def _column(name: str, kind: FeatureType, columns: Mapping[str, Sequence[Any]], rows: int) -> Sequence[Any]:
    where = f"request.{name}"
    if name not in columns:
        raise RejectError(
            f"request field {name!r} is missing", hint=f"Send a list of {kind} values for it", field=where
        )
    values = columns[name]
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise RejectError(f"{values!r:.40} came, a list with one value per entity is expected", field=where)
    if len(values) != rows:
        raise RejectError(f"{len(values)} values came, there are {rows} entities", field=where)
    element = element_type(kind)
    if element is None:
        return _scalars(values, kind, where)  # type: ignore[arg-type]
    taken: list[Any] = []
    for row, value in enumerate(values):
        if value is not None and (isinstance(value, str | bytes) or not isinstance(value, Sequence)):
            raise _mistyped(value, kind, f"{where}[{row}]")
        taken.append(None if value is None else _scalars(value, element, f"{where}[{row}]"))
    return taken


def _scalars(values: Sequence[Any], kind: ScalarType, where: str) -> Sequence[Any]:
    types = set(map(type, values))
    if kind in ("float32", "float64") and types <= {float, NoneType}:
        return values
    if kind in _BITS and types == {int} and -(1 << _BITS[kind]) <= min(values) <= max(values) < 1 << _BITS[kind]:
        return values
    if kind == "timestamp" and types == {str} and len(set(values)) == 1:
        # As a rule one moment goes for all entities, and to read it takes longer than all else here.
        return [_scalar(values[0], kind, f"{where}[0]")] * len(values)
    return [None if value is None else _scalar(value, kind, f"{where}[{row}]") for row, value in enumerate(values)]


def _scalar(value: Any, kind: ScalarType, where: str) -> Any:  # noqa: PLR0911 one way out per type
    match kind:
        case "float32" | "float64" if type(value) in (int, float):
            return _float(value)
        case "float32" | "float64" if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        case "int32" | "int64" if type(value) is int and -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]:
            return value
        case "bool" if type(value) is bool:
            return value
        case "string" if isinstance(value, str) and _is_unicode(value):
            return value
        case "bytes" if isinstance(value, bytes):
            return value
        case "bytes" if isinstance(value, str):
            return _decoded(value, where)
        case "timestamp" if isinstance(value, datetime):
            return times.microseconds(value)
        case "timestamp" if isinstance(value, str):
            return times.parse(value, field=where)
    raise _mistyped(value, kind, where)


def _float(value: float) -> float:
    """To nearest, to infinity beyond the greatest: as a training set's columns are."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _is_unicode(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _decoded(value: str, where: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except ValueError as error:
        raise _mistyped(value, "bytes", where) from error


def _mistyped(value: Any, kind: FeatureType, where: str) -> RejectError:
    return RejectError(
        f"{value!r:.60} ({type(value).__name__}) came, {_EXPECTED.get(kind, kind)} is expected", field=where
    )
