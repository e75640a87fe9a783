"""What a client does with a server of the protocol, by a stock client: ``python clients_peer.py CLIENT URL``.

Prints what it saw as JSON. Runs in an environment of these clients' own. The model ``m`` has one input and output for
each datatype of one letter or two (``i4`` is INT32), of shape [n, 2], and answers what it was given.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np

KINDS = {
    "b": ("BOOL", np.array([[True, False], [False, False]])),
    **{
        f"{sign}{size}": (f"{'U' * (sign == 'u')}INT{8 * size}", np.array([[1, 2], [3, 120]], f"{sign}{size}"))
        for sign in "ui"
        for size in (1, 2, 4, 8)
    },
    "f4": ("FP32", np.array([[0.1, -2.5], [3e38, 0]], np.float32)),
    "f8": ("FP64", np.array([[0.1, 1e300], [-0.0, 5]], np.float64)),
    "s": ("BYTES", np.array([["ä", ""], ["a b", "1"]], object)),
}
HALF = ("h", "FP16", np.array([[0.1, -2.5], [60000, 0]], np.float16))
NOT_FINITE = np.array([[np.nan, np.inf], [-np.inf, 1.5]], np.float32)


def plain(values: Any) -> Any:
    """An array as JSON; texts of bytes as texts, and what is no finite number by name."""
    if values is None:
        return None
    rows = np.asarray(values)
    flat = [each.decode() if isinstance(each, bytes) else each for each in rows.ravel().tolist()]
    return {"shape": list(rows.shape), "data": [str(each) if isinstance(each, float) else each for each in flat]}


def refusal(call: Callable[[], object]) -> str:
    """What a call that fails says."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def triton(url: str) -> dict[str, Any]:
    """By tritonclient."""
    from tritonclient import http  # noqa: PLC0415

    client = http.InferenceServerClient(url.removeprefix("http://"))
    seen: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready("m"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata("m"),
        "index": client.get_model_repository_index(),
    }

    def inputs(binary: bool, only: Callable[[str], bool] = lambda _: True, **other: Any) -> list[Any]:
        found = []
        for name, (datatype, values) in KINDS.items():
            each = http.InferInput(name, list(values.shape), datatype)
            each.set_data_from_numpy(other.get(name, values), binary_data=binary and only(name))
            found.append(each)
        half = http.InferInput(HALF[0], [2, 2], HALF[1])
        half.set_data_from_numpy(HALF[2], binary_data=True)
        return [*found, half]

    def outputs(binary: Callable[[str], bool]) -> list[Any]:
        return [
            *(http.InferRequestedOutput(f"{name}_out", binary_data=binary(name)) for name in KINDS),
            http.InferRequestedOutput("h_out", binary_data=True),
        ]

    def answer(result: Any) -> dict[str, Any]:
        return {name: plain(result.as_numpy(f"{name}_out")) for name in (*KINDS, "h")}

    odd = lambda name: len(name) % 2 == 0  # noqa: E731
    ways: dict[str, tuple[list[Any], Any]] = {
        "binary both": (inputs(True), outputs(lambda _: True)),
        "binary in": (inputs(True), outputs(lambda _: False)),
        "binary out": (inputs(False), outputs(lambda _: True)),
        "json both": (inputs(False), outputs(lambda _: False)),
        "mixed": (inputs(True, odd), outputs(lambda name: not odd(name))),
        "outputs not named": (inputs(True), None),
    }
    for way, (given, wanted) in ways.items():
        seen[way] = answer(client.infer("m", given, outputs=wanted, request_id="7"))
    for coding in ("gzip", "deflate"):
        seen[coding] = answer(
            client.infer("m", inputs(True), request_compression_algorithm=coding, response_compression_algorithm="gzip")
        )
    for binary in (False, True):
        given = inputs(True, f4=NOT_FINITE)
        seen[f"not finite, binary {binary}"] = plain(
            client.infer("m", given, outputs=[http.InferRequestedOutput("f4_out", binary_data=binary)]).as_numpy(
                "f4_out"
            )
        )
    seen["timeout"] = answer(client.infer("m", inputs(True), timeout=60_000_000))
    seen["refused priority"] = refusal(lambda: client.infer("m", inputs(True), priority=1))
    seen["refused sequence"] = refusal(lambda: client.infer("m", inputs(True), sequence_id=5, sequence_start=True))
    seen["refused classes"] = refusal(
        lambda: client.infer("m", inputs(True), outputs=[http.InferRequestedOutput("f4_out", class_count=2)])
    )
    seen["no model"] = refusal(lambda: client.infer("nobody", inputs(True)))
    seen["no version"] = refusal(lambda: client.get_model_metadata("m", "99"))
    return seen


