"""Requests and answers of ``POST /predict``: rows by entity instead of tensors by name. Pure: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from millrace_core.base.errors import RejectError
from millrace_services.inference.protocol import Signature, parse_json
from millrace_services.inference.tensors import Array, TensorSpec, check_shape, from_json, from_output


class PredictRequest(NamedTuple):
    """Entity keys by join key, one value per row; and what the request itself brings, by input name."""

    entities: dict[str, list[Any]]
    fields: dict[str, Any]
    rows: int


def decode(body: bytes, *, joins: bool) -> PredictRequest:
    """Decodes ``{"entities": {key: [...]}, "request": {input or request field: [...]}}``.

    Args:
        joins: whether the deployment joins features, so that entities are needed.

    Raises:
        RejectError: a part is missing or its lists differ in length; names it.
    """
    document = parse_json(body)
    entities, fields = document.get("entities", {}), document.get("request", {})
    if not isinstance(fields, dict):
        raise _bad('"request" is no object of values by input name', "request")
    if not isinstance(entities, dict) or (joins and not entities):
        raise _bad('"entities" is missing; an object such as {"user_id": [1001]} is expected', "entities")
    if entities and not joins:
        raise _bad(
            "this deployment joins no features", "entities", 'Send the inputs in "request", or name spec.features.refs'
        )
    rows = -1
    for key, values in (entities or fields).items():
        if not isinstance(values, list) or not values:
            raise _bad(f"{values!r:.40} came, a list with one value per row is expected", f"entities.{key}")
        if rows not in (-1, len(values)):
            raise _bad(f"{len(values)} values came, other keys have {rows}", f"entities.{key}")
        rows = len(values)
    return PredictRequest(entities, fields, rows)


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
            raise _bad("the model takes no such input from the request", f"request.{name}", f"It takes {known}")
    for name in open_inputs:
        if name not in request.fields:
            raise _bad("the model needs this input", f"request.{name}", "Send one value per row")
    return {name: _tensor(request.fields[name], spec, request.rows) for name, spec in open_inputs.items()}


def encode(names: Sequence[str], results: Sequence[Any], model: dict[str, str]) -> bytes:
    """``{"predictions": the first output, "outputs": all by name, "model": …}``, each output a list by row."""
    outputs = {}
    for name, result in zip(names, results, strict=True):
        values, _ = from_output(result)
        outputs[name] = np.ascontiguousarray(values) if not values.dtype.hasobject else values.tolist()
    answer = {"predictions": outputs[names[0]], "outputs": outputs, "model": model}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _tensor(value: Any, spec: TensorSpec, rows: int) -> Array:
    data = value if isinstance(value, list) else [value] * rows
    if len(data) != rows:
        raise _bad(f"{len(data)} values came, there are {rows} rows", f"request.{spec.name}")
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


def _bad(sentence: str, field: str, hint: str = "") -> RejectError:
    return RejectError(sentence, field=field, hint=hint, reason="BadRequest")
