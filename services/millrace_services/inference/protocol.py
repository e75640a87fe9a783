"""Requests and answers of the Open Inference Protocol v2, REST with JSON tensors. Pure: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import Array, OutputTensor, check_shape, from_json


class InferRequest(NamedTuple):
    """One decoded request: arrays by input name, and the outputs wanted (where none is named, all)."""

    id: str | None
    feeds: dict[str, Array]
    outputs: list[str]


def parse_json(body: bytes) -> dict[str, Any]:
    """A request body that is a JSON object.

    Raises:
        RejectError: it is none.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RejectError(f"the body is not JSON: {error}", reason="BadRequest") from error
    if not isinstance(document, dict):
        raise RejectError(f"the body is a JSON {type(document).__name__}, an object is expected", reason="BadRequest")
    return document


def decode(body: bytes, signature: Signature) -> InferRequest:
    """Decodes and checks a request.

    Raises:
        RejectError: what came does not fit the model; names the input, what came and what is expected.
    """
    document = parse_json(body)
    given = document.get("inputs")
    if not isinstance(given, list):
        raise RejectError('"inputs" is missing or no list; a list of tensors is expected', reason="BadRequest")
    feeds: dict[str, Array] = {}
    for tensor in given:
        name, values = _input(tensor, signature)
        if name in feeds:
            raise RejectError(f"input {name!r} came twice", reason="BadTensor")
        feeds[name] = values
    if len(feeds) != len(signature.inputs):
        missing = [name for name in signature.inputs if name not in feeds]
        raise RejectError(f"input {missing[0]!r} is missing", hint=_known(signature), reason="BadTensor")
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RejectError(f'"id" is {shown(request_id, 40)}, a string is expected', reason="BadRequest")
    wanted = document.get("outputs")
    return InferRequest(request_id, feeds, _outputs(wanted, signature) if wanted else signature.output_names)


def encode(
    request: InferRequest, results: Sequence[OutputTensor], model: str, version: str, signature: Signature
) -> bytes:
    """The answer to a request from the outputs, in the order of ``request.outputs``."""
    outputs = []
    for name, (values, classes) in zip(request.outputs, results, strict=True):
        datatype = signature.outputs[name].datatype
        flat = values.reshape(-1)
        output: dict[str, Any] = {
            "name": name,
            "datatype": datatype,
            "shape": values.shape,
            "data": flat if datatype != "BYTES" else flat.tolist(),
        }
        if classes:
            output["parameters"] = {"classes": orjson.dumps(classes).decode()}
        outputs.append(output)
    answer: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = outputs
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _input(tensor: object, signature: Signature) -> tuple[str, Array]:
    if not isinstance(tensor, dict):
        raise RejectError(f"an input is {shown(tensor, 40)}, an object is expected", reason="BadTensor")
    name = tensor.get("name")
    spec = signature.inputs.get(name) if isinstance(name, str) else None
    if spec is None:
        raise RejectError(f"the model has no input {shown(name, 80)}", hint=_known(signature), reason="BadTensor")
    datatype = tensor.get("datatype")
    if datatype != spec.datatype:
        raise RejectError(
            f"input {name!r}: datatype {shown(datatype, 20)} came, {spec.datatype} is expected", reason="BadTensor"
        )
    if "data" not in tensor:
        raise RejectError(
            f'input {name!r}: "data" is missing',
            hint="This server takes JSON tensors; with tritonclient, set binary_data=False",
            reason="BadTensor",
        )
    return spec.name, from_json(tensor["data"], check_shape(tensor.get("shape"), spec), spec)


def _outputs(wanted: object, signature: Signature) -> list[str]:
    if not isinstance(wanted, list):
        raise RejectError('"outputs" is no list', reason="BadRequest")
    names = []
    for output in wanted:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in signature.outputs:
            known = ", ".join(signature.output_names)
            raise RejectError(f"the model has no output {shown(name, 80)}", hint=f"It has {known}", reason="BadRequest")
        names.append(name)
    return names


def _known(signature: Signature) -> str:
    return "The model takes " + ", ".join(
        f"{spec.name} ({spec.datatype} {list(spec.shape)})" for spec in signature.inputs.values()
    )