def kserve(url: str) -> dict[str, Any]:
    """By KServe's client for REST."""
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig  # noqa: PLC0415
    from kserve.protocol.infer_type import RequestedOutput  # noqa: PLC0415

    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))

    def request(binary: bool, binary_out: bool, **other: Any) -> Any:
        inputs = []
        for name, (datatype, values) in KINDS.items():
            each = InferInput(name, list(values.shape), datatype)
            each.set_data_from_numpy(other.get(name, values), binary_data=binary)
            inputs.append(each)
        half = InferInput(HALF[0], [2, 2], HALF[1])
        half.set_data_from_numpy(HALF[2], binary_data=True)
        wanted = [RequestedOutput(f"{name}_out", {"binary_data": binary_out}) for name in KINDS]
        return InferRequest(
            "m", [*inputs, half], "7", request_outputs=[*wanted, RequestedOutput("h_out", {"binary_data": True})]
        )

    def answer(result: Any) -> dict[str, Any]:
        found = {output.name.removesuffix("_out"): plain(output.as_numpy()) for output in result.outputs}
        return {name: found[name] for name in (*KINDS, "h")}

    async def ask() -> dict[str, Any]:
        seen: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model ready": await client.is_model_ready(url, "m"),
        }
        for way, binary, out in (
            ("binary both", True, True),
            ("binary in", True, False),
            ("binary out", False, True),
            ("json both", False, False),
        ):
            seen[way] = answer(await client.infer(url, request(binary, out), model_name="m"))
        for binary in (True, False):
            result = await client.infer(url, request(True, binary, f4=NOT_FINITE), model_name="m")
            seen[f"not finite, binary {binary}"] = answer(result)["f4"]
        try:
            await client.infer(url, request(True, True), model_name="nobody")
        except Exception as error:
            seen["no model"] = f"{type(error).__name__}: {error}"
        return seen

    return asyncio.run(ask())


def triton_grpc(address: str) -> dict[str, Any]:
    """By tritonclient over gRPC."""
    from tritonclient import grpc  # noqa: PLC0415

    client = grpc.InferenceServerClient(address)
    index = client.get_model_repository_index(as_json=True)
    seen: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready("m"),
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata("m", as_json=True),
        "index": index["models"],
    }

    def inputs(**other: Any) -> list[Any]:
        found = []
        for name, (datatype, values) in {**KINDS, HALF[0]: HALF[1:]}.items():
            each = grpc.InferInput(name, list(values.shape), datatype)
            each.set_data_from_numpy(other.get(name, values))
            found.append(each)
        return found

    def answer(result: Any) -> dict[str, Any]:
        return {name: plain(result.as_numpy(f"{name}_out")) for name in (*KINDS, HALF[0])}

    wanted = [grpc.InferRequestedOutput(f"{name}_out") for name in (*KINDS, HALF[0])]
    seen["named"] = answer(client.infer("m", inputs(), outputs=wanted, request_id="7"))
    seen["not named"] = answer(client.infer("m", inputs()))
    seen["gzip"] = answer(client.infer("m", inputs(), compression_algorithm="gzip"))
    seen["not finite"] = plain(client.infer("m", inputs(f4=NOT_FINITE)).as_numpy("f4_out"))
    seen["timeout"] = answer(client.infer("m", inputs(), timeout=60_000_000, client_timeout=60))
    later: queue.Queue[Any] = queue.Queue()
    client.async_infer("m", inputs(), callback=lambda result, error: later.put(error or result))
    seen["async"] = answer(later.get(timeout=60))
    seen["refused priority"] = refusal(lambda: client.infer("m", inputs(), priority=1))
    seen["refused sequence"] = refusal(lambda: client.infer("m", inputs(), sequence_id=5, sequence_start=True))
    seen["refused classes"] = refusal(
        lambda: client.infer("m", inputs(), outputs=[grpc.InferRequestedOutput("f4_out", class_count=2)])
    )
    seen["no model"] = refusal(lambda: client.infer("nobody", inputs()))
    seen["no version"] = refusal(lambda: client.get_model_metadata("m", "99"))
    seen["no statistics"] = refusal(lambda: client.get_inference_statistics("m"))
    return seen


