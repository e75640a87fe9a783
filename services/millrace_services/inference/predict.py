"""Predictions by entity: which part of a request is for features, and which feeds the model itself. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_services.inference.json_tensors import from_json
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import Array, TensorSpec, check_shape


class PredictRequest(NamedTuple):
    """Entity keys by join key, one value per row; and what the request itself brings, by input name."""

    entities: dict[str, list[Any]]
    fields: dict[str, Any]
    rows: int


def for_features(
    request: PredictRequest, signature: Signature, joined: Collection[str]
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """What the expressions of features may read of the request, one value per row.

    Returns:
        The fields that the model takes no input from, which are there for features alone; and those of one value per
        row that feed the model too.
    """
    alone, also = {}, {}
    for name, value in request.fields.items():
        column = value if isinstance(value, list) else [value] * request.rows
        if name in joined or name not in signature.inputs:
            alone[name] = column
        elif not any(isinstance(each, list) for each in column):
            also[name] = column
    return alone, also


def feeds(
    request: PredictRequest, signature: Signature, joined: Collection[str], elsewhere: Collection[str] = ()
) -> dict[str, Array]:
    """The inputs that no feature fills, from the request's own fields; ``elsewhere`` are fields that features read.

    A list has one entry per row (a value, or a list of them where the input has more dimensions); a single value goes
    for all rows.

    Raises:
        RejectError: a field that is no such input, an input without a field, or a value that does not fit.
    """
    open_inputs = {name: spec for name, spec in signature.inputs.items() if name not in joined}
    for name in request.fields:
        if name not in open_inputs and name not in elsewhere:
            known = ", ".join(open_inputs) or "none, features fill them all"
            raise bad("the model takes no such input from the request", f"request.{name}", f"It takes {known}")
    for name in open_inputs:
        if name not in request.fields:
            raise bad("the model needs this input", f"request.{name}", "Send one value per row")
    return {name: _tensor(request.fields[name], spec, request.rows) for name, spec in open_inputs.items()}


def _tensor(value: Any, spec: TensorSpec, rows: int) -> Array:
    data = value if isinstance(value, list) else [value] * rows
    if len(data) != rows:
        raise bad(f"{len(data)} values came, there are {rows} rows", f"request.{spec.name}")
    shape = _nesting(data)
    if len(shape) == 1 and len(spec.shape) > 1:
        shape.append(1)
    return from_json(data, check_shape(shape, spec), spec)


def _nesting(data: Any) -> list[int]:
    shape = []
    while isinstance(data, list):
        shape.append(len(data))
        data = data[0] if data else None
    return shape


def bad(sentence: str, field: str, hint: str = "") -> RejectError:
    """What is wrong with one field of a request."""
    return RejectError(sentence, field=field, hint=hint, reason="BadRequest")
