"""Requests and answers of the Open Inference Protocol v2 over HTTP: JSON, and bytes behind it where tensors are binary.

Pure: bytes in, bytes out. The extension for binary tensors:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.inference import parameters
from millrace_services.inference.binary_tensors import from_bytes, to_bytes
from millrace_services.inference.json_tensors import dumps, from_json, from_text, quoted, to_json
from millrace_services.inference.large_json import LARGE, LargeTensors, NotPlainError
from millrace_services.inference.parameters import RequestParameters
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import BINARY_ONLY, Array, OutputTensor, check_shape

JSON_LENGTH: Final = b"inference-header-content-length"
_LONGEST_NUMBER: Final = 20


class InferRequest(NamedTuple):
    """One decoded request: arrays by input name, and the outputs wanted (where none is named, all).

    Attributes:
        binary: names of the outputs that are answered as bytes.
        timeout: seconds that it may take; None: what the server allows.
    """

    id: str | None
    feeds: dict[str, Array]
    outputs: list[str]
    binary: Collection[str] = ()
    timeout: float | None = None


class Encoded(NamedTuple):
    """An answer's body; ``json_length`` is how much of it is JSON where bytes follow, else None."""

    body: bytes
    json_length: int | None = None


def parse_json(body: bytes) -> dict[str, Any]:
    """A request body that is a JSON object.

    Bare NaN, Infinity and -Infinity, which are no JSON but what Triton and Python write, are taken for strings.

    Raises:
        RejectError: it is none.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        again = quoted(body)
        try:
            document = orjson.loads(again)
        except orjson.JSONDecodeError:
            raise RejectError(f"the body is not JSON: {error}", reason="BadRequest") from error
    if not isinstance(document, dict):
        raise RejectError(f"the body is a JSON {type(document).__name__}, an object is expected", reason="BadRequest")
    return document


def decode(body: bytes, signature: Signature, json_length: bytes | None = None) -> InferRequest:
    """Decodes and checks a request.

    Args:
        json_length: the header ``Inference-Header-Content-Length``, behind whose bytes the binary tensors stand.

    Raises:
        RejectError: what came does not fit the model; names the input, what came and what is expected.
    """
    content = None
    if json_length is not None:
        length = _length(json_length, len(body))
        body, content = body[:length], memoryview(body)[length:]
    if len(body) >= LARGE and len(large := LargeTensors(body)):
        try:
            return _decoded(large.rest, content, signature, large)
        except (RejectError, NotPlainError):
            pass  # what is wrong, if something is, the whole of it says
    return _decoded(body, content, signature, None)


def _decoded(body: bytes, content: memoryview | None, signature: Signature, large: LargeTensors | None) -> InferRequest:
    behind = None if content is None else _Bytes(content)
    document = parse_json(body)
    booleans = b"true" in body or b"false" in body
    given = document.get("inputs")
    if not isinstance(given, list) and (given is not None or signature.inputs):
        raise RejectError('"inputs" is missing or no list; a list of tensors is expected', reason="BadRequest")
    feeds: dict[str, Array] = {}
    for tensor in given or ():
        name, values = _input(tensor, signature, behind, large, booleans=booleans)
        if name in feeds:
            raise RejectError(f"input {name!r} came twice", reason="BadTensor")
        feeds[name] = values
    if behind is not None:
        behind.check_end()
    if large is not None:
        large.check_end()
    signature.check(feeds)
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RejectError(f'"id" is {shown(request_id, 40)}, a string is expected', reason="BadRequest")
    asked = document.get("parameters")
    options = parameters.NONE if asked is None else parameters.of_request(asked)
    wanted = document.get("outputs")
    if not wanted and not options.binary and not signature.binary_only:
        return InferRequest(request_id, feeds, signature.output_names, (), options.timeout)
    names, binary = _outputs(wanted, signature, options)
    return InferRequest(request_id, feeds, names, binary, options.timeout)


def encode(
    request: InferRequest, results: Sequence[OutputTensor], model: str, version: str, signature: Signature
) -> Encoded:
    """The answer to a request from the outputs, in the order of ``request.outputs``."""
    outputs, pieces = [], []
    for name, (values, classes) in zip(request.outputs, results, strict=True):
        datatype = signature.outputs[name].datatype
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": values.shape}
        if name in request.binary:
            content = to_bytes(values, datatype)
            pieces.append(content)
            output["parameters"] = {"binary_data_size": len(content)}
        else:
            output["data"] = to_json(values.reshape(-1), datatype)
        if classes:
            output.setdefault("parameters", {})["classes"] = orjson.dumps(classes).decode()
        outputs.append(output)
    answer: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = outputs
    head = dumps(answer, lambda: [(output, "data") for output in outputs if "data" in output])
    return Encoded(b"".join((head, *pieces)), len(head)) if request.binary else Encoded(head)


class _Bytes:
    """What stands behind the JSON, taken input by input."""

    def __init__(self, left: memoryview) -> None:
        self._left = left

    def take(self, size: int, name: str) -> memoryview:
        if size > len(self._left):
            raise RejectError(
                f"input {name!r}: binary_data_size {size} came, {len(self._left)} bytes are left behind the JSON "
                "and the inputs before it",
                reason="BadTensor",
            )
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def check_end(self) -> None:
        if self._left:
            raise RejectError(
                f"{len(self._left)} bytes are left after the last input; "
                "the body is longer than the JSON and all binary_data_size together",
                reason="BadRequest",
            )


def _length(header: bytes, most: int) -> int:
    if not header.isdigit() or len(header) > _LONGEST_NUMBER or int(header) > most:
        raise RejectError(
            f"Inference-Header-Content-Length: {shown(header.decode('latin-1'), 40)} came, "
            f"the bytes of the JSON are expected, at most the {most} of the body",
            reason="BadRequest",
        )
    return int(header)


def _input(
    tensor: object, signature: Signature, behind: _Bytes | None, large: LargeTensors | None, *, booleans: bool
) -> tuple[str, Array]:
    if not isinstance(tensor, dict):
        raise RejectError(f"an input is {shown(tensor, 40)}, an object is expected", reason="BadTensor")
    name = tensor.get("name")
    spec = signature.inputs.get(name) if isinstance(name, str) else None
    if spec is None:
        what = '"name" of an input is missing' if name is None else f"the model has no input {shown(name, 80)}"
        raise RejectError(what, hint=signature.described_inputs(), reason="BadTensor")
    datatype = tensor.get("datatype")
    if datatype != spec.datatype:
        what = '"datatype" is missing' if datatype is None else f"datatype {shown(datatype, 20)} came"
        raise RejectError(f"input {name!r}: {what}, {spec.datatype} is expected", reason="BadTensor")
    asked = tensor.get("parameters")
    size = None if asked is None else parameters.binary_size(asked, spec.name)
    shape = check_shape(tensor.get("shape"), spec)
    if size is not None:
        return spec.name, from_bytes(_behind(tensor, behind, size, spec.name), shape, spec)
    if "data" not in tensor:
        raise RejectError(
            f'input {name!r}: "data" is missing',
            hint="Send the values in it, or binary_data_size in parameters and the bytes behind the JSON",
            reason="BadTensor",
        )
    if datatype in BINARY_ONLY:
        raise RejectError(
            f"input {name!r}: the protocol has no JSON form for {datatype}",
            hint="Send its bytes behind the JSON, with binary_data_size in parameters (tritonclient: binary_data=True)",
            reason="BadTensor",
        )
    data = tensor["data"]
    if large is not None and (text := large.take(data)) is not None:
        return spec.name, from_text(text, shape, spec)
    return spec.name, from_json(data, shape, spec, booleans=booleans)


def _behind(tensor: dict[str, Any], behind: _Bytes | None, size: int, name: str) -> memoryview:
    """The bytes of a tensor that says how many of those behind the JSON are its own."""
    if behind is None:
        raise RejectError(
            f"input {name!r}: binary_data_size came without the header Inference-Header-Content-Length",
            reason="BadTensor",
        )
    if tensor.get("data") is not None:
        raise RejectError(f"input {name!r}: both data and binary_data_size came", reason="BadTensor")
    return behind.take(size, name)


def _outputs(wanted: object, signature: Signature, options: RequestParameters) -> tuple[list[str], list[str]]:
    """Names of the outputs, and of those among them that are answered as bytes."""
    if not wanted:
        wanted = [{"name": name} for name in signature.output_names]
    if not isinstance(wanted, list):
        raise RejectError('"outputs" is no list', reason="BadRequest")
    names: list[str] = []
    binary: list[str] = []
    for output in wanted:
        if not isinstance(output, dict):
            raise RejectError(f"an output is {shown(output, 40)}, an object is expected", reason="BadRequest")
        name = output.get("name")
        if not isinstance(name, str) or name not in signature.outputs:
            known = ", ".join(signature.output_names)
            what = '"name" of an output is missing' if name is None else f"the model has no output {shown(name, 80)}"
            raise RejectError(what, hint=f"It has {known}", reason="BadRequest")
        if name in names:
            raise RejectError(f"output {name!r} is asked for twice", reason="BadRequest")
        names.append(name)
        if parameters.is_binary(output.get("parameters"), name, default=options.binary):
            binary.append(name)
        elif name in signature.binary_only:
            raise RejectError(
                f"output {name!r}: the protocol has no JSON form for {signature.outputs[name].datatype}",
                hint='Ask for its bytes: {"parameters": {"binary_data_output": true}} in the request '
                "(tritonclient: binary_data=True)",
                reason="BadRequest",
            )
    return names, binary