def kserve_grpc(address: str) -> dict[str, Any]:
    """By KServe's client for gRPC."""
    from kserve import InferenceGRPCClient, InferInput, InferRequest  # noqa: PLC0415

    def request(binary: bool, **other: Any) -> Any:
        inputs = []
        for name, (datatype, values) in {**KINDS, HALF[0]: HALF[1:]}.items():
            each = InferInput(name, list(values.shape), datatype)
            each.set_data_from_numpy(other.get(name, values), binary_data=binary or name == HALF[0])
            inputs.append(each)
        return InferRequest("m", inputs, "7")

    def answer(result: Any) -> dict[str, Any]:
        found = {output.name.removesuffix("_out"): plain(output.as_numpy()) for output in result.outputs}
        return {name: found[name] for name in (*KINDS, HALF[0])}

    async def ask() -> dict[str, Any]:
        client = InferenceGRPCClient(address, retries=0)
        seen: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("m"),
            "binary": answer(await client.infer(request(True))),
        }
        seen["not finite"] = answer(await client.infer(request(True, f4=NOT_FINITE)))["f4"]
        try:
            await client.is_model_ready("nobody")
        except Exception as error:
            seen["no model"] = f"{type(error).__name__}: {error}"
        return seen

    return asyncio.run(ask())


def asked_of(url: str, body: bytes | None = None) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    asked = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def mlserver(url: str) -> dict[str, Any]:
    """By MLServer's types and codecs; it has no client of its own, its documents send what they encode."""
    from mlserver import types  # noqa: PLC0415
    from mlserver.codecs import NumpyCodec, StringCodec  # noqa: PLC0415

    def request(names: list[str], **other: Any) -> Any:
        inputs = []
        for name in names:
            values = other.get(name, KINDS[name][1])
            if name == "s":
                each = StringCodec.encode_input(name, values.ravel().tolist())
                each.shape = list(values.shape)
            else:
                each = NumpyCodec.encode_input(name, values)
            inputs.append(each)
        return types.InferenceRequest(id="7", inputs=inputs)

    def infer(asked: Any) -> dict[str, Any]:
        status, answer = asked_of(f"{url}/v2/models/m/infer", asked.model_dump_json(exclude_none=True).encode())
        if status != 200:
            return {"error": types.InferenceErrorResponse.model_validate(answer).error or ""}
        found = types.InferenceResponse.model_validate(answer)
        return {
            output.name.removesuffix("_out"): plain(
                np.array(output.data.root, object).reshape(output.shape)
                if output.datatype == "BYTES"
                else NumpyCodec.decode_output(output)
            )
            for output in found.outputs
        }

    seen: dict[str, Any] = {
        "server": types.MetadataServerResponse.model_validate(asked_of(f"{url}/v2")[1]).model_dump(),
        "model": types.MetadataModelResponse.model_validate(asked_of(f"{url}/v2/models/m")[1]).name,
        "index": [
            types.RepositoryIndexResponseItem.model_validate(each).state
            for each in asked_of(f"{url}/v2/repository/index", b"{}")[1]
        ],
        "json both": infer(request(list(KINDS))),
        "refused": infer(request(["f4"])),
    }
    return seen


if __name__ == "__main__":
    clients = (triton, kserve, mlserver, triton_grpc, kserve_grpc)
    print(json.dumps({each.__name__: each for each in clients}[sys.argv[1]](sys.argv[2])))
