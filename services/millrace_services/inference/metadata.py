"""What the Open Inference Protocol v2 says of a server and its model, over REST and over gRPC alike."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any

from millrace_services.inference.served import Serving
from millrace_services.web.health import Health


def of_server() -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": "millrace", "version": package_version("millrace"), "extensions": ["binary_tensor_data"]}


def of_model(serving: Serving, name: str, version: str | None) -> dict[str, Any]:
    """What a model takes and gives, and where it runs.

    Raises:
        NotFoundError: this server serves another one. RetryError: it is not loaded yet.
    """
    serving.known(name, version)
    data = serving.loaded()
    return {
        "name": name,
        "versions": [serving.model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [spec.described() for spec in data.signature.inputs.values()],
        "outputs": [spec.described() for spec in data.signature.outputs.values()],
        "parameters": {
            "device": data.session.device,
            "batching": data.session.batching.described(),
            "deployment": serving.model.deployment,
            "digest": serving.model.digest,
            **({"nan_on_blank_input": list(nan)} if (nan := data.session.nan_outputs) else {}),
        },
    }


async def index(serving: Serving, health: Health, *, only_ready: bool) -> list[dict[str, Any]]:
    """The repository's models with their states: the one that is served."""
    readiness = await health.readiness()
    if only_ready and not readiness.ready:
        return []
    state = "READY" if readiness.ready else "LOADING" if serving.data is None else "UNAVAILABLE"
    why = "; ".join(f"{name}: {text}" for name, text in readiness.checks.items() if text != "ok")
    return [{"name": serving.model.name, "version": serving.model.version, "state": state, "reason": why}]
