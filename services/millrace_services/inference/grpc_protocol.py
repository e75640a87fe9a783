"""Requests and answers of the Open Inference Protocol v2 over gRPC: messages to tensors, tensors to messages.

Pure: bytes in, bytes out. What REST says in JSON is here a field of the message, and is refused in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import orjson
from google.protobuf.message import DecodeError

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.inference import parameters
from millrace_services.inference.binary_tensors import from_bytes, to_bytes
from millrace_services.inference.grpc_messages import MESSAGES
from millrace_services.inference.grpc_tensors import fill, from_contents
from millrace_services.inference.parameters import RequestParameters
from millrace_services.inference.protocol import InferRequest
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import BINARY_ONLY, Array, OutputTensor, TensorSpec, check_shape, wrong

T = TypeVar("T")

_CHOICE: Final = "parameter_choice"


def parse(name: str, content: bytes) -> Any:
    """A message of ``grpc_messages`` by name.

    Raises:
        RejectError: the bytes are none.
    """
    try:
        return MESSAGES[name].FromString(content)
    except DecodeError as error:
        raise RejectError(f"the message is no {name}: {error}", reason="BadRequest") from error


def decode(message: Any, signature: Signature) -> InferRequest:
    """Checks a ``ModelInferRequest``; all outputs of its answer are bytes, or none is.

    Raises:
        RejectError: what came does not fit the model; names the input, what came and what is expected.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise RejectError(
            f"{len(raw)} raw_input_contents came for {len(message.inputs)} inputs; one for each input is expected, in "
            "their order, or none at all",
            reason="BadRequest",
        )
    feeds: dict[str, Array] = {}
    for number, tensor in enumerate(message.inputs):
        spec, values = _input(tensor, signature, memoryview(raw[number]) if raw else None)
        if spec.name in feeds:
            raise RejectError(f"input {spec.name!r} came twice", reason="BadTensor")
        feeds[spec.name] = values
    signature.check(feeds)
    options = parameters.of_request(_plain(message.parameters))
    options = options._replace(binary=options.binary or bool(raw))
    names, binary = _outputs(message.outputs, signature, options)
    return InferRequest(message.id or None, feeds, names, binary, options.timeout)


def encode(
    request: InferRequest, results: Sequence[OutputTensor], model: str, version: str, signature: Signature
) -> bytes:
    """The ``ModelInferResponse`` to a request from the outputs, in the order of ``request.outputs``."""
    answer = MESSAGES["ModelInferResponse"](model_name=model, model_version=version, id=request.id or "")
    for name, (values, classes) in zip(request.outputs, results, strict=True):
        datatype = signature.outputs[name].datatype
        output = answer.outputs.add(name=name, datatype=datatype, shape=values.shape)
        if request.binary:
            answer.raw_output_contents.append(bytes(to_bytes(values, datatype)))
        else:
            fill(output.contents, values, datatype)
        if classes:
            output.parameters["classes"].string_param = orjson.dumps(classes).decode()
    content: bytes = answer.SerializeToString()
    return content


def _input(tensor: Any, signature: Signature, raw: memoryview | None) -> tuple[TensorSpec, Array]:
    name = tensor.name
    spec = signature.inputs.get(name)
    if spec is None:
        raise RejectError(
            f"the model has no input {shown(name, 80)}", hint=signature.described_inputs(), reason="BadTensor"
        )
    if tensor.datatype != spec.datatype:
        raise RejectError(
            f"input {name!r}: datatype {shown(tensor.datatype, 20)} came, {spec.datatype} is expected",
            reason="BadTensor",
        )
    size = parameters.binary_size(_plain(tensor.parameters), name)
    shape = check_shape(list(tensor.shape), spec)
    if raw is None:
        if size is not None:
            raise wrong(spec, "binary_data_size came without raw_input_contents")
        if spec.datatype in BINARY_ONLY and not tensor.HasField("contents"):
            raise wrong(spec, f"nothing came; send the bytes of {spec.datatype} in raw_input_contents")
        return spec, from_contents(tensor.contents, shape, spec)
    if tensor.HasField("contents") and tensor.contents.ListFields():
        raise wrong(spec, "both contents and raw_input_contents came")
    if size not in (None, len(raw)):
        raise wrong(spec, f"binary_data_size {size} came, raw_input_contents has {len(raw)} bytes for it")
    return spec, from_bytes(raw, shape, spec)


def _outputs(wanted: Iterable[Any], signature: Signature, options: RequestParameters) -> tuple[list[str], list[str]]:
    """Names of the outputs, and of those that are answered as bytes: all or none."""
    names: list[str] = []
    typed = ""
    asks = False
    for output in wanted:
        name = output.name
        if name not in signature.outputs:
            known = ", ".join(signature.output_names)
            raise RejectError(f"the model has no output {shown(name, 80)}", hint=f"It has {known}", reason="BadRequest")
        if name in names:
            raise RejectError(f"output {name!r} is asked for twice", reason="BadRequest")
        names.append(name)
        given = _plain(output.parameters)
        if parameters.is_binary(given, name, default=options.binary):
            asks = True
        elif "binary_data" in given:
            typed = name
    names = names or signature.output_names
    raw = asks or not signature.binary_only.isdisjoint(names) or (options.binary and not typed)
    if raw and typed:
        raise RejectError(
            f"output {typed!r} is asked for as contents, others as bytes; an answer has raw_output_contents for all of "
            "its outputs or for none (FP16 and BF16 have no other form)",
            reason="BadRequest",
        )
    return names, names if raw else []


def _plain(given: Any) -> dict[str, Any]:
    """Parameters by name as JSON would have them."""
    found = {}
    for name, parameter in given.items():
        choice = parameter.WhichOneof(_CHOICE)
        found[name] = None if choice is None else getattr(parameter, choice)
    return found
