"""The request fields of a read, checked: columns of values as packed rows have them, nulls included."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, Final

from millrace_core.api.feature import FeatureType, ScalarType, element_type
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.online.json_values import INTEGER_BITS, SCALARS

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
        columns: what came, by name; other fields are ignored.
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
        raise RejectError(f"{shown(values, 40)} came, a list with one value per entity is expected", field=where)
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
    if kind == "float64" and types <= {float, NoneType}:
        return values
    if kind == "float32" and types == {float} and _fit_float32(values):
        return values
    if kind in INTEGER_BITS and types == {int}:
        bound = 1 << INTEGER_BITS[kind]
        if -bound <= min(values) <= max(values) < bound:
            return values
    if kind == "timestamp" and types == {str} and len(set(values)) == 1:
        # Often all entities have the same time, and to parse it once saves most of the work.
        return [_scalar(values[0], kind, f"{where}[0]")] * len(values)
    return [None if value is None else _scalar(value, kind, f"{where}[{row}]") for row, value in enumerate(values)]


def _fit_float32(values: Sequence[float]) -> bool:
    """One check for all: embeddings of many rows are a hundred thousand values."""
    try:
        struct.pack(f"<{len(values)}f", *values)  # native order would not check
    except OverflowError:
        return False
    return True


def _scalar(value: Any, kind: ScalarType, where: str) -> Any:
    try:
        return SCALARS[kind](value)
    except RejectError as error:
        raise RejectError(error.message, hint=error.hint, field=where, reason=error.reason) from error
    except (TypeError, ValueError) as error:
        raise _mistyped(value, kind, where) from error


def _mistyped(value: Any, kind: FeatureType, where: str) -> RejectError:
    return RejectError(
        f"{shown(value, 60)} ({type(value).__name__}) came, {_EXPECTED.get(kind, kind)} is expected", field=where
    )
