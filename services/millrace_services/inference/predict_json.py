"""Requests and answers of ``POST /predict``: rows by entity instead of tensors by name. Pure: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from millrace_core.base.shown import shown
from millrace_services.inference.json_tensors import dumps, to_json
from millrace_services.inference.note import Note
from millrace_services.inference.predict import PredictRequest, bad
from millrace_services.inference.protocol import parse_json
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import OutputTensor

_PARTS: Final = ("entities", "request")
_ONLY: Final = (
    'Send join keys in "entities", and in "request" what features do not fill; tensors of all inputs go to '
    "/v2/models/<name>/infer"
)


def decode(body: bytes, *, joins: bool) -> PredictRequest:
    """Decodes ``{"entities": {key: [...]}, "request": {input or request field: [...]}}``.

    Which entities are needed, the gateway knows: features of views without entities need none.

    Args:
        joins: whether the deployment joins features, so that entities may come.

    Raises:
        RejectError: a part is unknown or its lists differ in length; names it.
    """
    document = parse_json(body)
    for name in document:
        if name not in _PARTS:
            raise bad(f"{shown(name, 40)} is no part of this request", name, _ONLY)
    entities, fields = document.get("entities", {}), document.get("request", {})
    if not isinstance(fields, dict):
        raise bad('"request" is no object of values by input name', "request")
    if not isinstance(entities, dict):
        raise bad('"entities" is no object of values by join key, such as {"user_id": [1001]}', "entities")
    if entities and not joins:
        raise bad(
            "this deployment joins no features", "entities", 'Send the inputs in "request", or name spec.features.refs'
        )
    where, rows = "entities" if entities else "request", -1
    for key, values in (entities or fields).items():
        if not isinstance(values, list) or not values:
            raise bad(f"{shown(values, 40)} came, a list with one value per row is expected", f"{where}.{key}")
        if rows not in (-1, len(values)):
            raise bad(f"{len(values)} values came, others have {rows}", f"{where}.{key}")
        rows = len(values)
    # Of views without entities alone there is one row.
    return PredictRequest(entities, fields, 1 if joins and rows < 0 else rows)


def encode(signature: Signature, results: Sequence[OutputTensor], model: Mapping[str, str], note: Note) -> bytes:
    """``{"id": …, "predictions": the first output, "outputs": all by name, "model": …}``, each output a list by row.

    Where features were joined, ``"features": {"missing": n}`` counts the values that the gateway did not have.
    """
    outputs = {
        name: to_json(values, spec.datatype)
        for (name, spec), (values, _) in zip(signature.outputs.items(), results, strict=True)
    }
    answer = {"id": note.id, "predictions": outputs[signature.output_names[0]], "outputs": outputs, "model": model}
    if note.missing is not None:
        answer["features"] = {"missing": note.missing}
    return dumps(answer, lambda: [(answer, "predictions"), *((outputs, name) for name in outputs)])
