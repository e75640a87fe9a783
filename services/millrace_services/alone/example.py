"""What a served model takes and gives, in lines for a person, and a request to try it with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from millrace_services.inference.binary_tensors import to_bytes
from millrace_services.inference.json_tensors import to_json
from millrace_services.inference.served import ServedModel
from millrace_services.inference.session import ModelSession
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import BINARY_ONLY, Array, TensorSpec

# Longer bodies go into a file.
_MOST_IN_LINE: Final = 600
FILE: Final = "example"


class Body(NamedTuple):
    """A request's body; ``json_length`` is how much of it is JSON where bytes follow, else None."""

    content: bytes
    json_length: int | None


def lines(
    file: Path, model: ServedModel, session: ModelSession, url: str, grpc_port: int | None, folder: Path
) -> Iterator[str]:
    """The lines; the last is a command that works.

    Args:
        url: of the server.
        folder: where a long body is written.
    """
    signature = session.signature
    yield f"{file} is served as {model.name}, version {model.version}, on the {session.device.upper()}"
    yield from _table("takes", list(signature.inputs.values()))
    yield from _table("gives", list(signature.outputs.values()))
    grpc = "" if grpc_port is None else f" and by gRPC on port {grpc_port}"
    yield f"It listens on {url}{grpc}; Ctrl-C stops it. Try it:"
    yield command(f"{url}/v2/models/{model.name}/infer", body(signature, session.blank_rows(1)), folder)


def body(signature: Signature, feeds: Mapping[str, Array]) -> Body:
    """A request of the Open Inference Protocol v2 with these inputs; as JSON where that has a form for all of them."""
    inputs, behind = [], []
    for name, spec in signature.inputs.items():
        values = feeds[name]
        written: dict[str, Any] = {"name": name, "datatype": spec.datatype, "shape": values.shape}
        if spec.datatype in BINARY_ONLY:
            behind.append(bytes(to_bytes(values, spec.datatype)))
            written["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            written["data"] = to_json(values.reshape(-1), spec.datatype)
        inputs.append(written)
    document: dict[str, Any] = {"inputs": inputs}
    if signature.binary_only:
        document["parameters"] = {"binary_data_output": True}
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Body(b"".join((head, *behind)), len(head) if behind else None)


def command(url: str, sent: Body, folder: Path) -> str:
    """A line of a shell that sends a body with curl."""
    words = ["curl", "-s", url]
    if sent.json_length is not None:
        words += ["-H", f"Inference-Header-Content-Length: {sent.json_length}"]
    if sent.json_length is None and len(sent.content) <= _MOST_IN_LINE:
        words += ["-d", sent.content.decode()]
    else:
        path = folder / FILE
        path.write_bytes(sent.content)
        words += ["--data-binary", f"@{path}"]
    return shlex.join(words)


def _table(what: str, specs: list[TensorSpec]) -> Iterator[str]:
    width = max((len(spec.name) for spec in specs), default=0)
    for spec in specs:
        yield f"  {what}  {spec.name:<{width}}  {spec.datatype:<6}  {spec.expected()}"
    if not specs:
        yield f"  {what}  nothing"
